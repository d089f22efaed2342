"""What tells copies: a digest of the exact text, and MinHash of its words for near-copies.

MinHash (Broder 1997) estimates the Jaccard similarity |A ∩ B| / |A ∪ B| of the sets A, B of two
documents' shingles as the share of equal values; its standard error at similarity J is
√(J(1-J)/PERMUTATIONS), at most 0.044. A shingle is five words in a row, lower-cased; a document of
fewer words is one shingle. Words are cut at white space, and scripts that are written without any
at each character. Values depend on the text alone: neither on the machine nor on the texts beside.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from datarater.errors import InputError

PERMUTATIONS = 128
"""Values of a MinHash, four bytes each."""

DIGEST_BYTES = 16
SHINGLE = 5
"""Words of a shingle."""

_SEED = 1
_SCHEME = "affine32"
_BLOCK = 1 << 13
"""Shingles permuted at once: bounded memory (4 MB) however long a text is."""

# Thai to Myanmar, Khmer, kana, ideographs: no spaces between words.
_UNSPACED = re.compile(
  r"([\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)


def digests(texts: Sequence[str]) -> list[bytes]:
  """blake2b of 128 bits of each text's UTF-8."""
  return [hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]


def minhashes(texts: Sequence[str]) -> np.ndarray:
  """uint32 [N, PERMUTATIONS]; needs the extra `dedup`, or raises InputError that names it."""
  # CRC-32 is the same everywhere; datasketch mixes it before it permutes.
  empty = import_datasketch().MinHash(PERMUTATIONS, seed=_SEED, hashfunc=zlib.crc32, scheme=_SCHEME)
  values = np.empty((len(texts), PERMUTATIONS), np.uint32)
  for row, text in zip(values, texts, strict=True):
    sketch = empty.copy()
    for block in _shingles(text):
      sketch.update_batch(block)
    row[:] = sketch.hashvalues
  return values


def signature(values: np.ndarray) -> Any:
  """One row of `minhashes` as a `datasketch` MinHash, for its indexes."""
  return import_datasketch().LeanMinHash(seed=_SEED, hashvalues=values, scheme=_SCHEME)


def words_of(text: str) -> list[str]:
  """Lower-cased words, and characters of scripts that have no spaces between words."""
  lower = text.lower()
  if not lower.isascii():
    lower = _UNSPACED.sub(r" \1 ", lower)
  return lower.split()


def _shingles(text: str) -> Iterator[Iterable[bytes]]:
  """The shingles, a block at a time."""
  words = " ".join(words_of(text)).encode("utf-8", "surrogatepass")
  spaces = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
  starts, ends = [0, *(spaces + 1).tolist()], [*spaces.tolist(), len(words)]
  ends = ends[SHINGLE - 1 :] or [len(words)]
  for at in range(0, len(ends), _BLOCK):
    yield map(words.__getitem__, map(slice, starts[at : at + _BLOCK], ends[at : at + _BLOCK]))


def import_datasketch() -> Any:
  try:
    import datasketch
  except ImportError as error:
    raise InputError(
      "near-copies need the package datasketch; install the extra: pip install 'datarater[dedup]'"
    ) from error
  return datasketch
