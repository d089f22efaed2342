"""Trained language models that a run uses as they are: read from their run folders, and checked."""

import dataclasses
import hashlib
from pathlib import Path

import flax.traverse_util
import numpy as np

from datarater.config import ModelConfig, TrainConfig
from datarater.config_io import from_json
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.errors import InputError, require
from datarater.runtime.atomic import read_json
from datarater.runtime.run_folder import CONFIG
from datarater.training.lm import load_language_model
from datarater.types import PyTree
from datarater.variant_config import FrozenConfig


@dataclasses.dataclass(frozen=True)
class FrozenModel:
  """config: its architecture. theta: numpy arrays. fingerprint: sha256 of them."""

  config: ModelConfig
  theta: PyTree
  fingerprint: str


def load_frozen(config: FrozenConfig, field: str, tokenizer: Tokenizer) -> FrozenModel:
  """The newest parameters of a `datarater train`. field: the config's, for messages.

  Raises InputError where there are none, or they are of another tokenizer or not the config's.
  """
  folder = Path(config.run).expanduser()
  require(
    (folder / CONFIG).is_file(),
    f"{field}.run {config.run!r} is no run folder; give one of a finished `datarater train`",
  )
  train = from_json(TrainConfig, read_json(folder / CONFIG, "run config"))
  its_tokenizer = load_tokenizer(train.data.tokenizer)
  require(
    its_tokenizer.fingerprint == tokenizer.fingerprint,
    f"{field}.run {config.run!r} was trained with a tokenizer of {its_tokenizer.vocab_size} "
    f"tokens, other than data.tokenizer with {tokenizer.vocab_size}; give the same",
  )
  try:
    theta = load_language_model(train, tokenizer.vocab_size, folder)
  except FileNotFoundError as error:
    raise InputError(f"{field}.run: {error}; finish its `datarater train` first") from error
  found = fingerprint(theta)
  require(
    config.fingerprint in ("", found),
    f"{field}.run {config.run!r} holds another model than {field}.fingerprint says "
    f"({found[:12]}, not {config.fingerprint[:12]}); give the run that it is of, or empty it",
  )
  return FrozenModel(train.model, theta, found)


def fingerprint(theta: PyTree) -> str:
  """sha256 over names, shapes, dtypes and values."""
  digest = hashlib.sha256()
  for name, value in sorted(flax.traverse_util.flatten_dict(theta, sep="/").items()):
    array = np.ascontiguousarray(value)
    digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
