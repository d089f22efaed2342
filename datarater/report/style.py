"""One look for every figure: colours, type, panels, labels at the ends of lines, SVG and PNG.

Sizes are CSS pixels: 1 px of the page is 1 pt of the figure, so a figure drawn at the width of its
place keeps its type size. No pyplot, no global state. None and NaN in data are gaps, never errors.

A colour means one thing: `rater` is the rater's arm, `target` the target domain, the rest is grey;
arms that others bring take the Okabe-Ito colours, which colour-blind readers can tell apart.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place, place

Array = np.ndarray

PALETTE = {
  "ink": "#1b1f27",
  "muted": "#667080",
  "rule": "#dfe3e8",
  "paper": "#ffffff",
  "rater": "#1261c4",
  "unfiltered": "#3a414d",
  "random": "#7f8a99",
  "target": "#c2500c",
  "context": "#b3bdca",
}
PALETTE_DARK = {
  "ink": "#e9ecf1",
  "muted": "#9ba5b4",
  "rule": "#343a44",
  "paper": "#15181d",
  "rater": "#6eaeff",
  "unfiltered": "#d3d8e0",
  "random": "#8f99a8",
  "target": "#ff9257",
  "context": "#5b6573",
}
OTHER_ARMS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7a5c00")
DASHED = {"random": (0, (4, 2))}
STYLE: dict[Any, Any] = {
  "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
  "font.size": 11.5,
  "text.color": PALETTE["ink"],
  "text.parse_math": False,  # names come from data: a lone $ is a dollar
  "axes.edgecolor": PALETTE["context"],
  "axes.facecolor": "none",
  "axes.labelcolor": PALETTE["muted"],
  "axes.labelpad": 7,
  "axes.labelsize": 11.5,
  "axes.linewidth": 1.0,
  "axes.titlecolor": PALETTE["muted"],
  "axes.titlelocation": "left",
  "axes.titlesize": 11.5,
  "axes.titlepad": 10,
  "axes.spines.left": False,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.grid": True,
  "axes.grid.axis": "y",
  "axes.axisbelow": True,
  "axes.xmargin": 0.0,
  "axes.unicode_minus": True,
  "grid.color": PALETTE["rule"],
  "grid.linewidth": 1.0,
  "xtick.color": PALETTE["context"],
  "xtick.labelcolor": PALETTE["muted"],
  "xtick.labelsize": 11,
  "ytick.labelcolor": PALETTE["muted"],
  "ytick.labelsize": 11,
  "ytick.left": False,
  "ytick.minor.left": False,
  "legend.frameon": False,
  "legend.fontsize": 11.5,
  "legend.handlelength": 1.6,
  "lines.linewidth": 2.0,
  "lines.solid_capstyle": "round",
  "figure.facecolor": "none",
  "figure.dpi": 72,
  "savefig.facecolor": "none",
  "svg.fonttype": "none",  # real text: small, crisp, found by search
  "svg.hashsalt": "datarater",
}
TICKS = (1, 2, 2.5, 5, 10)  # steps of ticks that people count in
_LABEL_GAP = 15  # px between the baselines of two labels at the ends of lines


def arm_colour(name: str, index: int = 0) -> str:
  """The colour of an arm; `index` counts the arms that have no colour of their own."""
  return PALETTE.get(name, OTHER_ARMS[index % len(OTHER_ARMS)])


def arm_colours(arms: Mapping[str, Any]) -> dict[str, str]:
  """The colour of each arm, none twice among the first six that others bring."""
  others = [arm for arm in arms if arm not in PALETTE]
  return {arm: arm_colour(arm, others.index(arm) if arm in others else 0) for arm in arms}


def numbers(values: Any) -> Array:
  """float64; None becomes NaN, and so does infinity. A ragged or unreadable list becomes empty."""
  try:
    array = np.asarray(values if values is not None else [], dtype=object).astype(np.float64)
  except (TypeError, ValueError):
    return np.zeros(0)
  return np.where(np.isfinite(array), array, np.nan)


def number(value: Any) -> float:
  """One value as a float; NaN where it is none, or not finite."""
  return float(next(iter(numbers([value])), math.nan))


def scientific(value: float, digits: int = 3) -> str:
  """3.41 × 10¹², as people write it."""
  if not math.isfinite(value):
    return "–"
  if value == 0 or 1e-3 <= abs(value) < 1e5:
    return f"{value:,.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
  mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
  return f"{mantissa} × {power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
  """10¹², of 12."""
  return "10" + str(exponent).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def interval(values: Any) -> tuple[float, float]:
  """Mean and half width of its 95% t-interval; the half width of fewer than two values is NaN."""
  x = numbers(values).ravel()
  x = x[np.isfinite(x)]
  if x.size < 2:
    return (float(x[0]) if x.size else math.nan), math.nan
  t = float(scipy.stats.t.ppf(0.975, x.size - 1))
  return float(x.mean()), t * float(x.std(ddof=1)) / math.sqrt(x.size)


def label(name: str, width: int = 22) -> str:
  """A name from data as a label: one line, no control characters, cut at `width`."""
  clean = "".join(c if c.isprintable() else " " for c in str(name))
  return clean if len(clean) <= width else clean[: width - 1] + "…"


def to_svg(figure: Figure, *, name: str = "figure", themed: bool = False) -> str:
  """An `<svg>` element, the same bytes each time.

  name: prefix of its ids, so that several fit one page. themed: colours of the palette become CSS
  variables (`var(--rater, #1261c4)`), so that a page can turn dark.
  """
  buffer = io.StringIO()
  with matplotlib.rc_context(STYLE):
    absent = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=absent)
  svg = buffer.getvalue()
  svg = svg[svg.index("<svg") :].strip()
  svg = re.sub(r' d="[^"]*"', lambda d: re.sub(r"(\.\d\d)\d+", r"\1", d[0]), svg)  # 0.01 px will do
  svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
  if themed:
    for role, colour in PALETTE.items():
      svg = re.sub(rf"((?:fill|stroke): ){colour}", rf"\g<1>var(--{role}, {colour})", svg)
  return svg


def save_png(figure: Figure, path: str | Place, *, scale: float = 2.0) -> None:
  """Writes a PNG on white, atomically; `scale` pixels a CSS pixel."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(
      buffer, format="png", dpi=72 * scale, facecolor=PALETTE["paper"], metadata={"Software": None}
    )
  with atomic_file(place(path)) as file:
    file.write(buffer.getvalue())


