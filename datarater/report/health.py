"""The health of meta-training: the loss of each inner model, and any metric over steps.

Series come as lists from `metrics.jsonl`; what does not fit the steps is left out.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from datarater.report.style import (
  PALETTE,
  STYLE,
  Array,
  end_labels,
  fit_height,
  label,
  numbers,
  panel,
  power_of_ten,
)

_POINTS = 500  # points a line keeps: more than a panel has pixels


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
    figure, axes = panel(size)
    for member in sorted(range(y.shape[1]), key=lambda m: m == highlight):
      accent = member == highlight
      colour = PALETTE["rater" if accent else "context"]
      births = [0, *(1 + np.flatnonzero(np.diff(ages[:, member]) < 0)), len(x)]
      for start, end in itertools.pairwise(births):
        kept = slice(start, end, math.ceil(max(end - start, 1) * (len(births) - 1) / _POINTS))
        axes.plot(x[kept], y[kept, member], color=colour, linewidth=1.6 if accent else 1.0)
        if start:
          axes.plot(x[start], y[start, member], "o", markersize=4, color=colour)
    fit_height(axes, [y])
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
    figure, axes = panel(size)
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
    fit_height(axes, seen, log)
    end_labels(axes, ends)
    axes.set_title(ylabel)
    axes.set_xlabel(xlabel)
    return figure


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


def _log_axis(axes: Axes) -> None:
  axes.set_yscale("log")
  axes.yaxis.set_major_locator(LogLocator(numticks=6))
  axes.yaxis.set_minor_locator(NullLocator())
  axes.yaxis.set_major_formatter(
    FuncFormatter(
      lambda value, _: (
        f"{value:g}" if 1e-3 <= value < 1e4 else power_of_ten(round(math.log10(value)))
      )
    )
  )
