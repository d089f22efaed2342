"""What the rater prefers: ratings by domain, and the mixture of domains before and after."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from datarater.report.style import PALETTE, STYLE, TICKS, label, number, numbers, panel


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
    figure, axes = panel(size or (440, 70 + 40 * max(1, len(order))))
    draw_ridges(axes, ratings, target=target, xlabel=xlabel)
    return figure


def draw_ridges(
  axes: Axes,
  ratings: Mapping[str, Mapping[str, Any]],
  *,
  target: str = "",
  xlabel: str = "rating",
) -> None:
  """`rating_distribution` on given axes: row i from the top stands on height `rows - 1 - i`."""
  order = rating_order(ratings)
  low, high = _rating_limits(ratings)
  for row, domain in enumerate(order):
    colour = PALETTE["target"] if domain == target else PALETTE["muted"]
    _draw_ridge(axes, ratings[domain], len(order) - 1 - row, (low, high), colour)
  axes.set_xlim(low, high)
  axes.set_ylim(-0.25, max(len(order), 1) + 0.25)
  axes.set_xlabel(xlabel)
  axes.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
  axes.grid(axis="y", visible=False)
  axes.grid(axis="x", visible=True)
  _domain_rows(axes, order, target)


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
  before, after = ({d: shares[d][side] for d in rows} for side in (0, 1))
  with matplotlib.rc_context(STYLE):
    figure, axes = panel(size or (440, 70 + 40 * max(1, len(rows))))
    draw_pairs(axes, before, after, target=target, names=names)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def draw_pairs(
  axes: Axes,
  before: Mapping[str, float],
  after: Mapping[str, float],
  *,
  target: str = "",
  names: tuple[str, str] = ("before", "after"),
) -> None:
  """Paired bars of shares on given axes, the keys of `before` from the top."""
  rows = list(before)
  heights = np.arange(len(rows))[::-1].astype(float)
  sides = [np.nan_to_num([side[row] for row in rows]) for side in (before, after)]
  for side, (widths, name, colour) in enumerate(
    zip(sides, names, ("context", "rater"), strict=True)
  ):
    y = heights + (0.17, -0.17)[side]
    axes.barh(y, widths, height=0.3, color=PALETTE[colour], label=name)
    for position, width in zip(y, widths, strict=True):
      _note(axes, f"{width:.1%}", (width, position), "muted" if side == 0 else "rater")
  axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
  axes.set_xlim(0, 1.14 * max([*sides[0], *sides[1], 0.01]))
  axes.grid(visible=False)
  axes.spines["bottom"].set_visible(False)
  axes.xaxis.set_major_locator(NullLocator())
  _domain_rows(axes, rows, target)


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
