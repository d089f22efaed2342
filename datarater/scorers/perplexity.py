"""Perplexity under a language model that was trained elsewhere: a filter without a target.

    rating = -nll            keeps low perplexity
             +nll            keeps high perplexity
             -|F(nll) - ½|   keeps the middle, F the distribution of nll over the pool

with nll the mean nats a token of a document. Train the model on text that is no part of the pool,
or it knows by heart what it rates. The perplexity filters of Ankner et al. 2024 (arXiv 2405.20541),
which Calian et al. 2025 compare with in figures 10 and 11.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from datarater.config import TrainConfig
from datarater.config_io import from_json
from datarater.data.documents import RowShapes, default_batch_tokens, rate_documents
from datarater.data.tokenizers import load_tokenizer
from datarater.errors import InputError
from datarater.models import cost
from datarater.models.attention import for_inference
from datarater.models.language_model import losses_fn
from datarater.runtime.atomic import read_json
from datarater.runtime.quantiles import RatingsCdf
from datarater.runtime.run_folder import CONFIG
from datarater.training.lm import load_language_model

Keep = Literal["low", "middle", "high"]


class PerplexityScorer:
  """Rates texts by their perplexity; pickles as the folder of its model.

  run_dir: of a finished `datarater train`. keep: which perplexities are good; `middle` needs the
  pool's distribution, which `fit` finds. cdf: that distribution, where it is known.
  Raises InputError for a folder without a trained model.
  """

  def __init__(self, run_dir: str | Path, keep: Keep = "low", cdf: RatingsCdf | None = None):
    self._run_dir, self.keep, self._cdf = Path(run_dir), keep, cdf
    self.config = from_json(TrainConfig, read_json(self._run_dir / CONFIG, "run config"))
    self.name = f"perplexity_{keep}"
    self._tokenizer = load_tokenizer(self.config.data.tokenizer)
    try:
      vocab_size = self._tokenizer.vocab_size
      self._theta = load_language_model(self.config, vocab_size, self._run_dir)
    except FileNotFoundError as error:
      raise InputError(f"{error}; give the folder of a finished `datarater train`") from error

  def __reduce__(self) -> tuple[Any, ...]:
    return PerplexityScorer, (self._run_dir, self.keep, self._cdf)

  @functools.cached_property
  def fingerprint(self) -> str:
    """sha256 of the parameters, of `keep` and of the pool's distribution."""
    digest = hashlib.sha256(repr((self.keep, self._cdf)).encode())
    for leaf in jax.tree.leaves(self._theta):
      digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()

  def fit(self, pool: Iterable[str], target: Iterable[str] = ()) -> "PerplexityScorer":
    """The scorer that knows the pool's distribution; only `middle` looks at it."""
    del target
    if self.keep != "middle":
      return self
    return PerplexityScorer(self._run_dir, self.keep, RatingsCdf.of(self.nll(list(pool))[0]))

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N], NaN for a text without tokens; ValueError for `middle` that was not fitted."""
    return self.score_with_tokens(texts)[0]

  def score_with_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N])."""
    nll, tokens = self.nll(texts)
    return self._rating(nll).astype(np.float32), tokens

  def nll(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(mean nats a token float32 [N], tokens int32 [N])."""
    shapes = RowShapes(self.config.data.length, default_batch_tokens())
    return rate_documents(texts, self._tokenizer, self._nll_BxS, shapes)

  def flops(self, tokens: np.ndarray) -> float:
    """Of rating documents of so many tokens: a forward pass, a third of a training step."""
    length = self.config.data.length
    row = cost.training_flops(self.config.model, self._tokenizer.vocab_size, length) / 3
    return row * float(np.sum(-(-tokens.astype(np.int64) // (length - 1))))

  def _rating(self, nll: np.ndarray) -> np.ndarray:
    if self.keep == "low":
      return -nll
    if self.keep == "high":
      return nll
    if self._cdf is None:
      raise ValueError("the middle of which pool? call fit(pool) first")
    return np.where(np.isfinite(nll), -np.abs(self._cdf(nll) - 0.5), np.nan)

  @functools.cached_property
  def _nll_BxS(self) -> Callable[[Any], jax.Array]:
    model = for_inference(self.config.model)
    losses = jax.jit(losses_fn(model, self._tokenizer.vocab_size, "document"))
    return functools.partial(losses, self._theta)
