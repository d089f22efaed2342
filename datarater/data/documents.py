"""Rating whole documents outside training: one chunk a row, pooled into one rating a document."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from datarater.config import require
from datarater.data.packing import Chunk, assemble, cut
from datarater.data.tokenizers import Tokenizer
from datarater.types import Batch

Rate = Callable[[Batch], Any]
"""batch of [rows, L] with S = 1 → ratings_Bx1, larger is better; larger batches come row by row."""

IN_FLIGHT = 2
"""Batches rated but not yet read, so that tokenising overlaps with an asynchronous `rate`."""


@dataclasses.dataclass
class _Document:
  """A document on its way. missing: chunks not rated yet; weighted: sum of rating x tokens."""

  tokens: int
  missing: int
  weighted: float = 0.0
  weight: int = 0


def rate_documents(
  texts: Iterable[str],
  tokenizer: Tokenizer,
  rate: Rate,
  length: int,
  rows: int = 32,
  progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Ratings float32 [N] and lengths in tokens int32 [N] of texts; see `stream_ratings`."""
  bar = tqdm(texts, desc="rating", unit=" documents", disable=not progress)
  pairs = list(stream_ratings(bar, tokenizer, rate, length, rows))
  return (
    np.array([rating for rating, _ in pairs], np.float32),
    np.array([tokens for _, tokens in pairs], np.int32),
  )


def stream_ratings(
  texts: Iterable[str], tokenizer: Tokenizer, rate: Rate, length: int, rows: int = 32
) -> Iterator[tuple[float, int]]:
  """Yields (rating, tokens) of each text in order; memory holds a few batches' worth of documents.

  A document is cut into chunks of at most `length` tokens, as for training, and every batch has the
  one shape [rows, length]. Its rating is the mean of its chunks', weighted by their predicted
  tokens; an empty text has rating NaN and 0 tokens. Tokens are the text's, without separators.
  Raises ValueError where `rate` returns another shape than [rows, 1].
  """
  require(rows >= 1, f"rows is {rows}; give 1 or more")
  buckets = {length: _Bucket(length, rows, rate)}
  waiting: collections.deque[_Document] = collections.deque()
  for number, text in enumerate(texts):
    tokens = tokenizer.encode(text)
    size = len(text.encode("utf-8", "replace"))
    chunks = cut(tokens, tokenizer.separator_id, length, size, document=number)
    document = _Document(len(tokens), len(chunks))
    waiting.append(document)
    for chunk in chunks:
      # The one place that chooses: with more buckets, the shortest row that the chunk fits in.
      buckets[length].add(document, chunk)
    yield from _finished(waiting)
  for bucket in buckets.values():
    bucket.flush()
  yield from _finished(waiting)


class _Bucket:
  """Gathers chunks for rows of one length and rates them a batch at a time."""

  def __init__(self, length: int, rows: int, rate: Rate):
    self._length, self._rows, self._rate = length, rows, rate
    self._pending: list[tuple[_Document, Chunk]] = []
    self._rated: collections.deque[tuple[list[tuple[_Document, Chunk]], Any]] = collections.deque()

  def add(self, document: _Document, chunk: Chunk) -> None:
    self._pending.append((document, chunk))
    if len(self._pending) == self._rows:
      self._start()
    while len(self._rated) >= IN_FLIGHT:
      self._collect()

  def flush(self) -> None:
    """Rates what is pending, the batch filled with empty rows, and reads all ratings."""
    if self._pending:
      self._start()
    while self._rated:
      self._collect()

  def _start(self) -> None:
    batch = assemble([[chunk] for _, chunk in self._pending], self._rows, self._length, 1)
    self._rated.append((self._pending, self._rate(batch)))
    self._pending = []

  def _collect(self) -> None:
    owners, ratings = self._rated.popleft()
    ratings_Bx1 = np.asarray(ratings, np.float64)
    if ratings_Bx1.shape != (self._rows, 1):
      raise ValueError(f"rate returned shape {ratings_Bx1.shape}, expected {(self._rows, 1)}")
    for (document, chunk), rating in zip(owners, ratings_Bx1[: len(owners), 0], strict=True):
      predicted = len(chunk.tokens) - 1
      document.weighted += float(rating) * predicted
      document.weight += predicted
      document.missing -= 1


def _finished(waiting: collections.deque[_Document]) -> Iterator[tuple[float, int]]:
  """Takes documents from the front while they are complete, so that order is kept."""
  while waiting and waiting[0].missing == 0:
    document = waiting.popleft()
    rating = document.weighted / document.weight if document.weight else float("nan")
    yield rating, document.tokens
