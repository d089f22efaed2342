"""The distribution of ratings as a fixed set of quantiles: a CDF that travels with a rater."""

import dataclasses
from collections.abc import Sequence

import numpy as np

POINTS = 1001
"""Quantiles kept; a probability read from them is off by at most one part in a thousand."""


@dataclasses.dataclass(frozen=True)
class RatingsCdf:
  """quantiles: float64 [Q], rising, at Q evenly spaced probabilities from 0 to 1. count: values."""

  quantiles: tuple[float, ...]
  count: int

  @classmethod
  def of(cls, ratings: Sequence[float] | np.ndarray) -> "RatingsCdf":
    """Of finite ratings [N]; those that are not finite are left out."""
    values = np.asarray(ratings, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
      raise ValueError("no finite rating to take quantiles of")
    points = np.quantile(values, np.linspace(0, 1, POINTS))
    return cls(tuple(float(q) for q in points), len(values))

  def __call__(self, ratings: np.ndarray) -> np.ndarray:
    """P(rating ≤ x), between 0 and 1, linear between quantiles; ties at their middle."""
    grid = np.linspace(0, 1, len(self.quantiles))
    points = np.asarray(self.quantiles)
    low = np.searchsorted(points, ratings, "left")
    high = np.searchsorted(points, ratings, "right")
    last = len(points) - 1
    exact = (grid[np.minimum(low, last)] + grid[np.clip(high - 1, 0, last)]) / 2
    return np.where(high > low, exact, np.interp(ratings, points, grid))
