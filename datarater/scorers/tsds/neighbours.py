"""Nearest neighbours: what screening leaves, its distances in float64."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from datarater.scorers.tsds.screening import Screen, Tile, blocks
from datarater.scorers.tsds.threads import in_threads, workers

_PRODUCTS = 1 << 22
"""Held at once: 16 MB of float32, which stay in the cache."""

_PAIR_VALUES = 1 << 18
"""Coordinates gathered at once: 2 MB of float64."""

_ROWS, _COLUMNS = 512, 1 << 13


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Points near queries, by query and then by point.

  rows: int64 [P], of queries. columns: int64 [P], of points. squared: float64 [P], the distance's
  square.
  """

  rows: np.ndarray
  columns: np.ndarray
  squared: np.ndarray


class Near(Protocol):
  """Finds points near queries."""

  def within(self, queries_QxD: np.ndarray, radius: float, number: int) -> Pairs:
    """Of the points nearer than `radius`, the `number` nearest of each query."""
    ...


class Search(Near, Protocol):
  """Points to search."""

  def nearest(self, queries_QxD: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(points int64 [Q, number], distances float64 [Q, number]), nearest first.

    At equal distances the first point comes first. number: at most as many as there are points.
    """
    ...

  def among(self, ids: np.ndarray) -> Near:
    """For some of the points, int64 and increasing; its columns count within `ids`."""
    ...


class ExactSearch:
  """`Search` that looks at every point. points_NxD: float32 or float64, finite, N >= 1."""

  def __init__(self, points_NxD: np.ndarray):
    self._points, self._screen = points_NxD, Screen(points_NxD)

  def nearest(self, queries_QxD: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """See `Search`."""
    ids = np.empty((len(queries_QxD), number), np.int64)
    distances = np.empty((len(queries_QxD), number))

    def find(block: slice) -> None:
      queries = queries_QxD[block]
      maybe = self._screen.maybe_nearest(self._screen.queries(queries), number)
      found = exact_pairs(queries, self._points, *np.nonzero(maybe))
      order = np.lexsort((found.squared, found.rows))  # stable
      firsts = np.searchsorted(found.rows, np.arange(len(queries)))
      best = order[firsts[:, None] + np.arange(number)]
      ids[block] = found.columns[best]
      distances[block] = np.sqrt(found.squared[best])

    in_threads(find, blocks(len(queries_QxD), max(1, _PRODUCTS // len(self._points))))
    return ids, distances

  def within(self, queries_QxD: np.ndarray, radius: float, number: int) -> Pairs:
    """See `Near`."""

    def everything(rows: slice) -> Iterable[Tile]:
      size = rows.stop - rows.start
      return ((slice(0, size), columns) for columns in blocks(len(self._points), _COLUMNS))

    return near_pairs(
      queries_QxD, self._points, self._screen, radius, number, everything, rows=_ROWS
    )

  def among(self, ids: np.ndarray) -> "ExactSearch":
    """See `Search`."""
    return self if len(ids) == len(self._points) else ExactSearch(self._points[ids])


def near_pairs(
  queries_QxD: np.ndarray,
  points_NxD: np.ndarray,
  screen: Screen,
  radius: float,
  number: int,
  tiles_of: Callable[[slice], Iterable[Tile]],
  rows: int,
) -> Pairs:
  """Of the points in a query's tiles that are nearer than `radius`, the `number` nearest.

  tiles_of: queries → the tiles to look at, whose queries count from the first of them. rows: the
  most queries to take at once. By query; a query's points are in order.
  """

  def find(block: slice) -> Pairs:
    queries = queries_QxD[block]
    maybe = screen.maybe_within(screen.queries(queries), radius, tiles_of(block))
    keep = maybe.maybe_nearest(number)
    found = exact_pairs(queries, points_NxD, maybe.rows[keep], maybe.columns[keep])
    found = _nearest_of_each(found, radius, number)
    return dataclasses.replace(found, rows=found.rows + block.start)

  share = -(-len(queries_QxD) // workers())
  parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
  parts += in_threads(find, blocks(len(queries_QxD), max(1, min(rows, share))))
  return Pairs(
    np.concatenate([part.rows for part in parts]),
    np.concatenate([part.columns for part in parts]),
    np.concatenate([part.squared for part in parts]),
  )


def exact_pairs(
  queries_QxD: np.ndarray, points_NxD: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Pairs:
  """Squared distances in float64, of each pair by itself: its bits depend on nothing else."""
  squared = np.empty(len(rows))
  for block in blocks(len(rows), max(1, _PAIR_VALUES // points_NxD.shape[1])):
    gaps = points_NxD[columns[block]].astype(np.float64)
    gaps -= queries_QxD[rows[block]]
    squared[block] = np.einsum("ij,ij->i", gaps, gaps)
  return Pairs(rows, columns, squared)


def _nearest_of_each(pairs: Pairs, radius: float, number: int) -> Pairs:
  """Of each query's pairs those nearer than `radius`, and of these the `number` nearest."""
  near = np.flatnonzero(pairs.squared < radius**2)
  rows = pairs.rows[near]
  if len(near) and np.bincount(rows).max() > number:
    order = np.lexsort((pairs.squared[near], rows))  # stable
    rank = np.arange(len(near)) - np.searchsorted(rows, rows)
    near = near[np.sort(order[rank < number])]
  return Pairs(pairs.rows[near], pairs.columns[near], pairs.squared[near])
