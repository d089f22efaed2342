"""A trained rater, loaded from its folder: the scorer that this project exists for."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from datarater.config import DataConfig, TokenizerConfig, require
from datarater.data.documents import rate_documents
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.models.rater import rate_fn
from datarater.runtime.artifact import RaterFiles, read_rater
from datarater.types import Batch

ROWS = 32
"""Rows rated at once."""


class Rater:
  """Rates texts or batches; larger is better. Made by `load_rater`.

  config: what was saved with it. cdf: of its ratings on the pool it was trained on.
  name, fingerprint: as every scorer has them (`scorers.base`).
  """

  name = "rater"

  def __init__(self, files: RaterFiles, tokenizer: Tokenizer):
    self.config, self.cdf, self.fingerprint = files.config, files.cdf, files.fingerprint
    self.tokenizer = tokenizer
    self._eta = jax.tree.map(jax.numpy.asarray, files.eta)
    c = files.config
    self._rate_rows = jax.jit(rate_fn(c.model, c.vocab_size, "sequence"))
    self._rate_datapoints = jax.jit(rate_fn(c.model, c.vocab_size, c.datapoint))

  def rate(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
    """Ratings float32 [N] of texts of any length; NaN for an empty one.

    A text longer than a row is rated in chunks and averaged by tokens.
    """
    return self.score_with_tokens(texts, progress)[0]

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """`rate`, under the name that all scorers share."""
    return self.rate(texts)

  def score_with_tokens(
    self, texts: Sequence[str], progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N])."""
    return rate_documents(
      texts,
      self.tokenizer,
      lambda batch: self._rate_rows(self._eta, batch),
      self.config.length,
      ROWS,
      progress,
    )

  def rate_batch(self, batch: Batch) -> jax.Array:
    """Ratings BxD of packed rows, D as the rater was trained: for online selection."""
    return self._rate_datapoints(self._eta, batch)

  def require_same_tokens(self, data: DataConfig, tokenizer: Tokenizer) -> None:
    """Raises InputError unless batches of `data` and `tokenizer` are like those it trained on."""
    require(
      tokenizer.fingerprint == self.tokenizer.fingerprint,
      f"data.tokenizer is {data.tokenizer.kind!r} with {tokenizer.vocab_size} tokens, but the "
      f"rater was trained with {self.config.tokenizer.kind!r} and {self.config.vocab_size}; give "
      "the same tokenizer, or select offline, which rates text",
    )
    require(
      data.datapoint == self.config.datapoint,
      f"data.datapoint is {data.datapoint!r}, but the rater was trained on "
      f"{self.config.datapoint!r}; give the same",
    )


def load_rater(path: str | Path) -> Rater:
  """Loads a rater folder.

  Raises InputError if it is missing, half written, damaged, or of a newer version.

  >>> rater = datarater.load_rater("runs/demo/rater")  # doctest: +SKIP
  >>> rater.rate(["Some text.", "Some more."]).shape  # doctest: +SKIP
  (2,)
  """
  files = read_rater(path)
  config = files.config
  file = str(Path(path) / config.tokenizer.path) if config.tokenizer.path else ""
  tokenizer = load_tokenizer(TokenizerConfig(config.tokenizer.kind, file))
  require(
    tokenizer.vocab_size == config.vocab_size
    and tokenizer.fingerprint == config.tokenizer_fingerprint,
    f"rater {str(path)!r} was trained with a vocabulary of {config.vocab_size} tokens, but its "
    f"tokenizer has {tokenizer.vocab_size} or differs; copy the folder again, whole",
  )
  return Rater(files, tokenizer)
