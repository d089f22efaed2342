"""Which points can be near, from float32 products with bounds of their error.

With z = (x - mean) / scale in float32, v_ij = |z_i|² - 2 z_i·z_j + |z_j|² differs from the scaled
squared distance by rounding alone, at most ε_ij = 2c (|z_i|² + |z_j|²) with c = (D + 16) 2^-24 (the
bound of a dot product of D terms; Higham 2002, section 3.1). So v - ε and v + ε are bounds: they
rule out what cannot be near, and only what is left is computed in float64. Hence what is found
depends on no product's rounding: neither on blocks nor on threads. A query that is too far from all
points for float32 rules nothing out.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

Tile = tuple[np.ndarray | slice, slice]
"""(queries, points) to be looked at together."""

_TINY = 1e-30
"""Slack for products that underflow."""

_MOST = 1e30
"""|z|² of a query, beyond which float32 may overflow; a point's is at most 1."""

_VALUES = 1 << 18
"""Coordinates that are centred at once: 2 MB of float64."""


@dataclasses.dataclass(frozen=True)
class Screened:
  """values_Qx: (z, 1) float32 [Q, D + 1]. norms_Q: |z|² float64 [Q]."""

  values_Qx: np.ndarray
  norms_Q: np.ndarray


@dataclasses.dataclass(frozen=True)
class Candidates:
  """Pairs that can be near, by query and then by point.

  rows, columns: int64 [P]. lower, upper: float64 [P], bounds of scaled squared distances.
  """

  rows: np.ndarray
  columns: np.ndarray
  lower: np.ndarray
  upper: np.ndarray

  def maybe_nearest(self, number: int) -> np.ndarray:
    """bool [P]: false where a pair is surely not one of the `number` nearest of its query."""
    keep = np.ones(len(self.rows), bool)
    counts = np.bincount(self.rows)
    ends = np.cumsum(counts)
    for row in np.flatnonzero(counts > number):
      mine = slice(ends[row] - counts[row], ends[row])
      cut = np.partition(self.upper[mine], number - 1)[number - 1]
      keep[mine] = ~(self.lower[mine] > cut)
    return keep


class Screen:
  """Points prepared for screening. points_NxD: float32 or float64, finite, N >= 1."""

  def __init__(self, points_NxD: np.ndarray):
    width = points_NxD.shape[1]
    self._c = (width + 16) * 2.0**-24
    self._centre = np.mean(points_NxD, axis=0, dtype=np.float64)
    far = max(float(norms.max()) for _, _, norms in self._centred(points_NxD, 1.0))
    self._scale = float(np.sqrt(far)) or 1.0
    screened = self.queries(points_NxD)
    self._norms_N, self._values_Nx = screened.norms_Q, screened.values_Qx
    # So that a product with (z_i, 1) is z_i·z_j - (1 - 2c) |z_j|² / 2.
    self._values_Nx[:, width] = -(0.5 - self._c) * self._norms_N

  def __len__(self) -> int:
    return len(self._norms_N)

  def queries(self, queries_QxD: np.ndarray) -> Screened:
    """The same for queries."""
    values_Qx = np.ones((len(queries_QxD), queries_QxD.shape[1] + 1), np.float32)
    norms_Q = np.empty(len(queries_QxD))
    with np.errstate(over="ignore"):
      for rows, values, norms in self._centred(queries_QxD, self._scale):
        values_Qx[rows, :-1], norms_Q[rows] = values, norms
    return Screened(values_Qx, norms_Q)

  def maybe_nearest(self, queries: Screened, number: int) -> np.ndarray:
    """bool [Q, N]: false where a point is surely not one of the `number` nearest."""
    if number == len(self):
      return np.ones((len(queries.norms_Q), number), bool)
    with np.errstate(over="ignore", invalid="ignore"):
      lower = queries.values_Qx @ self._values_Nx.T
      lower *= np.float32(-2)
      lower += ((1 - 2 * self._c) * queries.norms_Q).astype(np.float32)[:, None]
      upper = lower + (4 * self._c * self._norms_N).astype(np.float32)
      cut_Q = np.partition(upper, number - 1, axis=1)[:, number - 1]
      cut_Q += (4 * self._c * queries.norms_Q + _TINY).astype(np.float32)
      return ~(lower > cut_Q[:, None])  # all of a query whose |z|² overflows

  def maybe_within(self, queries: Screened, radius: float, tiles: Iterable[Tile]) -> Candidates:
    """All pairs of the tiles but those that are surely not nearer than the radius."""
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    base_Q = (1 - 2 * self._c) * queries.norms_Q
    with np.errstate(over="ignore", invalid="ignore"):
      least_Q = ((base_Q - (radius / self._scale) ** 2) / 2 - _TINY).astype(np.float32)
      least_Q[queries.norms_Q > _MOST] = np.nan
      for some, points in tiles:
        products = queries.values_Qx[some] @ self._values_Nx[points].T
        maybe = np.flatnonzero(~(products <= least_Q[some, None]))
        row, column = np.divmod(maybe, products.shape[1])
        row = row + some.start if isinstance(some, slice) else some[row]
        parts.append((row, column + points.start, base_Q[row] - 2.0 * products.ravel()[maybe]))
      rows, columns, lower = (np.concatenate(part) for part in zip(*parts, strict=True))
      order = np.lexsort((columns, rows))
      rows, columns, lower = rows[order], columns[order], lower[order]
      spread = 4 * self._c * (queries.norms_Q[rows] + self._norms_N[columns]) + _TINY
    return Candidates(rows, columns, lower, lower + spread)

  def _centred(
    self, values_NxD: np.ndarray, scale: float
  ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """(rows, (x - mean) / scale float64 [B, D], |.|² [B]), a block at a time."""
    for rows in blocks(len(values_NxD), max(1, _VALUES // values_NxD.shape[1])):
      block = (values_NxD[rows] - self._centre) / scale
      yield rows, block, np.einsum("ij,ij->i", block, block)


def blocks(number: int, size: int) -> Iterator[slice]:
  """Slices of at most `size` that make up range(number)."""
  for start in range(0, number, size):
    yield slice(start, min(start + size, number))
