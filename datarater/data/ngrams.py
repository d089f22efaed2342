"""Hashed word n-grams: the features of DSIR (Xie et al. 2023, arXiv 2302.03169).

Words are runs of word characters, or of anything else but white space, in lower case; an n-gram is
its words with a space between. The bucket of an n-gram is the sha256 of its UTF-8 bytes, read as
one number, modulo the number of buckets: as in the package `data-selection`, so that its weights
and ours are the same.

What a word character is follows Unicode (UTS 18, annex C), as NLTK does from 3.10 on: letters,
marks, decimal digits, connectors such as _, letters in circles, joiners. NLTK before that went by
Python's `\\w`, which cuts words of Indic scripts at their vowel signs and takes m² for one word.
Characters younger than the Unicode of the Python at hand are not letters.
"""

import functools
import hashlib
import itertools
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

_ASCII_WORD = re.compile(r"\w+|[^\w \t\n\v\f\r]+", re.ASCII)
_SPACES = r" \t\n\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD_CATEGORIES = ("L", "M", "Nd", "Nl", "Pc")
_CIRCLED_AND_JOINERS = "Ⓐ-ⓩ🄰-🅉🅐-🅩🅰-🆉\\u200c\\u200d"
_ID_BITS = 31
_SLOT_BITS = 22
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: neighbours fall far apart
_MOST_WORDS = 1 << 20


def words_of(text: str) -> list[str]:
  """Its words, in lower case, in order."""
  lower = text.lower()
  return (_ASCII_WORD if lower.isascii() else _unicode_word()).findall(lower)


@functools.cache
def _unicode_word() -> re.Pattern[str]:
  """The same beyond ASCII; it takes a tenth of a second to make."""
  is_word = [unicodedata.category(chr(c)).startswith(_WORD_CATEGORIES) for c in range(0x110000)]
  edges = np.flatnonzero(np.diff(np.array([False, *is_word, False], np.int8))).reshape(-1, 2)
  ranges = "".join(f"\\U{start:08x}-\\U{stop - 1:08x}" for start, stop in edges.tolist())
  word = ranges + _CIRCLED_AND_JOINERS
  return re.compile(f"[{word}]+|[^{word}{_SPACES}]+")


class HashedNgrams:
  """Buckets of the words, and with `ngrams` 2 also of the pairs of words, of texts.

  It remembers the buckets of what it has met lately, in a table of 50 MB in which what falls on the
  same place is overwritten; forgetting costs time only.
  """

  def __init__(self, ngrams: int, buckets: int):
    self._ngrams, self._buckets = ngrams, buckets
    self._lock = threading.Lock()
    self._numbers = _Numbers()
    self._keys_T = np.zeros(1 << _SLOT_BITS, np.uint64)
    self._buckets_T = np.zeros(1 << _SLOT_BITS, np.int32)

  def of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(buckets int32 [G], index of the text int32 [G]) of all n-grams of the texts.

    Within a text their order depends on that text alone.
    """
    with self._lock:
      return self._of(texts)

  def _of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(self._numbers.words) > _MOST_WORDS:
      self._numbers = _Numbers()
      self._keys_T[:] = 0
    numbered = [list(map(self._numbers.__getitem__, words_of(text))) for text in texts]
    lengths = [len(numbers) for numbers in numbered]
    keys_W = np.fromiter(itertools.chain.from_iterable(numbered), np.uint64, sum(lengths))
    text_W = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    if self._ngrams == 1:
      return self._lookup(keys_W), text_W
    together_P = text_W[:-1] == text_W[1:]
    pairs_P = ((keys_W[:-1] << np.uint64(_ID_BITS)) | keys_W[1:])[together_P]
    keys_G = np.concatenate([keys_W, pairs_P])
    return self._lookup(keys_G), np.concatenate([text_W, text_W[:-1][together_P]])

  def _lookup(self, keys_G: np.ndarray) -> np.ndarray:
    """int32 [G]: buckets, from the table or computed and put there."""
    slots_G = (keys_G * _SPREAD) >> np.uint64(64 - _SLOT_BITS)
    buckets_G = self._buckets_T[slots_G]
    missing_M = np.flatnonzero(self._keys_T[slots_G] != keys_G)
    if len(missing_M):
      keys_U, where_M = np.unique(keys_G[missing_M], return_inverse=True)
      buckets_U = self._computed(keys_U)
      buckets_G[missing_M] = buckets_U[where_M]
      slots_U = (keys_U * _SPREAD) >> np.uint64(64 - _SLOT_BITS)
      self._keys_T[slots_U] = keys_U
      self._buckets_T[slots_U] = buckets_U
    return buckets_G

  def _computed(self, keys_U: np.ndarray) -> np.ndarray:
    """int32 [U]"""
    words = self._numbers.words
    first_U = (keys_U >> np.uint64(_ID_BITS)).tolist()
    last_U = (keys_U & np.uint64((1 << _ID_BITS) - 1)).tolist()
    sha256 = hashlib.sha256
    digests = b"".join(
      [
        sha256(words[b] if a == 0 else b"%b %b" % (words[a], words[b])).digest()
        for a, b in zip(first_U, last_U, strict=True)
      ]
    )
    parts_Ux8 = np.frombuffer(digests, ">u4").reshape(-1, 8).astype(np.uint64)
    rest_U = np.zeros(len(keys_U), np.uint64)
    for part_U in parts_Ux8.T:
      rest_U = ((rest_U << np.uint64(32)) | part_U) % np.uint64(self._buckets)
    return rest_U.astype(np.int32)


class _Numbers(dict[str, int]):
  """Counts words from 1 as they come. words: their UTF-8 bytes by number."""

  def __init__(self):
    super().__init__()
    self.words = [b""]

  def __missing__(self, word: str) -> int:
    self[word] = number = len(self.words)
    self.words.append(word.encode("utf-8", "surrogatepass"))
    return number


def batches_of(texts: Iterable[str], characters: int = 1 << 21) -> Iterator[list[str]]:
  """Neighbours, in batches that end with the text that brings them to so many characters."""
  batch, held = [], 0
  for text in texts:
    batch.append(text)
    held += len(text)
    if held >= characters:
      yield batch
      batch, held = [], 0
  if batch:
    yield batch
