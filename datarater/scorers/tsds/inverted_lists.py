"""Approximate nearest neighbours: inverted lists of faiss, of which a query looks at a few.

faiss says which points are near, in float32; how near they are is computed in float64.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from datarater.errors import InputError
from datarater.scorers.tsds.neighbours import ExactSearch, Pairs, exact_pairs, near_pairs
from datarater.scorers.tsds.screening import Screen, Tile

_ROWS = 1 << 13
_POINTS_A_LIST = 39
"""The least that faiss wants to train on, for each list."""


class InvertedLists:
  """`Search` through √N / 2 lists. points_NxD: finite floats, N >= 1.

  probes: lists that a query looks at. seed: of the clustering into lists. A query whose lists hold
  fewer points than it asks for is searched exactly. Raises InputError where faiss is missing.
  """

  def __init__(self, points_NxD: np.ndarray, probes: int, seed: int):
    faiss = import_faiss()
    self._points = points_NxD
    number, width = points_NxD.shape
    lists = max(1, min(int(np.sqrt(number)) // 2, number // _POINTS_A_LIST))
    self._quantizer = faiss.IndexFlatL2(width)
    self._index = faiss.IndexIVFFlat(self._quantizer, width, lists)
    self._index.cp.seed = seed % 2**31
    self._index.nprobe = min(probes, lists)
    with _one_thread(faiss):  # one order of summing: the same lists whatever the machine
      self._index.train(np.ascontiguousarray(points_NxD, np.float32))
      self._index.add(np.ascontiguousarray(points_NxD, np.float32))

  def nearest(self, queries_QxD: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """See `Search`."""
    _, ids = self._index.search(np.ascontiguousarray(queries_QxD, np.float32), number)
    rows = np.repeat(np.arange(len(ids)), number)
    points = ids.astype(np.int64).ravel()
    squared = exact_pairs(queries_QxD, self._points, rows, np.maximum(points, 0)).squared
    order = np.lexsort((points, squared, rows))
    short = np.flatnonzero(np.any(ids < 0, axis=1))
    ids, distances = points[order].reshape(ids.shape), np.sqrt(squared[order]).reshape(ids.shape)
    if len(short):
      ids[short], distances[short] = ExactSearch(self._points).nearest(queries_QxD[short], number)
    return ids, distances

  def within(self, queries_QxD: np.ndarray, radius: float, number: int) -> Pairs:
    """See `Near`; of the points in the lists looked at."""
    return self.among(np.arange(len(self._points))).within(queries_QxD, radius, number)

  def among(self, ids: np.ndarray) -> "_Among":
    """See `Search`."""
    return _Among(self, ids)

  def lists(self) -> np.ndarray:
    """int64 [N]: the list of each point."""
    faiss = import_faiss()
    inverted = self._index.invlists
    list_N = np.empty(len(self._points), np.int64)
    for i in range(inverted.nlist):
      size = inverted.list_size(i)
      if size:
        list_N[faiss.rev_swig_ptr(inverted.get_ids(i), size)] = i
    return list_N

  def probed(self, queries_QxD: np.ndarray) -> np.ndarray:
    """int64 [Q, probes]: the lists that each query looks at."""
    queries = np.ascontiguousarray(queries_QxD, np.float32)
    return self._quantizer.search(queries, self._index.nprobe)[1].astype(np.int64)


class _Among:
  """`Near` for some of the points of inverted lists: a product for each list."""

  def __init__(self, index: InvertedLists, ids: np.ndarray):
    list_N = index.lists()[ids]
    self._index, self._order = index, np.argsort(list_N, kind="stable")
    self._points = index._points[ids[self._order]]
    self._screen = Screen(self._points)
    self._ends = np.cumsum(np.bincount(list_N))

  def within(self, queries_QxD: np.ndarray, radius: float, number: int) -> Pairs:
    """See `Near`; of the points in the lists looked at."""
    lists_QxP = self._index.probed(queries_QxD)

    def looked_at(rows: slice) -> Iterable[Tile]:
      probed = lists_QxP[rows].ravel()
      by_list = np.argsort(probed, kind="stable")
      found, firsts = np.unique(probed[by_list], return_index=True)
      for i, some in zip(found, np.split(by_list // lists_QxP.shape[1], firsts[1:]), strict=True):
        if i < len(self._ends):
          yield some, slice(int(self._ends[i - 1]) if i else 0, int(self._ends[i]))

    pairs = near_pairs(
      queries_QxD, self._points, self._screen, radius, number, looked_at, rows=_ROWS
    )
    columns = self._order[pairs.columns]
    order = np.lexsort((columns, pairs.rows))
    return Pairs(pairs.rows[order], columns[order], pairs.squared[order])


def import_faiss() -> Any:
  try:
    import faiss
  except ImportError as error:
    raise InputError(
      "approximate neighbours need the package faiss-cpu; install the extra: "
      "pip install 'datarater[selectors]', or give method 'exact'"
    ) from error
  return faiss


@contextlib.contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
  threads = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(1)
  try:
    yield
  finally:
    faiss.omp_set_num_threads(threads)
