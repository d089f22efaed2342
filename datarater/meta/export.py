"""A trained rater as a folder: parameters, tokenizer, CDF of ratings on the inner split, card."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from datarater.config import MetaTrainConfig
from datarater.data.documents import RowShapes, default_batch_tokens, rate_documents
from datarater.meta.build import REFERENCE, features_of, inner_parts
from datarater.meta.card import rater_card
from datarater.meta.inputs import MetaInputs
from datarater.models import rater
from datarater.models.informed import informed_ratings
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.types import Batch, PyTree


@dataclasses.dataclass(frozen=True)
class Learned:
  """What a run has learned, as numpy arrays.

  eta: the rater. theta: the first inner model, by whose losses an online rater's CDF is made; None
  for the other kinds.
  """

  eta: PyTree
  theta: PyTree = None


ExportFn = Callable[[Path, Learned, int, bool], None]
"""(folder, what is learned, meta-steps done, progress): writes the folder."""

RateRecords = Callable[[Learned, np.ndarray, bool], np.ndarray]
"""(what is learned, indices into the inner split, progress) -> ratings float32 of these."""


def exporter(config: MetaTrainConfig, inputs: MetaInputs, frozen: PyTree = None) -> ExportFn:
  """What writes the raters of a run. frozen: numpy arrays, as in `FrozenMetaState`."""
  tokenizer = inputs.tokenizer
  if config.rater_kind == "mixture":
    rate = _rate_domains(inputs)
  else:
    rate = _rate_texts(config, inputs, frozen)
  reference = (frozen or {}).get(REFERENCE)

  def export(folder: Path, learned: Learned, steps: int, progress: bool) -> None:
    count = min(config.cdf_documents, len(inputs.inner))
    cdf = RatingsCdf.of(rate(learned, np.arange(count) * len(inputs.inner) // count, progress))
    description = artifact.RaterConfig(
      model=config.rater,
      tokenizer=dataclasses.replace(config.data.tokenizer, path=tokenizer.file_name),
      tokenizer_fingerprint=tokenizer.fingerprint,
      vocab_size=tokenizer.vocab_size,
      datapoint=config.data.datapoint,
      length=config.data.length,
      steps=steps,
      seed=config.seed,
      kind=config.rater_kind,
      domains=config.rater_domains,
      reference=config.inner if reference else None,
    )
    meta = dataclasses.replace(config.meta, steps=steps)
    card = rater_card(dataclasses.replace(config, meta=meta), cdf, tokenizer.vocab_size)
    parameters = learned.eta | ({artifact.REFERENCE: reference} if reference else {})
    artifact.write_rater(folder, description, parameters, cdf, card, tokenizer.save)

  return export


def _rate_texts(config: MetaTrainConfig, inputs: MetaInputs, frozen: PyTree) -> RateRecords:
  tokenizer = inputs.tokenizer
  rate = jax.jit(_document_rate(config, tokenizer.vocab_size))
  shapes = RowShapes(config.data.length, default_batch_tokens())

  def rate_records(learned: Learned, indices: np.ndarray, progress: bool) -> np.ndarray:
    texts = [inputs.inner[int(i)].text for i in indices]
    eta, theta = learned.eta, learned.theta
    return rate_documents(
      texts, tokenizer, lambda batch: rate(eta, theta, frozen, batch), shapes, progress=progress
    )[0]

  return rate_records


def _document_rate(config: MetaTrainConfig, vocab_size: int) -> Callable[..., jax.Array]:
  """(eta, theta, frozen, batch) -> ratings_BxS of the segments."""
  number = config.rater_features
  if not number:
    rate = rater.document_rate_fn(config.rater, vocab_size, config.data.datapoint)
    return lambda eta, theta, frozen, batch: rate(eta, batch)
  coefficients = rater.rate_fn(config.rater, vocab_size, "document", number)

  def rate_informed(eta: PyTree, theta: PyTree, frozen: PyTree, batch: Batch) -> jax.Array:
    inner = inner_parts(config, vocab_size, frozen)
    features = features_of(config, vocab_size, "document", inner, frozen)
    return informed_ratings(coefficients(eta, batch), features(theta, batch))

  return rate_informed


def _rate_domains(inputs: MetaInputs) -> RateRecords:
  def rate_records(learned: Learned, indices: np.ndarray, progress: bool) -> np.ndarray:
    del progress
    return learned.eta["logits"][[inputs.inner.domain_index(int(i)) for i in indices]]

  return rate_records
