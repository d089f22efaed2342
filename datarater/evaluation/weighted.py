"""Training on everything, weighted: each document of a batch weighs as its rating says."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from datarater.data.online import ResumableIterator
from datarater.meta.weighting import ABSENT, batch_weights
from datarater.types import WeightedBatch


class WeightedLoader(Iterator[WeightedBatch]):
  """The batches of `inner` with the weights of their documents, softmax(rating + log tokens).

  ratings: float32 [N], by the document's index in the source; NaN weighs nothing. Equal ratings
  reproduce plain training. The state is that of `inner`.
  """

  def __init__(self, inner: ResumableIterator, ratings: np.ndarray):
    self._inner = inner
    self._ratings = np.where(np.isnan(ratings), ABSENT, ratings).astype(np.float32)
    self._weights = jax.jit(batch_weights, static_argnums=2)

  def __next__(self) -> WeightedBatch:
    batch = next(self._inner)
    ratings_BxS = self._ratings[np.maximum(batch.document_ids_BxS, 0)]
    return WeightedBatch(batch, self._weights(ratings_BxS, batch, "document"))

  def get_state(self) -> Any:
    return self._inner.get_state()

  def set_state(self, state: Any) -> None:
    self._inner.set_state(state)

  def close(self) -> None:
    """Ends the threads of `inner`, where it has any."""
    getattr(self._inner, "close", lambda: None)()
