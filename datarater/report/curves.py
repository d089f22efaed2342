"""Learning curves: held-out loss against compute, all domains in one panel or a panel each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from datarater.report.style import (
  DASHED,
  PALETTE,
  STYLE,
  TICKS,
  Array,
  arm_colours,
  end_labels,
  fit_height,
  interval,
  label,
  numbers,
  panel,
  panels,
  power_of_ten,
)

Runs = Sequence[Mapping[str, Any]]  # one a seed, as in results.json: `curve`, `by_domain`, ...
_UNSETTLED = 0.15  # share of a curve that may leave the top of the plot: the first, steep descent


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
    figure, axes = panel(size)
    drawn = _draw_curves(axes, arms, domain, band)
    if match and match[0] in drawn and match[1] in drawn:
      _draw_match(axes, drawn[match[0]], drawn[match[1]])
    _flops_axis(axes, xlabel)
    axes.set_title(ylabel)
    finals = {arm: float(mean[-1]) for arm, (_, mean) in drawn.items()}
    gaps = np.diff(sorted(finals.values()))
    digits = 3 if gaps.size and gaps.min() < 0.01 else 2
    colours = arm_colours(arms)
    end_labels(axes, [(f"{label(a)} {y:.{digits}f}", y, colours[a]) for a, y in finals.items()])
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
    figure, grid = panels((width, 60 + rows * row_height), rows, columns)
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
      axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3, steps=TICKS))
      if index + columns < len(order):
        axes.tick_params(labelbottom=False)
    handles, names = (grid[0] if order else figure.gca()).get_legend_handles_labels()
    if handles:
      figure.legend(handles, names, loc="outside upper left", ncols=3)
    if order:
      figure.supxlabel(_flops_label("FLOPs", _exponent(grid[0])), size=11.5, color=PALETTE["muted"])
    return figure


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
  drawn, seen, colours = {}, [], arm_colours(arms)
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
  fit_height(axes, seen)
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


def _exponent(axes: Axes) -> int:
  largest = max(abs(limit) for limit in axes.get_xlim())
  return 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0


def _flops_label(text: str, exponent: int) -> str:
  return f"{power_of_ten(exponent)} {text}" if exponent else text


def _flops_axis(axes: Axes, text: str, ticks: int = 7) -> None:
  """Ticks in thousands, millions, ... with the power of ten in the label."""
  axes.set_xlim(left=0)
  exponent = _exponent(axes)
  axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=TICKS))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**exponent:g}"))
  if text:
    axes.set_xlabel(_flops_label(text, exponent))
