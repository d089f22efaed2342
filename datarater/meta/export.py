"""A trained rater as a folder: parameters, tokenizer, CDF of ratings on the inner split, card."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from datarater.config import MetaTrainConfig
from datarater.data.documents import RowShapes, default_batch_tokens, rate_documents
from datarater.meta.card import rater_card
from datarater.meta.inputs import MetaInputs
from datarater.models import rater
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.types import PyTree

ExportFn = Callable[[Path, PyTree, int, bool], None]
"""(folder, eta, meta-steps done, progress): writes the folder."""

RateRecords = Callable[[PyTree, np.ndarray, bool], np.ndarray]
"""(eta, indices into the inner split, progress) -> ratings float32 of these documents."""


def exporter(config: MetaTrainConfig, inputs: MetaInputs) -> ExportFn:
  """What writes the raters of a run."""
  tokenizer = inputs.tokenizer
  rate = _rate_domains(inputs) if config.rater_kind == "mixture" else _rate_texts(config, inputs)

  def export(folder: Path, eta: PyTree, steps: int, progress: bool) -> None:
    count = min(config.cdf_documents, len(inputs.inner))
    cdf = RatingsCdf.of(rate(eta, np.arange(count) * len(inputs.inner) // count, progress))
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
    )
    meta = dataclasses.replace(config.meta, steps=steps)
    card = rater_card(dataclasses.replace(config, meta=meta), cdf, tokenizer.vocab_size)
    artifact.write_rater(folder, description, eta, cdf, card, tokenizer.save)

  return export


def _rate_texts(config: MetaTrainConfig, inputs: MetaInputs) -> RateRecords:
  tokenizer, datapoint = inputs.tokenizer, config.data.datapoint
  rate = jax.jit(rater.document_rate_fn(config.rater, tokenizer.vocab_size, datapoint))
  shapes = RowShapes(config.data.length, default_batch_tokens())

  def rate_records(eta: PyTree, indices: np.ndarray, progress: bool) -> np.ndarray:
    texts = [inputs.inner[int(i)].text for i in indices]
    return rate_documents(
      texts, tokenizer, lambda batch: rate(eta, batch), shapes, progress=progress
    )[0]

  return rate_records


def _rate_domains(inputs: MetaInputs) -> RateRecords:
  def rate_records(eta: PyTree, indices: np.ndarray, progress: bool) -> np.ndarray:
    del progress
    return eta["logits"][[inputs.inner.domain_index(int(i)) for i in indices]]

  return rate_records