def panels(size: tuple[float, float], rows: int, columns: int) -> tuple[Figure, list[Axes]]:
  """A figure with `rows` x `columns` empty panels, listed row by row; size: CSS pixels."""
  figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
  figure.get_layout_engine().set(w_pad=6 / 72, h_pad=6 / 72, wspace=0.03, hspace=0.03)  # type: ignore[union-attr]
  grid = figure.subplots(rows, columns, squeeze=False)
  return figure, list(grid.ravel())


def panel(size: tuple[float, float]) -> tuple[Figure, Axes]:
  """A figure with one empty panel."""
  figure, grid = panels(size, 1, 1)
  return figure, grid[0]


def fit_height(axes: Axes, seen: Sequence[Array], log: bool = False) -> None:
  """Fits the vertical axis to what was drawn, with a little air."""
  values = np.concatenate([np.ravel(s) for s in seen]) if seen else np.zeros(0)
  values = values[np.isfinite(values)]
  if not values.size:
    return
  low, high = float(values.min()), float(values.max())
  if log:
    axes.set_ylim(low / 1.3, high * 1.3)
    return
  pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
  axes.set_ylim(low - pad, high + pad)
  axes.yaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3, steps=TICKS))


def end_labels(axes: Axes, ends: Sequence[tuple[str, float, str]], rows: int = 1) -> None:
  """Names lines at the right edge, in their colour, moved apart until none overlaps.

  rows: of panels in the figure, all of one height.
  """
  height = axes.get_figure(root=True).get_size_inches()[1] * 72 / rows - 75  # type: ignore[union-attr]
  scale: Callable[[Any], Any] = np.log if axes.get_yscale() == "log" else np.asarray
  low, high = (float(scale(limit)) for limit in axes.get_ylim())
  ends = sorted(ends, key=lambda end: end[1])
  wanted = [float((scale(y) - low) / (high - low)) * height for _, y, _ in ends]
  for (text, _, colour), position in zip(ends, _apart(wanted, _LABEL_GAP, height), strict=True):
    axes.text(
      1.0,
      position / height,
      text,
      color=PALETTE["muted"] if colour == PALETTE["context"] else colour,
      va="center",
      size=12,
      transform=offset_copy(axes.transAxes, axes.get_figure(root=True), x=6, units="points"),
    )


def _apart(wanted: Sequence[float], gap: float, height: float) -> list[float]:
  """Rising positions near `wanted`, at least `gap` apart: pushed up, then down into the height."""
  placed: list[float] = []
  for position in wanted:
    placed.append(max([position, *(p + gap for p in placed[-1:])]))
  ceiling = max(height, gap * (len(placed) - 1))
  for i in reversed(range(len(placed))):
    placed[i] = min(placed[i], ceiling)
    ceiling = placed[i] - gap
  return placed
