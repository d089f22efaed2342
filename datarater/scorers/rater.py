"""A trained rater, loaded from its folder: the scorer that this project exists for."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from datarater.config import ModelConfig
from datarater.corpus_config import RatingConfig
from datarater.data.documents import (
  Prepared,
  Rate,
  RowShapes,
  default_batch_tokens,
  prepare_documents,
  rate_documents,
  rate_prepared,
)
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.errors import InputError, require
from datarater.models import cost
from datarater.models.attention import for_inference
from datarater.models.informed import features_fn, informed_ratings
from datarater.models.language_model import losses_fn
from datarater.models.rater import document_rate_fn, rate_fn
from datarater.runtime.artifact import REFERENCE, RaterFiles, read_rater
from datarater.types import Batch, PyTree, RateFn

IN_FLIGHT = 2
"""Batches that wait on each device, so that it never does."""


class Rater:
  """Rates texts or batches; larger is better. Made by `load_rater`; pickles as its folder's name.

  config: what was saved with it. cdf: of its ratings on the pool it was trained on.
  name, fingerprint: as every scorer has them (`scorers.base`).
  """

  name = "rater"

  def __init__(self, files: RaterFiles, tokenizer: Tokenizer, folder: Path, rating: RatingConfig):
    self.config, self.cdf = files.config, files.cdf
    self.tokenizer = tokenizer
    self._folder, self._rating = folder, rating
    changed = dataclasses.asdict(rating)
    default = dataclasses.asdict(RatingConfig())
    changed = {key: value for key, value in changed.items() if value != default[key]}
    self.fingerprint = files.fingerprint + (f" {json.dumps(changed)}" if changed else "")
    self._eta = files.eta

  def __reduce__(self) -> tuple[Any, ...]:
    return load_rater, (self._folder, self._rating)

  def rate(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
    """Ratings float32 [N] of texts of any length; NaN for an empty one.

    A text longer than a row is rated in chunks, pooled as the rating config says.
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
      self._on_devices(),
      self.shapes,
      self._rating.pooling,
      progress,
      self._in_flight,
    )

  def prepare(self, texts: Sequence[str]) -> Prepared:
    """What can be done before a device is free: tokenised, cut and packed."""
    return prepare_documents(texts, self.tokenizer, self.shapes)

  def rate_prepared(self, prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N]) of what `prepare` made; on all local devices."""
    return rate_prepared(prepared, self._on_devices(), self._rating.pooling, self._in_flight)

  def rate_batch(self, batch: Batch) -> jax.Array:
    """Ratings BxD of packed rows, D as the rater was trained: for online selection.

    A rater of tokens rates documents here too, as only whole ones can be kept.
    """
    return self._rate_datapoints(self._replicas[0][1], batch)

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

  @functools.cached_property
  def shapes(self) -> RowShapes:
    """Of the batches that it rates."""
    return RowShapes(self.config.length, self._rating.batch_tokens or default_batch_tokens())

  @functools.cached_property
  def _replicas(self) -> list[tuple[Any, PyTree]]:
    """Each device with its parameters. Made with the first rating: a process that only sends the
    rater to others must not take their GPUs' memory.
    """
    return [(device, jax.device_put(self._eta, device)) for device in jax.local_devices()]

  @functools.cached_property
  def _rate_documents(self) -> RateFn:
    return self._compiled(document_rate_fn)

  @functools.cached_property
  def _rate_datapoints(self) -> RateFn:
    return self._compiled(rate_fn) if self.config.datapoint == "sequence" else self._rate_documents

  def _compiled(self, make: Callable[..., RateFn]) -> RateFn:
    """Made with the first rating: the choice of a fused kernel asks the devices, and takes them."""
    c = self.config
    model = dataclasses.replace(c.model, dtype=self._rating.dtype or c.model.dtype)
    return jax.jit(make(for_inference(model), c.vocab_size, c.datapoint))

  @property
  def _in_flight(self) -> int:
    return IN_FLIGHT * len(self._replicas)

  def _on_devices(self) -> Rate:
    """Batches go to the devices in turn, each whole, so that their number changes no bit."""
    turns = itertools.cycle(self._replicas)

    def rate(batch: Batch) -> jax.Array:
      device, eta = next(turns)
      return self._rate_documents(eta, jax.device_put(batch, device))

    return rate


class MixtureRater(Rater):
  """Rates documents by their domain alone: `rater_kind = "mixture"`. Needs a domain a text.

  logits: float, by domain.
  """

  def __init__(self, files: RaterFiles, tokenizer: Tokenizer, folder: Path, rating: RatingConfig):
    super().__init__(files, tokenizer, folder, rating)
    self.logits = dict(zip(files.config.domains, files.eta["logits"].tolist(), strict=True))

  def score_domains(
    self, texts: Sequence[str], domains: Sequence[str | None]
  ) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N]); NaN for an empty text and an unknown domain."""
    tokens = np.array([len(self.tokenizer.encode(text)) for text in texts], np.int32)
    logits = np.array([self.logits.get(domain or "", np.nan) for domain in domains], np.float32)
    return np.where(tokens > 0, logits, np.float32(np.nan)), tokens

  def require_domains(self, domains: Sequence[str]) -> None:
    """Raises InputError for one that it has no logit for."""
    unknown = sorted(set(domains) - set(self.logits))
    require(
      not unknown,
      f"domains {unknown} are unknown to the rater {str(self._folder)!r}, a mixture of "
      f"{sorted(self.logits)}; leave them out (data.exclude_domains), or give another rater",
    )

  def score_with_tokens(
    self, texts: Sequence[str], progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    del texts, progress
    raise InputError(self._only("score_domains(texts, domains)"))

  def rate_batch(self, batch: Batch) -> jax.Array:
    del batch
    raise InputError(self._only("selection.mode 'offline'"))

  def require_same_tokens(self, data: DataConfig, tokenizer: Tokenizer) -> None:
    del data, tokenizer
    raise InputError(self._only("selection.mode 'offline'"))

  def _only(self, remedy: str) -> str:
    return (
      f"rater {str(self._folder)!r} is a mixture, which rates documents by their domain and not by "
      f"their text; use {remedy}"
    )


class OnlineRater(Rater):
  """Rates batches for a language model in training, whose loss it sees: `rater_kind = "online"`."""

  def require_texts(self) -> None:
    """Raises InputError: a text has no rating without the model in training."""
    raise InputError(
      f"rater {str(self._folder)!r} sees the loss of the language model in training, so that it "
      "cannot rate texts beforehand; use it with selection.mode 'online'"
    )

  def prepare(self, texts: Sequence[str]) -> Prepared:
    del texts
    return self.require_texts()  # type: ignore[return-value]

  def score_with_tokens(
    self, texts: Sequence[str], progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    del texts, progress
    return self.require_texts()  # type: ignore[return-value]

  def rate_batch(self, batch: Batch) -> jax.Array:
    del batch
    return self.require_texts()  # type: ignore[return-value]

  def rate_for(self, model: ModelConfig) -> Callable[[Batch, PyTree], jax.Array]:
    """(batch, theta) -> ratings BxD for a language model of this architecture; D as in training."""
    c, model = self.config, for_inference(model)
    features = 1 if c.reference is None else 2
    coefficients = rate_fn(for_inference(c.model), c.vocab_size, c.datapoint, features)
    losses = losses_fn(model, c.vocab_size, c.datapoint)
    reference = c.reference and losses_fn(for_inference(c.reference), c.vocab_size, c.datapoint)

    @jax.jit
    def rate(eta: PyTree, theta: PyTree, batch: Batch) -> jax.Array:
      of_reference = reference and functools.partial(reference, eta[REFERENCE])
      seen = features_fn(losses, c.vocab_size, of_reference)(theta, batch)
      return informed_ratings(coefficients(eta, batch), seen)

    return lambda batch, theta: rate(self._replicas[0][1], theta, batch)

  def features_flops(self, model: ModelConfig, length: int) -> int:
    """FLOPs of what it sees of one row, beside its own."""
    seen = [model, *([self.config.reference] if self.config.reference else [])]
    return sum(cost.language_model_flops(each, self.config.vocab_size, length) for each in seen)


KINDS: dict[str, type[Rater]] = {
  "network": Rater,
  "mixture": MixtureRater,
  "online": OnlineRater,
}


def load_rater(path: str | Path, rating: RatingConfig | None = None) -> Rater:
  """Loads a rater folder.

  rating: how it rates whole documents; None: the defaults. Raises InputError if the folder is
  missing, half written, damaged, or of a newer version.

  >>> rater = datarater.load_rater("runs/demo/rater")  # doctest: +SKIP
  >>> rater.rate(["Some text.", "Some more."]).shape  # doctest: +SKIP
  (2,)
  """
  folder = Path(path).absolute()
  files = read_rater(path)
  config = files.config
  file = str(folder / config.tokenizer.path) if config.tokenizer.path else ""
  tokenizer = load_tokenizer(TokenizerConfig(config.tokenizer.kind, file))
  require(
    tokenizer.vocab_size == config.vocab_size
    and tokenizer.fingerprint == config.tokenizer_fingerprint,
    f"rater {str(path)!r} was trained with a vocabulary of {config.vocab_size} tokens, but its "
    f"tokenizer has {tokenizer.vocab_size} or differs; copy the folder again, whole",
  )
  return KINDS[config.kind](files, tokenizer, folder, rating or RatingConfig())
