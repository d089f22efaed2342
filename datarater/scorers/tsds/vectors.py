"""Vectors of documents: from a proxy or another function of texts, or from a file; checked."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from tqdm import tqdm

from datarater.data.blocks import blocks
from datarater.data.fingerprints import DIGEST_BYTES, digests
from datarater.errors import InputError, require

Embed = Callable[[Sequence[str]], np.ndarray]
"""texts → [N, D]; NaN for a text of which there is nothing to embed."""


def digests_of(pool: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
  """(digests uint8 [N, 16], whether there is any text, bool [N])."""
  found, has_text = [], []
  for text in pool:
    found += digests([text])
    has_text.append(bool(text.strip()))
  rows = np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST_BYTES)
  return rows, np.array(has_text, bool)


def embed_all(texts: Iterable[str], embed: Embed, what: str, progress: bool = False) -> np.ndarray:
  """[N, D], block by block; InputError where `embed` returns another number of vectors."""
  parts = []
  with tqdm(desc=f"vectors of the {what}", unit=" documents", disable=not progress) as bar:
    for block in blocks(texts, len):
      vectors = np.asarray(embed(block))
      require(
        vectors.ndim == 2 and len(vectors) == len(block),
        f"vectors of {len(block)} documents of the {what} have shape {vectors.shape}; "
        "embed must return one row a document",
      )
      parts.append(vectors)
      bar.update(len(block))
  widths = sorted({part.shape[1] for part in parts})
  require(
    len(widths) <= 1, f"vectors of the {what} have widths {widths}; embed must return one width"
  )
  return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def read_vectors(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
  """(pool [N, D], target [M, D]) of a .npz or .safetensors file; InputError for another."""
  path = Path(path)
  require(path.is_file(), f"vectors {str(path)!r} is not a file; give a .npz or .safetensors file")
  require(
    path.suffix in (".npz", ".safetensors"),
    f"vectors {str(path)!r} is no .npz and no .safetensors file; give one with `pool` and `target`",
  )
  try:
    if path.suffix == ".npz":
      with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    else:
      arrays = safetensors.numpy.load_file(path)
  except (OSError, ValueError, EOFError, safetensors.SafetensorError) as error:
    raise InputError(f"vectors {str(path)!r} cannot be read ({error}); write them again") from error
  for name in ("pool", "target"):
    require(
      name in arrays,
      f"vectors {str(path)!r} have no array {name!r}, only {sorted(arrays)}; add it",
    )
  return arrays["pool"], arrays["target"]


def usable(vectors_NxD: np.ndarray, has_text_N: np.ndarray, what: str) -> np.ndarray:
  """bool [N]: which documents have a vector; one without text may have none.

  Raises InputError for another number of vectors than documents, for vectors that are no floating
  point numbers, and for a document with text whose vector is not finite.
  """
  number, shape = len(has_text_N), vectors_NxD.shape
  require(
    len(shape) == 2 and shape[0] == number and shape[1] >= 1,
    f"vectors of the {what} have shape {shape}, but it has {number} documents; "
    "give one row a document, in their order",
  )
  require(
    np.issubdtype(vectors_NxD.dtype, np.floating),
    f"vectors of the {what} are {vectors_NxD.dtype}; give float32 or float64",
  )
  finite_N = np.asarray(np.isfinite(vectors_NxD).all(axis=1))
  bad = np.flatnonzero(has_text_N & ~finite_N)
  require(
    not len(bad),
    f"vectors of {len(bad)} of the {what}'s {number} documents are NaN or infinite, the first of "
    f"document {bad[0] if len(bad) else 0} (counting from 0); embed them again or leave them out",
  )
  require(bool(finite_N.any()), f"the {what} has no document with text; give at least one")
  return finite_N
