"""Figures of reports and experiments: plain lists and dicts in, a matplotlib Figure out, one look.

Sizes are CSS pixels: 1 px of the page is 1 pt of the figure, so a figure drawn at the width of its
place keeps its type size. No pyplot, no global state. None and NaN in data are gaps, never errors.

A colour means one thing: `rater` is the rater's arm, `target` the target domain, the rest is grey;
arms that others bring take the Okabe-Ito colours, which colour-blind readers can tell apart.
"""

import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from datarater.runtime.atomic import atomic_file

Array = np.ndarray
Runs = Sequence[Mapping[str, Any]]  # one a seed, as in results.json: `curve`, `by_domain`, ...

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
_LABEL_GAP = 15  # px between the baselines of two labels at the ends of lines
_TICKS = (1, 2, 2.5, 5, 10)  # steps of ticks that people count in
_POINTS = 500  # points a line keeps: more than a panel has pixels
_UNSETTLED = 0.15  # share of a curve that may leave the top of the plot: the first, steep descent


def arm_colour(name: str, index: int = 0) -> str:
  """The colour of an arm; `index` counts the arms that have no colour of their own."""
  return PALETTE.get(name, OTHER_ARMS[index % len(OTHER_ARMS)])


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
  return f"{mantissa} × {_power_of_ten(int(exponent))}"


def interval(values: Any) -> tuple[float, float]:
  """Mean and half width of its 95% t-interval; the half width of fewer than two values is NaN."""
  x = numbers(values).ravel()
  x = x[np.isfinite(x)]
  if x.size < 2:
    return (float(x[0]) if x.size else math.nan), math.nan
  t = float(scipy.stats.t.ppf(0.975, x.size - 1))
  return float(x.mean()), t * float(x.std(ddof=1)) / math.sqrt(x.size)


def learning_curves(
  arms: Mapping[str, Runs],
  *,
  domain: str = "",
  band: Literal["range", "interval"] = "range",
  match: tuple[str, str] | None = ("rater", "unfiltered"),
  xlabel: str = "FLOPs, rating and oversampling counted",
  ylabel: str = "bits per byte",
  size: tuple[float, float] = (920, 420),
) -> Figure:
  """A line an arm, its mean over seeds; the band is their range, or the 95% t-interval.

  domain: draws that entry of each run's `by_domain` in place of its `curve`. match: (arm, baseline)
  marks where the arm's mean reaches the baseline's last value. The steep start may leave the top.
  """
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure(size)
    drawn = _draw_curves(axes, arms, domain, band)
    if match and match[0] in drawn and match[1] in drawn:
      _draw_match(axes, drawn[match[0]], drawn[match[1]])
    _flops_axis(axes, xlabel)
    axes.set_title(ylabel)
    finals = {arm: float(mean[-1]) for arm, (_, mean) in drawn.items()}
    gaps = np.diff(sorted(finals.values()))
    digits = 3 if gaps.size and gaps.min() < 0.01 else 2
    colours = _colours(arms)
    _end_labels(axes, [(f"{label(a)} {y:.{digits}f}", y, colours[a]) for a, y in finals.items()])
    return figure


def learning_curves_by_domain(
  arms: Mapping[str, Runs],
  *,
  target: str = "",
  columns: int = 0,
  band: Literal["range", "interval"] = "range",
  width: float = 920,
  row_height: float = 165,
) -> Figure:
  """One small panel a domain, each with its own vertical scale; the target comes first.

  columns: 0 takes the number from 3 to 5 that fills the rows best.
  """
  domains = dict.fromkeys(
    d for runs in arms.values() for run in runs for d in run.get("by_domain") or {}
  )
  order = sorted(domains, key=lambda d: d != target)
  columns = columns or min((4, 5, 3), key=lambda c: -len(order) % c)
  rows = max(1, math.ceil(len(order) / columns))
  with matplotlib.rc_context(STYLE):
    figure, grid = _figures((width, 60 + rows * row_height), rows, columns)
    for index, axes in enumerate(grid):
      if index >= len(order):
        axes.set_axis_off()
        continue
      _draw_curves(axes, arms, order[index], band, linewidth=1.6)
      is_target = order[index] == target
      axes.set_title(
        label(order[index]) + (" (target)" if is_target else ""),
        color=PALETTE["target"] if is_target else PALETTE["ink"],
      )
      _flops_axis(axes, "", ticks=3)
      axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3, steps=_TICKS))
      if index + columns < len(order):
        axes.tick_params(labelbottom=False)
    handles, names = (grid[0] if order else figure.gca()).get_legend_handles_labels()
    if handles:
      figure.legend(handles, names, loc="outside upper left", ncols=3)
    if order:
      figure.supxlabel(_flops_label("FLOPs", _exponent(grid[0])), size=11.5, color=PALETTE["muted"])
    return figure


