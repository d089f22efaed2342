"""The rater folder: all that is needed to rate text elsewhere, and nothing that can run code.

config.json        what it is, and a sha256 of every other file; written last
model.safetensors  parameters
tokenizer.*        none for bytes
ratings_cdf.json   quantiles of its ratings on the pool it was trained for
card.md            data, objective, steps, limits
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import flax.traverse_util
import numpy as np
import safetensors.numpy

from datarater.config import ModelConfig
from datarater.config_io import from_json, to_json
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.quantiles import RatingsCdf
from datarater.runtime.sealed import CONFIG as CONFIG
from datarater.runtime.sealed import Sealed, sha256
from datarater.types import Datapoint, PyTree

FORMAT_VERSION = 1
REFERENCE = "reference"
MODEL, CDF, CARD = "model.safetensors", "ratings_cdf.json", "card.md"
FOLDER = Sealed("rater", FORMAT_VERSION, "give the rater/ folder of a run", "train it again")


@dataclasses.dataclass(frozen=True)
class RaterConfig:
  """tokenizer.path is relative to the folder. tokenizer_fingerprint tells vocabularies apart.

  kind: see `MetaTrainConfig.rater_kind`. domains: of a mixture, in the order of its logits.
  reference: of an online rater, the model whose parameters lie beside its own as `reference`.
  """

  model: ModelConfig
  tokenizer: TokenizerConfig
  tokenizer_fingerprint: str
  vocab_size: int
  datapoint: Datapoint
  length: int
  steps: int
  seed: int
  kind: Literal["network", "mixture", "online"] = "network"
  domains: tuple[str, ...] = ()
  reference: ModelConfig | None = None


@dataclasses.dataclass(frozen=True)
class RaterFiles:
  """What a rater folder holds. eta: numpy arrays. fingerprint: sha256 of the parameters' file."""

  config: RaterConfig
  eta: PyTree
  cdf: RatingsCdf
  fingerprint: str


def write_rater(
  folder: Path,
  config: RaterConfig,
  eta: PyTree,
  cdf: RatingsCdf,
  card: str,
  save_tokenizer: Callable[[Path], None],
) -> None:
  """Writes the folder whole or not at all; an earlier rater there is replaced."""

  def fill(partial: Path) -> None:
    flat = flax.traverse_util.flatten_dict(eta, sep="/")
    arrays = {name: np.ascontiguousarray(value) for name, value in sorted(flat.items())}
    safetensors.numpy.save_file(arrays, partial / MODEL)
    save_tokenizer(partial)
    write_json(partial / CDF, dataclasses.asdict(cdf))
    (partial / CARD).write_text(card, encoding="utf-8")

  FOLDER.write(folder, to_json(config), fill)


def read_rater(folder: str | Path) -> RaterFiles:
  """Reads and checks a rater folder.

  Raises InputError if it is missing, incomplete, damaged, or of a newer version.
  """
  folder = Path(folder)
  values = FOLDER.read(folder, (MODEL, CDF))
  try:
    config = from_json(RaterConfig, values)
    cdf = from_json(RatingsCdf, read_json(folder / CDF, "CDF of ratings"))
  except InputError as error:
    raise InputError(f"rater {str(folder)!r}: {error}; copy it again or train it again") from error
  flat = safetensors.numpy.load_file(folder / MODEL)
  eta = flax.traverse_util.unflatten_dict(flat, sep="/")
  return RaterFiles(config, eta, cdf, sha256(folder / MODEL))
