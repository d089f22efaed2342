"""Vectors of documents: from a proxy or another function of texts, or from a file; checked.

Those of a language model lie in a narrow cone, most of what tells documents apart in a few of its
directions (Ethayarajh 2019, arXiv 1909.00512), so that documents of one kind look like copies.
Whitening them (Su et al. 2021, arXiv 2103.15316) leaves near-copies near, and all others apart.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from tqdm import tqdm

from datarater.data.blocks import blocks
from datarater.data.fingerprints import DIGEST_BYTES, digests
from datarater.errors import InputError, require

_LEAST_VARIANCE = 1e-3
"""Added to all directions' variances, of their mean: for those in which vectors hardly differ."""

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


def whitened(
  pool_NxD: np.ndarray, targets: Sequence[np.ndarray], length: float
) -> tuple[np.ndarray, list[np.ndarray]]:
  """float64 (pool, targets): the pool's mean is 0, its variances are the same in all directions,
  and its root mean square length is `length`. targets: vectors [M, D] each; all finite.
  """
  pool_NxD = np.asarray(pool_NxD, np.float64)
  mean_D, width = pool_NxD.mean(axis=0), pool_NxD.shape[1]
  covariance_DxD = np.cov(pool_NxD, rowvar=False, bias=True).reshape(width, width)
  variances_D, axes_DxD = np.linalg.eigh(covariance_DxD)
  variances_D = np.maximum(variances_D, 0.0)
  if variances_D.any():  # else all vectors are the same
    damped_D = variances_D + _LEAST_VARIANCE * variances_D.mean()
    axes_DxD *= length / np.sqrt((variances_D / damped_D).sum() * damped_D)
  return (pool_NxD - mean_D) @ axes_DxD, [(x - mean_D) @ axes_DxD for x in targets]


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