def rating_order(ratings: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """Domains by median rating, the highest first; by mean where quantiles are missing."""
  return sorted(ratings, key=lambda d: -_middle(ratings[d]))


def rating_distribution(
  ratings: Mapping[str, Mapping[str, Any]],
  *,
  target: str = "",
  xlabel: str = "rating",
  size: tuple[float, float] | None = None,
) -> Figure:
  """A ridge a domain, the highest median on top, smoothed from evenly spaced `quantiles`.

  Heights are scaled to each ridge. Without quantiles: the mean, and one deviation either way.
  """
  order = rating_order(ratings)
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure(size or (440, 70 + 40 * max(1, len(order))))
    low, high = _rating_limits(ratings)
    for row, domain in enumerate(order):
      colour = PALETTE["target"] if domain == target else PALETTE["muted"]
      _draw_ridge(axes, ratings[domain], len(order) - 1 - row, (low, high), colour)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.25, max(len(order), 1) + 0.25)
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=_TICKS))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    _domain_rows(axes, order, target)
    return figure


def mixture(
  before: Mapping[str, float | None],
  after: Mapping[str, float | None],
  *,
  order: Sequence[str] = (),
  target: str = "",
  names: tuple[str, str] = ("before", "after"),
  size: tuple[float, float] | None = None,
) -> Figure:
  """Paired bars a domain: its share before and after; `order` from the top, else by growth."""
  domains = [d for d in order if d in before or d in after]
  rest = [d for d in {**before, **after} if d not in domains]
  shares = {d: tuple(number(m.get(d, 0)) for m in (before, after)) for d in [*domains, *rest]}
  rows = domains + sorted(rest, key=lambda d: np.nan_to_num(shares[d][0] - shares[d][1]))
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure(size or (440, 70 + 40 * max(1, len(rows))))
    heights = np.arange(len(rows))[::-1].astype(float)
    for side, (name, colour) in enumerate(zip(names, ("context", "rater"), strict=True)):
      widths = np.nan_to_num([shares[d][side] for d in rows])
      y = heights + (0.17, -0.17)[side]
      axes.barh(y, widths, height=0.3, color=PALETTE[colour], label=name)
      for position, width in zip(y, widths, strict=True):
        _note(axes, f"{width:.1%}", (width, position), "muted" if side == 0 else "rater")
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_xlim(0, 1.14 * max([*np.nan_to_num(list(shares.values())).ravel(), 0.01]))
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.set_major_locator(NullLocator())
    _domain_rows(axes, rows, target)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def loss_by_member(
  steps: Any,
  loss: Any,
  age: Any = None,
  *,
  highlight: int = 0,
  ylabel: str = "outer loss, nats a token",
  size: tuple[float, float] = (440, 300),
) -> Figure:
  """A line a member of `loss` [steps, members]; where `age` falls, a dot marks a fresh inner model.

  One member takes the accent, so that one life after another can be followed.
  """
  x, y = _steps_by_members(steps, loss)
  ages = numbers(age)
  ages = (
    ages if ages.shape == y.shape else np.tile(np.arange(len(x), dtype=float)[:, None], y.shape[1:])
  )
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure(size)
    for member in sorted(range(y.shape[1]), key=lambda m: m == highlight):
      accent = member == highlight
      colour = PALETTE["rater" if accent else "context"]
      births = [0, *(1 + np.flatnonzero(np.diff(ages[:, member]) < 0)), len(x)]
      for start, end in itertools.pairwise(births):
        kept = slice(start, end, math.ceil(max(end - start, 1) * (len(births) - 1) / _POINTS))
        axes.plot(x[kept], y[kept, member], color=colour, linewidth=1.6 if accent else 1.0)
        if start:
          axes.plot(x[start], y[start, member], "o", markersize=4, color=colour)
    _limits(axes, [y])
    axes.set_title(ylabel)
    axes.set_xlabel("meta-step")
    return figure


