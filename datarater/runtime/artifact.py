"""The rater folder: all that is needed to rate text elsewhere, and nothing that can run code.

config.json        what it is, and a sha256 of every other file; written last
model.safetensors  parameters
tokenizer.*        none for bytes
ratings_cdf.json   quantiles of its ratings on the pool it was trained for
card.md            data, objective, steps, limits
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.traverse_util
import numpy as np
import safetensors.numpy

from datarater.config import ModelConfig
from datarater.config_io import from_json, to_json
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_folder, read_json, write_json
from datarater.runtime.quantiles import RatingsCdf
from datarater.types import Datapoint, PyTree

FORMAT_VERSION = 1
REFERENCE = "reference"
CONFIG, MODEL, CDF, CARD = "config.json", "model.safetensors", "ratings_cdf.json", "card.md"


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
  with atomic_folder(folder) as partial:
    flat = flax.traverse_util.flatten_dict(eta, sep="/")
    arrays = {name: np.ascontiguousarray(value) for name, value in sorted(flat.items())}
    safetensors.numpy.save_file(arrays, partial / MODEL)
    save_tokenizer(partial)
    write_json(partial / CDF, dataclasses.asdict(cdf))
    (partial / CARD).write_text(card, encoding="utf-8")
    files = {p.name: _sha256(p) for p in sorted(partial.iterdir())}
    write_json(
      partial / CONFIG, {"format_version": FORMAT_VERSION, **to_json(config), "files": files}
    )


def read_rater(folder: str | Path) -> RaterFiles:
  """Reads and checks a rater folder.

  Raises InputError if it is missing, incomplete, damaged, or of a newer version.
  """
  folder = Path(folder)
  require(
    folder.is_dir(), f"rater {str(folder)!r} is not a folder; give the rater/ folder of a run"
  )
  require(
    (folder / CONFIG).is_file(),
    f"rater {str(folder)!r} has no {CONFIG}: it is half written or not a rater; train it again",
  )
  values = read_json(folder / CONFIG, "rater config")
  version = values.pop("format_version", None) if isinstance(values, dict) else None
  if not isinstance(version, int):
    raise InputError(
      f"rater {str(folder)!r} names no format_version in {CONFIG}; give the rater/ folder of a run"
    )
  require(
    version <= FORMAT_VERSION,
    f"rater {str(folder)!r} has format version {version}, newer than the {FORMAT_VERSION} that "
    "this datarater reads; upgrade datarater",
  )
  _check_files(folder, values.pop("files", {}))
  try:
    config = from_json(RaterConfig, values)
    cdf = from_json(RatingsCdf, read_json(folder / CDF, "CDF of ratings"))
  except InputError as error:
    raise InputError(f"rater {str(folder)!r}: {error}; copy it again or train it again") from error
  flat = safetensors.numpy.load_file(folder / MODEL)
  eta = flax.traverse_util.unflatten_dict(flat, sep="/")
  return RaterFiles(config, eta, cdf, _sha256(folder / MODEL))


def _check_files(folder: Path, files: Any) -> None:
  require(
    isinstance(files, dict),
    f"rater {str(folder)!r} lists no files in {CONFIG}: it is damaged; copy it again",
  )
  for name in {MODEL, CDF, *files}:
    path = folder / name
    require(
      path.is_file(),
      f"rater {str(folder)!r} lacks {name}: it is half written; copy it again or train it again",
    )
    if _sha256(path) != files.get(name):
      raise InputError(
        f"rater file {str(path)!r} is damaged: its sha256 is not the one in {CONFIG}; copy it again"
      )


def _sha256(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
