"""The figure of a selection, from its `stats.json` alone: ratings with the cut, and the mixture."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from datarater.report.page import inline_svg, render_page, write_page
from datarater.report.style import PALETTE, STYLE, TICKS, label, number, numbers, save_png
from datarater.runtime.places import Place

Stats = Mapping[str, Any]

MOST_DOMAINS = 20
"""Rows of the mixture; smaller domains are summed in one more."""

_WIDTH, _HEIGHT = 920, 330  # px; the mixture grows down beyond it
_ROW = 34  # px a domain
_FRAME = 120  # px above and below the rows
_MOST_NAMED_CUTS = 3
_LEAST_ROWS = 6  # that the mixture has room for: one domain is no wall


def write_selection_figure(stats: Stats, path: str | Place) -> None:
  """Writes the PNG of a selection's figure, atomically; the same bytes each time."""
  save_png(selection_figure(stats), path)


def selection_figure(stats: Stats) -> Figure:
  """Left: documents by rating, all and kept, and the cut. Right: the mixture before and after.

  stats: `histogram` {edges [B+1], before [B], after [B]}; `cut`, a rating, None, or one a group;
  `before` and `after`: documents, and `domains`, name -> {documents, bytes, tokens}. Shares go by
  tokens where they are known on both sides, else bytes, else documents. Any part may be missing.
  """
  measure, rows = mixture_rows(stats)
  height = max(_HEIGHT, _FRAME + _ROW * len(rows))
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
    figure.get_layout_engine().set(w_pad=8 / 72, h_pad=6 / 72, wspace=0.06, hspace=0)  # type: ignore[union-attr]
    # The histogram keeps its height where the mixture is long.
    grid = figure.add_gridspec(2, 2, height_ratios=[_HEIGHT, height - _HEIGHT + 1e-3])
    _draw_ratings(figure.add_subplot(grid[0, 0]), stats)
    _draw_mixture(figure.add_subplot(grid[:, 1]), rows, measure)
    handles = [
      Patch(color=PALETTE[role], label=_total(stats, side))
      for side, role in (("before", "context"), ("after", "rater"))
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


def write_selection_page(stats: Stats, path: str | Place) -> None:
  """Writes the figure, and why records were rejected, as one HTML page, atomically."""
  write_page(selection_page(stats), path)


def selection_page(stats: Stats) -> str:
  """The page as text."""
  documents, kept = (
    np.nan_to_num(number((stats.get(side) or {}).get("documents"))) for side in ("before", "after")
  )
  share = f" ({kept / documents:.1%})" if documents else ""
  rejected = {reason: number(n) for reason, n in (stats.get("rejected") or {}).items()}
  total = sum(rejected.values())
  context = {
    "headline": f"{kept:,.0f} of {documents:,.0f} documents kept{share}",
    "figure": inline_svg(selection_figure(stats), "selection"),
    "reasons": [
      (label(reason, 80), f"{n:,.0f}", f"{n / total:.1%}")
      for reason, n in sorted(rejected.items(), key=lambda item: -item[1])
      if n > 0
    ],
  }
  return render_page("selection_page.html", context)


def mixture_rows(stats: Stats) -> tuple[str, list[tuple[str, float, float]]]:
  """(measure, rows of name, share before, share after), the largest share before first.

  At most `MOST_DOMAINS` rows, and one of the sums of all others.
  """
  sides = [(stats.get(side) or {}).get("domains") or {} for side in ("before", "after")]
  measure = _measure(sides)
  names = list({**sides[0], **sides[1]})
  amounts = np.array(
    [[np.nan_to_num(number((d.get(n) or {}).get(measure))) for d in sides] for n in names]
  ).reshape(-1, 2)
  totals = amounts.sum(axis=0)
  shares = np.divide(amounts, totals, out=np.zeros_like(amounts), where=totals > 0)
  order = sorted(range(len(names)), key=lambda i: (-shares[i, 0], -shares[i, 1], names[i]))
  if len(order) <= MOST_DOMAINS + 1:  # a row for one is as good as a row that hides one
    return measure, [(names[i], *shares[i].tolist()) for i in order]
  shown, rest = order[:MOST_DOMAINS], order[MOST_DOMAINS:]
  others = (f"{len(rest)} others", *shares[rest].sum(axis=0).tolist())
  return measure, [*((names[i], *shares[i].tolist()) for i in shown), others]


def draw_histogram(
  axes: Axes, edges: Any, counts: Mapping[str, Any], xlabel: str = "rating"
) -> bool:
  """Steps of counts [B] over edges [B+1], one after the other, by the palette's role; False where
  there is nothing to draw."""
  x = numbers(edges)
  columns = {role: numbers(values) for role, values in counts.items()}
  axes.set_xlabel(xlabel)
  axes.yaxis.set_major_formatter(FuncFormatter(_short))
  axes.yaxis.set_major_locator(MaxNLocator(5, steps=TICKS, integer=True))
  axes.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
  known = [c for c in columns.values() if c.size and np.nansum(c) > 0]
  if not known or any(c.size != x.size - 1 for c in columns.values()) or not np.all(np.diff(x) > 0):
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    return False
  for role, values in columns.items():
    axes.stairs(np.nan_to_num(values), x, fill=True, color=PALETTE[role], linewidth=0)
  axes.set_xlim(x[0], x[-1])
  axes.set_ylim(0, 1.08 * max(float(np.nanmax(c)) for c in known))
  return True


def _draw_ratings(axes: Axes, stats: Stats) -> None:
  histogram = stats.get("histogram") or {}
  axes.set_title("documents by rating")
  counts = {"context": histogram.get("before"), "rater": histogram.get("after")}
  if not draw_histogram(axes, histogram.get("edges"), counts):
    axes.text(0.5, 0.5, "no ratings", transform=axes.transAxes, ha="center", color=PALETTE["muted"])
    return
  cut = stats.get("cut")
  cuts = {str(k): number(v) for k, v in (cut if isinstance(cut, Mapping) else {"": cut}).items()}
  cuts = {name: value for name, value in cuts.items() if math.isfinite(value)}
  if not cuts:
    return
  named = len(cuts) <= _MOST_NAMED_CUTS
  notes = len(cuts) if named else 2
  axes.set_ylim(0, axes.get_ylim()[1] * (1 + 0.08 * notes))
  low, high = axes.get_xlim()
  for row, (name, value) in enumerate(sorted(cuts.items(), key=lambda item: item[1])):
    x = float(np.clip(value, low, high))
    # Many lines would hide what they cut: then they are marks at the top.
    axes.axvline(x, 0 if named else 0.95, 1, color=PALETTE["target"], linewidth=1.4)
    if named:
      _beside_line(
        axes, f"{_name(name)} {_rating(value)}" if name else f"cut {_rating(value)}", x, row
      )
  if not named:
    ends = _rating(min(cuts.values())), _rating(max(cuts.values()))
    text = f"cuts of {len(cuts)} groups, {ends[0]} to {ends[1]}"
    _beside_line(axes, text, float(np.clip(min(cuts.values()), low, high)), 1)


def _beside_line(axes: Axes, text: str, x: float, row: int) -> None:
  """A note at a vertical line, `row` lines from the top, to its right where there is room."""
  low, high = axes.get_xlim()
  left = x > low + 0.7 * (high - low)
  axes.annotate(
    text,
    (x, 1.0),
    (-6 if left else 6, -3 - 16 * row),
    xycoords=axes.get_xaxis_transform(),
    textcoords="offset points",
    ha="right" if left else "left",
    va="top",
    size=11,
    color=PALETTE["target"],
    bbox={"facecolor": PALETTE["paper"], "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
  )


def _draw_mixture(axes: Axes, rows: list[tuple[str, float, float]], measure: str) -> None:
  axes.set_title(f"share of {measure} by domain")
  heights = np.arange(len(rows))[::-1].astype(float)
  shares = np.array([row[1:] for row in rows]).reshape(-1, 2)
  for side, role in enumerate(("context", "rater")):
    y = heights + (0.19, -0.19)[side]
    axes.barh(y, shares[:, side], height=0.34, color=PALETTE[role])
    for position, share in zip(y, shares[:, side], strict=True):
      axes.annotate(
        f"{share:.1%}",
        (share, position),
        (4, 0),
        textcoords="offset points",
        va="center",
        size=10,
        color=PALETTE["muted" if side == 0 else "rater"],
      )
  axes.set_ylim(len(rows) - max(len(rows), _LEAST_ROWS) - 0.6, len(rows) - 0.4)
  axes.set_xlim(0, 1.16 * max([*shares.ravel(), 0.01]))
  axes.grid(visible=False)
  axes.spines["bottom"].set_visible(False)
  axes.xaxis.set_major_locator(NullLocator())
  axes.yaxis.set_major_locator(FixedLocator(heights.tolist()))
  axes.set_yticklabels([_name(name) for name, *_ in rows], color=PALETTE["ink"])


def _measure(sides: Sequence[Mapping[str, Any]]) -> str:
  """The first that every domain of both sides has."""
  every = [amounts or {} for side in sides for amounts in side.values()]
  for measure in ("tokens", "bytes"):
    if every and all(math.isfinite(number(amounts.get(measure))) for amounts in every):
      return measure
  return "documents"


def _total(stats: Stats, side: str) -> str:
  documents, before = (number((stats.get(s) or {}).get("documents", 0)) for s in (side, "before"))
  text = f"{side}: {np.nan_to_num(documents):,.0f} documents"
  return text if side == "before" or not before > 0 else f"{text} ({documents / before:.1%})"


def _name(name: str, width: int = 28) -> str:
  """A name from data as a label, cut in its middle: domains often differ in their ends."""
  clean = label(name, len(name))
  return clean if len(clean) <= width else f"{clean[: width - 11]}…{clean[-10:]}"


def _rating(value: float) -> str:
  return f"{value:.4g}".replace("-", "−")


def _short(value: float, _: Any = None) -> str:
  """1500 as 1.5k: counts on an axis."""
  for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
    if abs(value) >= size:
      return f"{value / size:g}{unit}"
  return f"{value:g}"