def over_steps(
  steps: Any,
  series: Mapping[str, Any],
  *,
  ylabel: str,
  xlabel: str = "meta-step",
  colours: Mapping[str, str] | None = None,
  reference: tuple[str, float] | None = None,
  log: bool = False,
  smooth: int = 1,
  size: tuple[float, float] = (440, 300),
) -> Figure:
  """Named series against steps, each named at its end.

  A series is [steps], or [steps, members]: then the line is the mean and the band the range.
  colours: the palette's colour by name of a series, grey for the others. reference: a dotted level.
  smooth: width of a centred moving average, in steps.
  """
  with matplotlib.rc_context(STYLE):
    figure, axes = _figure(size)
    if log:
      _log_axis(axes)
    ends, seen = [], []
    for name, values in sorted(series.items(), key=lambda item: item[0] in (colours or {})):
      x, y = _steps_by_members(steps, values)
      y = np.where(y > 0, y, np.nan) if log else y
      if not np.isfinite(y).any():
        continue
      colour = PALETTE[(colours or {}).get(name, "context")]
      mean = _moving_average(_rowwise(np.nanmean, y), smooth)
      kept = slice(None, None, math.ceil(len(x) / _POINTS))
      axes.plot(
        x[kept], mean[kept], color=colour, linewidth=1.8 if name in (colours or {}) else 1.2
      )
      if y.shape[1] > 1:
        low, high = _rowwise(np.nanmin, y), _rowwise(np.nanmax, y)
        axes.fill_between(x[kept], low[kept], high[kept], color=colour, alpha=0.15, linewidth=0)
      ends.append((label(name), mean[np.isfinite(mean)][-1], colour))
      seen.append(y if y.shape[1] > 1 else mean)
    if reference and math.isfinite(reference[1]):
      axes.axhline(reference[1], color=PALETTE["ink"], linewidth=1.2, linestyle=(0, (1, 2)))
      ends.append((reference[0], reference[1], PALETTE["ink"]))
      seen.append(np.array([reference[1]]))
    _limits(axes, seen, log)
    _end_labels(axes, ends)
    axes.set_title(ylabel)
    axes.set_xlabel(xlabel)
    return figure


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


def save_png(figure: Figure, path: str | Path, *, scale: float = 2.0) -> None:
  """Writes a PNG on white, atomically; `scale` pixels a CSS pixel."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(
      buffer, format="png", dpi=72 * scale, facecolor=PALETTE["paper"], metadata={"Software": None}
    )
  with atomic_file(Path(path)) as file:
    file.write(buffer.getvalue())


def label(name: str, width: int = 22) -> str:
  """A name from data as a label: one line, no control characters, cut at `width`."""
  clean = "".join(c if c.isprintable() else " " for c in str(name))
  return clean if len(clean) <= width else clean[: width - 1] + "…"


def _figures(size: tuple[float, float], rows: int, columns: int) -> tuple[Figure, list[Axes]]:
  figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
  figure.get_layout_engine().set(w_pad=6 / 72, h_pad=6 / 72, wspace=0.03, hspace=0.03)  # type: ignore[union-attr]
  grid = figure.subplots(rows, columns, squeeze=False)
  return figure, list(grid.ravel())


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
  figure, grid = _figures(size, 1, 1)
  return figure, grid[0]


def _colours(arms: Mapping[str, Any]) -> dict[str, str]:
  others = [arm for arm in arms if arm not in PALETTE]
  return {arm: arm_colour(arm, others.index(arm) if arm in others else 0) for arm in arms}


def _points(run: Mapping[str, Any], domain: str) -> tuple[Array, Array]:
  """x and y of a run's curve, or of one domain of it, gaps left out."""
  curve = numbers(run.get("curve"))
  if curve.ndim != 2 or curve.shape[1] != 2:
    return np.zeros(0), np.zeros(0)
  y = numbers((run.get("by_domain") or {}).get(domain)) if domain else curve[:, 1]
  if y.shape != curve[:, 0].shape:
    return np.zeros(0), np.zeros(0)
  kept = np.isfinite(curve[:, 0]) & np.isfinite(y)
  return curve[kept, 0], y[kept]


