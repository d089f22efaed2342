"""The pool's projected gradients on disk, a file a block: a killed fit goes on with the next block,
and another target, ridge or kernel starts from them.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from datarater.config_io import differences, to_json
from datarater.data.fingerprints import digests
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_path, explained, read_json
from datarater.runtime.run_folder import CONFIG, run_folder
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm.features import Features


@dataclasses.dataclass(frozen=True)
class Origin:
  """What gradients are of: all that they depend on. pool: digest of its texts in their order."""

  proxy: str
  pool: str
  documents: int
  projection: int
  kind: str
  rows_a_document: int
  stored: str
  seed: int
  number: int


def origin_of(config: DsdmConfig, proxy: str, texts: Sequence[str], number: int) -> Origin:
  """proxy: its fingerprint. texts: of the pool, those that are used. number: of the proxy."""
  return Origin(
    proxy=proxy,
    pool=digests(["".join(digest.hex() for digest in digests(texts))])[0].hex(),
    documents=len(texts),
    projection=config.projection,
    kind=config.kind,
    rows_a_document=config.rows_a_document,
    stored=config.stored,
    seed=config.seed,
    number=number,
  )


class GradientStore:
  """Blocks of `Features` by number. folder: None keeps nothing."""

  def __init__(self, folder: Path | None, stored: str):
    self._folder, self._stored = folder, np.dtype(stored)

  def block(self, number: int, make: Callable[[], Features]) -> Features:
    """The block, made where it is not there; the same bits either way."""
    path = self._folder and self._folder / f"block-{number:05d}.safetensors"
    if path and path.exists():
      return _unpacked(_read(path))
    arrays = _packed(make(), self._stored)
    if path:
      with atomic_path(path) as partial, explained(path):
        safetensors.numpy.save_file(arrays, partial)
    return _unpacked(arrays)


@contextlib.contextmanager
def open_store(folder: Path | None, origin: Origin) -> Iterator[GradientStore]:
  """The store in `folder`, made and locked.

  Raises InputError for one of other gradients, and says what differs; or where another process is
  at work in it.
  """
  if folder is None:
    yield GradientStore(None, origin.stored)
    return
  if (folder / CONFIG).is_file():
    changed = differences(read_json(folder / CONFIG, "gradients' config"), to_json(origin))
    require(
      not changed,
      f"gradients {str(folder)!r} were not made with this: {_named(changed)}; name another folder "
      "(--gradients), or give what they were made with",
    )
  with run_folder(folder, origin):
    yield GradientStore(folder, origin.stored)


def _named(changed: Sequence[str]) -> str:
  """Fields of `Origin`, for a message: numbers and words with their values, digests without."""
  fields = [line.split(":")[0] for line in changed]
  plain = ("proxy", "pool")
  return ", ".join(
    field if field in plain else line for field, line in zip(fields, changed, strict=True)
  )


def _packed(features: Features, stored: np.dtype) -> dict[str, np.ndarray]:
  """Each gradient divided by its largest number, so that small ones do not vanish in float16."""
  values = np.nan_to_num(features.values)
  scale = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
  scale = np.where(scale > 0, scale, np.float32(1))
  if stored == np.float32:
    scale = np.ones_like(scale)
  return {
    "values": (values / scale).astype(stored),
    "scale": scale.astype(np.float32),
    "tokens": features.tokens,
  }


def _unpacked(arrays: dict[str, np.ndarray]) -> Features:
  values = arrays["values"].astype(np.float32) * arrays["scale"]
  values[arrays["tokens"] == 0] = np.nan
  return Features(values, arrays["tokens"])


def _read(path: Path) -> dict[str, np.ndarray]:
  try:
    return safetensors.numpy.load_file(path)
  except (SafetensorError, OSError) as error:
    raise InputError(
      f"gradients {str(path)!r} cannot be read ({error}); delete that file, and it is made again"
    ) from error
