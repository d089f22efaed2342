"""Any scorer on packed batches: what the online filter asks for."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from datarater.data.packing import chunks_of
from datarater.data.tokenizers import Tokenizer
from datarater.data_config import DataConfig
from datarater.scorers.base import rate
from datarater.types import Batch

_BETWEEN = "\n\n"
"""Between the documents of a packed row that is rated as one."""


def batch_rating(
  scorer: Any, data: DataConfig, tokenizer: Tokenizer
) -> Callable[[Batch], np.ndarray | jax.Array]:
  """batch → ratings_BxD for `data.online.OnlineFilter`, larger is better, NaN where nothing is.

  A scorer with `rate_batch` (a rater) reads the tokens; for any other, each datapoint's tokens
  become text again: a chunk of a document, or, where a row is one datapoint, all that is in it.
  Raises InputError for a rater that was trained on other tokens or datapoints.
  """
  if hasattr(scorer, "rate_batch"):
    scorer.require_same_tokens(data, tokenizer)
    return scorer.rate_batch

  def rate_batch(batch: Batch) -> np.ndarray:
    batch = jax.tree.map(np.asarray, batch)
    rows = [[tokenizer.decode(c.tokens) for c in row] for row in chunks_of(batch)]
    if data.datapoint == "sequence":
      rows = [[_BETWEEN.join(row)] if row else [] for row in rows]
      width = 1
    else:
      width = batch.document_ids_BxS.shape[1]
    places = [(b, d) for b, row in enumerate(rows) for d in range(len(row))]
    ratings_BxD = np.full((len(rows), width), np.nan, np.float32)
    if places:
      texts = [rows[b][d] for b, d in places]
      ids = [f"{batch.document_ids_BxS[place]}" for place in places]
      ratings_BxD[tuple(np.transpose(places))] = rate(scorer, ids, texts)[0]
    return ratings_BxD

  return rate_batch