def _over_seeds(runs: Runs, domain: str) -> tuple[Array, Array]:
  """x [points] and y [seeds, points]; different x are joined and interpolated where all exist."""
  points = [p for p in (_points(run, domain) for run in runs) if p[0].size]
  if not points:
    return np.zeros(0), np.zeros((0, 0))
  x = np.unique(np.concatenate([p[0] for p in points]))
  x = x[(x >= max(p[0].min() for p in points)) & (x <= min(p[0].max() for p in points))]
  return x, np.stack([np.interp(x, *p) for p in points])


def _draw_curves(
  axes: Axes, arms: Mapping[str, Runs], domain: str, band: str, linewidth: float = 2.0
) -> dict[str, tuple[Array, Array]]:
  """Draws each arm, the rater's last and on top; returns x and the mean by arm."""
  drawn, seen, colours = {}, [], _colours(arms)
  for arm, runs in sorted(arms.items(), key=lambda item: item[0] == "rater"):
    x, y = _over_seeds(runs, domain)
    if not x.size:
      continue
    mean = y.mean(axis=0)
    half = np.nan_to_num([interval(column)[1] for column in y.T])
    low, high = (mean - half, mean + half) if band == "interval" else (y.min(axis=0), y.max(axis=0))
    axes.fill_between(x, low, high, color=colours[arm], alpha=0.18, linewidth=0)
    axes.plot(
      x, mean, color=colours[arm], linestyle=DASHED.get(arm, "-"), linewidth=linewidth, label=arm
    )
    drawn[arm] = (x, mean)
    settled = x >= x[0] + _UNSETTLED * (x[-1] - x[0])
    seen += [low[settled], high[settled]]
  _limits(axes, seen)
  return drawn


def _draw_match(axes: Axes, arm: tuple[Array, Array], baseline: tuple[Array, Array]) -> None:
  """A dotted line at the baseline's last value, from where the arm reaches it."""
  level, (x, y) = baseline[1][-1], arm
  reached = np.flatnonzero(y <= level)
  if not reached.size:
    return
  i = int(reached[0])
  start = x[i] if i == 0 else np.interp(level, [y[i], y[i - 1]], [x[i], x[i - 1]])
  style = {"color": PALETTE["ink"], "linewidth": 1.2, "linestyle": (0, (1, 2)), "zorder": 1.5}
  axes.plot([start, baseline[0][-1]], [level, level], **style)
  ring = {"markeredgecolor": PALETTE["rater"], "markeredgewidth": 2, "zorder": 4}
  axes.plot(start, level, "o", markersize=7, color=PALETTE["paper"], **ring)


def _middle(rating: Mapping[str, Any]) -> float:
  quantiles = numbers(rating.get("quantiles"))
  middle = np.median(quantiles) if quantiles.size else number(rating.get("mean"))
  return float(middle) if np.isfinite(middle) else -math.inf


