"""Kernel density of a pool's points, only of those that are asked for.

    ρ_j = Σ_{i in the kde_K nearest of j} max(0, 1 - d_ij² / σ²)

The sum goes over a given set of points, j among them, so that ρ_j >= 1: a point with n near-copies
has ρ of about n, and they share what one of them would get (Liu et al. 2024, KNN-KDE). σ = 0: ρ = 1
(KNN-Uniform).
"""

import numpy as np

from datarater.scorers.tsds.neighbours import Search


class Densities:
  """ρ of points, each computed when it is first asked for, and once.

  search: of `points_NxD`. ids: int64, any order and repeats: the points that densities are taken
  among. sigma: the kernel's width. kde_K: neighbours of a point that count, itself included.
  """

  def __init__(
    self, search: Search, points_NxD: np.ndarray, ids: np.ndarray, sigma: float, kde_K: int
  ):
    self._points, self._sigma, self._kde_K = points_NxD, sigma, kde_K
    self._ids = np.unique(ids)
    self._near = search.among(self._ids) if sigma > 0 else None
    self._known = np.full(len(self._ids), np.nan)

  @property
  def computed(self) -> int:
    """Points whose density is known by now."""
    return int(np.count_nonzero(~np.isnan(self._known)))

  def __call__(self, ids: np.ndarray) -> np.ndarray:
    """float64, like `ids`, which are some of those given."""
    if self._near is None:
      return np.ones(ids.shape)
    places = np.searchsorted(self._ids, ids)
    new = np.unique(places[np.isnan(self._known[places])])
    if len(new):
      pairs = self._near.within(self._points[self._ids[new]], self._sigma, self._kde_K)
      kernel = 1.0 - pairs.squared / self._sigma**2
      sums = np.bincount(pairs.rows, kernel, minlength=len(new))
      self._known[new] = np.maximum(sums, 1.0)  # an approximate search may miss the point itself
    return self._known[places]
