"""The paper's online filter: of each oversampled batch, train on what the rater rates best.

Drawing rows / (1 - discard_fraction) rows and keeping the top `rows` needs no pass over the pool,
and compares documents within their batch alone. Source: Calian et al. 2025, arXiv 2505.17895.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from datarater.data.packing import Rows, assemble, chunks_of
from datarater.errors import require
from datarater.types import Batch, Datapoint, PyTree

_ROUNDING = 1e-9
"""32 / (1 - 0.9) is 320.00000000000006 in floating point; without this its ceiling would be 321."""


class ResumableIterator(Protocol):
  """What the training loader is, and this filter as well."""

  def __next__(self) -> Batch: ...

  def get_state(self) -> Any: ...

  def set_state(self, state: Any) -> None: ...


def oversampled_rows(rows: int, discard_fraction: float) -> int:
  """Rows to draw so that `rows` are left: ceil(rows / (1 - discard_fraction)).

  Raises InputError outside 0 <= discard_fraction < 1.
  """
  require(
    0.0 <= discard_fraction < 1.0,
    f"discard_fraction is {discard_fraction}; give a number from 0 up to, not including, 1",
  )
  return math.ceil(rows / (1.0 - discard_fraction) - _ROUNDING)


class OnlineFilter(Iterator[Batch]):
  """Yields batches of `rows` rows out of the larger batches of `inner`.

  rate: batch → ratings_BxD of the drawn batch, larger is better; NaN counts as the worst.
  datapoint: `sequence` keeps the rows rated best, in their order; the others keep the segments
  rated best, whole, packed anew into `rows` rows, best first; what finds no room is dropped.
  Nothing is carried from batch to batch, so the state is that of `inner`.
  """

  def __init__(
    self,
    inner: ResumableIterator,
    rate: Callable[[Batch], Any],
    datapoint: Datapoint,
    rows: int,
  ):
    require(rows >= 1, f"rows is {rows}; give 1 or more")
    self._inner = inner
    self._rate = rate
    self._keep = keep_rows if datapoint == "sequence" else keep_segments
    self._rows = rows

  def __next__(self) -> Batch:
    drawn = next(self._inner)
    ratings_BxD = np.asarray(self._rate(drawn), np.float32)
    return self._keep(jax.tree.map(np.asarray, drawn), ratings_BxD, self._rows)

  def get_state(self) -> Any:
    return self._inner.get_state()

  def set_state(self, state: Any) -> None:
    self._inner.set_state(state)

  def close(self) -> None:
    """Ends the threads of `inner`, where it has any."""
    getattr(self._inner, "close", lambda: None)()


class InformedFilter(OnlineFilter):
  """An `OnlineFilter` whose ratings depend on the model in training: `next_for` in place of `next`.

  rate: (batch, theta) → ratings_BxD of the drawn batch.
  """

  def __init__(
    self,
    inner: ResumableIterator,
    rate: Callable[[Batch, PyTree], Any],
    datapoint: Datapoint,
    rows: int,
  ):
    super().__init__(inner, lambda batch: rate(batch, self._theta), datapoint, rows)
    self._theta: PyTree = None

  def next_for(self, theta: PyTree) -> Batch:
    """The next batch for a model with parameters `theta`, which are not kept."""
    self._theta = theta
    try:
      return super().__next__()
    finally:
      self._theta = None

  def __next__(self) -> Batch:
    raise TypeError("ratings depend on the model in training: call next_for(theta)")


def keep_rows(batch: Batch, ratings_Bx1: np.ndarray, rows: int) -> Batch:
  """The `rows` rows rated best, in their order; of equal ones the first. Empty rows come last."""
  number = batch.tokens_BxL.shape[0]
  _check(ratings_Bx1, (number, 1), rows <= number)
  empty_B = batch.segment_ids_BxL.max(axis=1) == 0
  order_B = np.lexsort((_falling(ratings_Bx1[:, 0]), empty_B))
  kept = np.sort(order_B[:rows])
  return jax.tree.map(lambda leaf: leaf[kept], batch)


def keep_segments(batch: Batch, ratings_BxS: np.ndarray, rows: int) -> Batch:
  """The segments rated best, whole, packed first-fit into `rows` rows; of equal ones the first."""
  number, length = batch.tokens_BxL.shape
  segments = batch.document_ids_BxS.shape[1]
  _check(ratings_BxS, (number, segments), rows <= number)
  found = [
    (float(ratings_BxS[row, k]), chunk)
    for row, chunks in enumerate(chunks_of(batch))
    for k, chunk in enumerate(chunks)
  ]
  kept = Rows(rows, length, segments)
  for i in np.argsort(_falling(np.array([rating for rating, _ in found])), kind="stable"):
    kept.add(found[i][1])  # one that finds no room is dropped; a shorter one may still find some
  return assemble(kept.packed, rows, length, segments)


def _falling(ratings: np.ndarray) -> np.ndarray:
  """Keys that sort the best rating first and NaN last."""
  return np.where(np.isnan(ratings), np.inf, -ratings)


def _check(ratings: np.ndarray, shape: tuple[int, int], enough: bool) -> None:
  if ratings.shape != shape:
    raise ValueError(f"ratings have shape {ratings.shape}, the batch needs {shape}")
  if not enough:
    raise ValueError(f"the drawn batch has {shape[0]} rows, fewer than are to be kept")