def _rating_limits(ratings: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
  """From lowest to highest rating, but at most half the bulk's width beyond the bulk, 5% to 95%."""
  inner, outer = [], []
  for rating in ratings.values():
    q = numbers(rating.get("quantiles"))
    mean, std = number(rating.get("mean")), number(rating.get("std"))
    if q.size > 2 and np.isfinite(q).all():
      inner += list(np.quantile(q, [0.05, 0.95]))
      outer += [q[0], q[-1]]
    elif np.isfinite(mean):
      outer += [mean - np.nan_to_num(std), mean + np.nan_to_num(std)]
  if not outer:
    return 0.0, 1.0
  low, high = min(outer), max(outer)
  if inner:
    spare = 0.5 * (max(inner) - min(inner))
    low, high = max(low, min(inner) - spare), min(high, max(inner) + spare)
  pad = 0.03 * (high - low) or 0.5
  return low - pad, high + pad


def _draw_ridge(
  axes: Axes, rating: Mapping[str, Any], row: int, limits: tuple[float, float], colour: str
) -> None:
  q, z = numbers(rating.get("quantiles")), 10 - 0.1 * row
  if q.size < 3 or not np.isfinite(q).all():
    mean, std = number(rating.get("mean")), number(rating.get("std"))
    axes.errorbar(mean, row + 0.3, xerr=np.nan_to_num(std), fmt="o", color=colour, linewidth=2)
    return
  sample = np.interp(np.linspace(0, 1, 401), np.linspace(0, 1, q.size), q)
  middle_half = np.subtract(*np.quantile(sample, [0.75, 0.25])) / 1.34
  bandwidth = max(0.3 * min(sample.std(), middle_half), 0.008 * (limits[1] - limits[0]))
  x = np.linspace(*limits, 180)
  density = np.exp(-0.5 * ((x[:, None] - sample) / bandwidth) ** 2).sum(axis=1)
  y = row + 1.05 * density / density.max()
  axes.fill_between(x, row, y, color=PALETTE["paper"], alpha=0.75, linewidth=0, zorder=z)
  axes.fill_between(x, row, y, color=colour, alpha=0.32, linewidth=0, zorder=z)
  axes.plot(x, y, color=colour, linewidth=1.4, zorder=z + 0.01)
  middle = float(np.median(q))
  axes.plot(
    [middle, middle], [row, np.interp(middle, x, y)], color=colour, linewidth=2.0, zorder=z + 0.02
  )


def _domain_rows(axes: Axes, order: Sequence[str], target: str) -> None:
  """Names the rows from the top; the target's in its colour."""
  axes.yaxis.set_major_locator(FixedLocator(list(range(len(order)))))
  axes.set_yticklabels([label(d) for d in reversed(order)])
  for text, domain in zip(axes.get_yticklabels(), reversed(order), strict=True):
    text.set_color(PALETTE["target" if domain == target else "ink"])
    text.set_fontweight("bold" if domain == target else "normal")


def _note(axes: Axes, text: str, at: tuple[float, float], colour: str) -> None:
  axes.annotate(
    text,
    at,
    (4, 0),
    textcoords="offset points",
    va="center",
    size=10,
    color=PALETTE[colour],
    annotation_clip=False,
  )


def _end_labels(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
  """Names lines at the right edge, in their colour, moved apart until none overlaps."""
  height = axes.get_figure(root=True).get_size_inches()[1] * 72 - 75  # type: ignore[union-attr]
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


def _limits(axes: Axes, seen: Sequence[Array], log: bool = False) -> None:
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
  axes.yaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3, steps=_TICKS))


def _steps_by_members(steps: Any, values: Any) -> tuple[Array, Array]:
  """x [steps] and y [steps, members]; whatever does not fit the steps is left out."""
  x, y = numbers(steps), numbers(values)
  y = y[:, None] if y.ndim == 1 else y
  if x.ndim != 1 or y.ndim != 2 or not x.size or len(x) != len(y):
    return np.zeros(0), np.zeros((0, 1))
  return x, y


def _rowwise(reduce: Callable[..., Any], y: Array) -> Array:
  """`reduce` over members where one is finite: numpy warns about rows of NaN alone."""
  out, some = np.full(len(y), np.nan), np.isfinite(y).any(axis=1)
  out[some] = reduce(y[some], axis=1)
  return out


def _moving_average(y: Array, width: int) -> Array:
  if width <= 1:
    return y
  finite, kernel = np.isfinite(y), np.ones(min(width, max(len(y), 1)))
  total = np.convolve(np.where(finite, y, 0.0), kernel, mode="same")
  count = np.convolve(finite.astype(float), kernel, mode="same")
  return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)


def _power_of_ten(exponent: int) -> str:
  return "10" + str(exponent).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def _exponent(axes: Axes) -> int:
  largest = max(abs(limit) for limit in axes.get_xlim())
  return 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0


def _flops_label(text: str, exponent: int) -> str:
  return f"{_power_of_ten(exponent)} {text}" if exponent else text


def _flops_axis(axes: Axes, text: str, ticks: int = 7) -> None:
  """Ticks in thousands, millions, ... with the power of ten in the label."""
  axes.set_xlim(left=0)
  exponent = _exponent(axes)
  axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=_TICKS))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**exponent:g}"))
  if text:
    axes.set_xlabel(_flops_label(text, exponent))


def _log_axis(axes: Axes) -> None:
  axes.set_yscale("log")
  axes.yaxis.set_major_locator(LogLocator(numticks=6))
  axes.yaxis.set_minor_locator(NullLocator())
  axes.yaxis.set_major_formatter(
    FuncFormatter(
      lambda value, _: (
        f"{value:g}" if 1e-3 <= value < 1e4 else _power_of_ten(round(math.log10(value)))
      )
    )
  )
