"""The distribution of ratings: a mergeable sketch of any number of them, and the CDF made from it.

The sketch is that of Munro and Paterson (1980), as mergeable compactors (Agarwal et al. 2012): a
full buffer of one level is sorted, and every second value of it goes up a level with twice the
weight. Which of the two halves is chosen is no coin toss: it is the one that keeps over- and
underestimates level. Hence the same values, in the same order and merged in the same way, give the
same bits, and the sum of what the compactions can have cost bounds the error of this very sketch.
Well-kept libraries (KLL of Apache DataSketches) draw their coins from the clock and bound the error
in probability alone; a run that is killed and repeated would not end with the same bytes.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

POINTS = 1001
"""Quantiles kept; a probability read from them is off by at most one part in a thousand."""

CAPACITY = 8192
"""Values a level; see `worst_error` for what they buy."""


def worst_error(count: int, capacity: int = CAPACITY) -> float:
  """Bound of `QuantileSketch.error` after `count` values, in whatever order and however merged.

  A compaction in a level of weight w takes at least `capacity` values and costs w in rank, so that
  a level costs at most count / capacity in all; there are as many as doublings of the capacity.
  0.21% at 1e9 values; one stream, whose over- and underestimates balance, has half of that.
  """
  levels = max(0, (max(1, count - 1) // capacity).bit_length())
  return levels / capacity


class QuantileSketch:
  """Quantiles of a stream in bounded memory: at most 65 kB a level, a level for each doubling.

  count: values added, NaN left out. error: the most by which a rank can be off, as a fraction of
  `count`; 0 as long as there are at most `capacity` values, which are all kept.

  >>> sketch = QuantileSketch()
  >>> sketch.add(np.arange(101.0))
  >>> float(sketch.quantile(np.array(0.5))), sketch.error
  (50.0, 0.0)
  """

  def __init__(self, capacity: int = CAPACITY):
    if capacity < 2:
      raise ValueError(f"capacity is {capacity}; give at least 2")
    self.capacity, self.count = capacity, 0
    self._low, self._high = np.inf, -np.inf
    # Level h holds values of weight 2^h. Ranks are at most `over` too high and `under` too low.
    self._levels: list[np.ndarray] = [np.zeros(0)]
    self._over = self._under = 0

  @property
  def error(self) -> float:
    """Worst-case error of a rank, as a fraction of `count`: the sum over its compactions."""
    return max(self._over, self._under) / max(1, self.count)

  def add(self, values: Sequence[float] | np.ndarray) -> None:
    """Adds values [N], infinite ones too, NaN not. How they are cut into calls does not matter."""
    new = np.asarray(values, np.float64).ravel()
    new = new[~np.isnan(new)] + 0.0  # minus zero becomes zero: equal values have equal bits
    if not len(new):
      return
    self.count += len(new)
    self._low, self._high = min(self._low, new.min()), max(self._high, new.max())
    while len(new):
      room = self.capacity + 1 - len(self._levels[0])
      self._levels[0] = np.concatenate([self._levels[0], new[:room]])
      new = new[room:]
      self._compact()

  def merge(self, other: "QuantileSketch") -> None:
    """Adds all that another sketch of the same capacity has seen; that one stays as it is."""
    if other.capacity != self.capacity:
      raise ValueError(f"capacities {self.capacity} and {other.capacity} differ; make them equal")
    self.count += other.count
    self._low, self._high = min(self._low, other._low), max(self._high, other._high)
    self._over, self._under = self._over + other._over, self._under + other._under
    nothing = np.zeros(0)
    self._levels += [nothing] * (len(other._levels) - len(self._levels))
    self._levels = [
      np.concatenate([mine, theirs])
      for mine, theirs in zip(
        self._levels,
        other._levels + [nothing] * (len(self._levels) - len(other._levels)),
        strict=True,
      )
    ]
    self._compact()

  def _compact(self) -> None:
    """Empties each level that holds more than `capacity` into the one above; an odd one stays.

    Of n values up to x in a level of weight w, every second one counts double: w ⌈n/2⌉ 2 if the
    first is taken, which is w too many at most; w ⌊n/2⌋ 2 if the second is, w too few at most.
    """
    level = 0
    while level < len(self._levels):
      values = self._levels[level]
      if len(values) > self.capacity:
        if level + 1 == len(self._levels):
          self._levels.append(np.zeros(0))
        values = np.sort(values)
        even = len(values) // 2 * 2
        second = self._over > self._under
        if second:
          self._under += 1 << level
        else:
          self._over += 1 << level
        self._levels[level + 1] = np.concatenate(
          [self._levels[level + 1], values[int(second) : even : 2]]
        )
        self._levels[level] = values[even:]
      level += 1

  def rank(
    self, values: Sequence[float] | np.ndarray, side: Literal["left", "right"] = "right"
  ) -> np.ndarray:
    """float64, like values: how many are ≤ (right) or < (left) each, within `error * count`."""
    items, cumulated = self._weighted()
    return cumulated[np.searchsorted(items, values, side)].astype(np.float64)

  def cdf(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """float64, like values: mid-ranks between 0 and 1, (below + equal / 2) / count; NaN for NaN."""
    if not self.count:
      raise ValueError("the sketch is empty: it has no CDF")
    values = np.asarray(values, np.float64)
    items, cumulated = self._weighted()
    below, upto = (cumulated[np.searchsorted(items, values, s)] for s in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (below + upto) / (2.0 * self.count))

  def quantile(self, p: Sequence[float] | np.ndarray) -> np.ndarray:
    """float64, like p in [0, 1]: the value at rank p (count - 1), linear between neighbours.

    Exactly `np.quantile` as long as all values are kept; the smallest and largest always are exact.
    """
    if not self.count:
      raise ValueError("the sketch is empty: it has no quantile")
    p = np.asarray(p, np.float64)
    items, cumulated = self._weighted()
    place = p * (self.count - 1)
    first = np.floor(place)
    low, high = (
      items[np.searchsorted(cumulated[1:-1], at, "right")]
      for at in (first, np.minimum(first + 1, self.count - 1))
    )
    return np.where(p <= 0, self._low, np.where(p >= 1, self._high, _between(low, high, place % 1)))

  def order_statistic(self, rank: int) -> float:
    """The value with `rank` values before it in order, 0 ≤ rank < count; one of those added."""
    items, cumulated = self._weighted()
    return float(items[np.searchsorted(cumulated[1:-1], rank, "right")])

  def _weighted(self) -> tuple[np.ndarray, np.ndarray]:
    """(values float64 [M] in order, int64 [M+1]: the weight of all before each, and of all)."""
    items = np.concatenate(self._levels)
    weights = np.repeat(1 << np.arange(len(self._levels)), [len(v) for v in self._levels])
    order = np.argsort(items, kind="stable")
    return items[order], np.concatenate([[0], np.cumsum(weights[order])])

  def as_json(self) -> dict[str, Any]:
    """All of it as JSON values; `from_json` is the inverse, bit by bit."""
    return {
      "capacity": self.capacity,
      "count": self.count,
      "over": self._over,
      "under": self._under,
      "ends": _encoded(np.array([self._low, self._high])),
      "levels": [_encoded(values) for values in self._levels],
    }

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "QuantileSketch":
    """What `as_json` wrote; KeyError, TypeError or ValueError for anything else."""
    sketch = cls(values["capacity"])
    sketch.count, sketch._over, sketch._under = (values[k] for k in ("count", "over", "under"))
    sketch._low, sketch._high = _decoded(values["ends"])
    sketch._levels = [_decoded(level) for level in values["levels"]]
    weight = sum(len(level) << height for height, level in enumerate(sketch._levels))
    if weight != sketch.count:
      raise ValueError(f"the sketch counts {sketch.count} values and holds {weight}")
    return sketch


def _between(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
  """Linear, rounded as `np.quantile` rounds; beside an infinity the nearer of the two."""
  with np.errstate(invalid="ignore"):
    step = high - low
    linear = np.where(share < 0.5, low + step * share, high - step * (1 - share))
  return np.where(np.isfinite(step), linear, np.where(share < 0.5, low, high))


def _encoded(values: np.ndarray) -> dict[str, str]:
  """Little-endian bytes in base64: float32 where that loses nothing, as of ratings."""
  for kind in ("<f4", "<f8"):
    with np.errstate(over="ignore"):
      short = values.astype(kind)
    if np.array_equal(short.astype(np.float64), values):
      return {"type": kind, "base64": base64.b64encode(short.tobytes()).decode()}
  raise ValueError("NaN in a sketch")


def _decoded(values: Mapping[str, str]) -> np.ndarray:
  return np.frombuffer(base64.b64decode(values["base64"]), values["type"]).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class RatingsCdf:
  """A CDF that travels with a rater.

  quantiles: float64 [Q], rising, at Q evenly spaced probabilities from 0 to 1. count: values.
  rank_error: the most by which the sketch that they came from can be off, as a probability.
  """

  quantiles: tuple[float, ...]
  count: int
  rank_error: float = 0.0

  @classmethod
  def of(cls, ratings: Sequence[float] | np.ndarray) -> "RatingsCdf":
    """Of finite ratings [N]; those that are not finite are left out."""
    values = np.asarray(ratings, np.float64)
    sketch = QuantileSketch()
    sketch.add(values[np.isfinite(values)])
    return cls.of_sketch(sketch)

  @classmethod
  def of_sketch(cls, sketch: QuantileSketch) -> "RatingsCdf":
    """Of a sketch of finite ratings; ValueError for an empty one."""
    if not sketch.count:
      raise ValueError("no finite rating to take quantiles of")
    points = sketch.quantile(np.linspace(0, 1, POINTS))
    return cls(tuple(float(q) for q in points), sketch.count, sketch.error)

  def __call__(self, ratings: np.ndarray) -> np.ndarray:
    """P(rating ≤ x), between 0 and 1, linear between quantiles; ties at their middle."""
    grid = np.linspace(0, 1, len(self.quantiles))
    points = np.asarray(self.quantiles)
    low = np.searchsorted(points, ratings, "left")
    high = np.searchsorted(points, ratings, "right")
    last = len(points) - 1
    exact = (grid[np.minimum(low, last)] + grid[np.clip(high - 1, 0, last)]) / 2
    return np.where(high > low, exact, np.interp(ratings, points, grid))
