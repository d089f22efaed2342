"""Documents into chunks, chunks into rows: pure functions on numpy arrays.

A chunk is the separator and up to `length - 1` tokens of one document, so each token of text is
predicted from something. The separator also ends a document's last chunk where there is room for
it: so the end of a document is learned, and no chunk consists of separators alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from datarater.types import Batch


class Chunk(NamedTuple):
  """A segment to be: a piece of one document.

  tokens: int32, the separator first. document: the record's index in its source. domain: index into
  the source's domains. bytes: UTF-8 bytes of the text that the piece stands for.
  """

  tokens: np.ndarray
  document: int
  domain: int
  bytes: int


def cut(
  tokens: np.ndarray, separator: int, length: int, size: int, document: int = 0, domain: int = 0
) -> list[Chunk]:
  """Cuts the tokens of a document of `size` UTF-8 bytes into chunks of at most `length` tokens.

  Bytes go to chunks in proportion to tokens, cumulatively, so that they add up to `size`.
  A document without tokens gives no chunk. Raises ValueError for a length below 2.
  """
  if length < 2:
    raise ValueError(f"length is {length}; give 2 or more: a separator and a token")
  number, step = len(tokens), length - 1
  starts = range(0, number, step)
  # One array, of which the chunks are views: separator, piece, separator, piece, ..., separator.
  flat = np.full(number + len(starts) + 1, separator, np.int32)
  chunks = []
  for k, start in enumerate(starts):
    stop, at = min(start + step, number), start + k
    end = at + 1 + stop - start
    flat[at + 1 : end] = tokens[start:stop]
    last = stop == number and stop - start < step
    share = size * stop // number - size * start // number
    chunks.append(Chunk(flat[at : end + last], document, domain, share))
  return chunks


class Rows:
  """Rows being packed first-fit: `packed` holds the chunks of each."""

  def __init__(self, rows: int, length: int, segments: int):
    self.packed: list[list[Chunk]] = [[] for _ in range(rows)]
    self._free = [length] * rows
    self._segments = segments

  def add(self, chunk: Chunk) -> bool:
    """Puts a chunk in the first row with room for it; False where there is none."""
    size = len(chunk.tokens)
    for row, free in enumerate(self._free):
      if free >= size and len(self.packed[row]) < self._segments:
        self.packed[row].append(chunk)
        self._free[row] -= size
        return True
    return False


def first_fit(
  chunks: Iterable[Chunk], rows: int, length: int, segments: int
) -> Iterator[list[list[Chunk]]]:
  """Packs a stream: yields the chunks of `rows` rows when the next chunk fits in none of them."""
  current = Rows(rows, length, segments)
  for chunk in chunks:
    if not current.add(chunk):
      yield current.packed
      current = Rows(rows, length, segments)
      if not current.add(chunk):
        raise ValueError(f"a chunk of {len(chunk.tokens)} tokens is longer than a row of {length}")
  if current.packed[0]:
    yield current.packed


def assemble(packed: Sequence[Sequence[Chunk]], rows: int, length: int, segments: int) -> Batch:
  """A Batch of exactly `rows` rows of numpy arrays; rows that are not given stay padding.

  packed: the chunks of each row. Raises ValueError where they do not fit.
  """
  if len(packed) > rows:
    raise ValueError(f"{len(packed)} rows are packed, the batch has {rows}")
  tokens, ids, positions = (np.zeros((rows, length), np.int32) for _ in range(3))
  documents, domains = (np.full((rows, segments), -1, np.int32) for _ in range(2))
  sizes = np.zeros((rows, segments), np.int32)
  count = np.arange(length, dtype=np.int32)
  for row, chunks in enumerate(packed):
    start = 0
    if len(chunks) > segments:
      raise ValueError(f"row {row} holds {len(chunks)} chunks, at most {segments} fit")
    for k, chunk in enumerate(chunks):
      stop = start + len(chunk.tokens)
      if stop > length:
        raise ValueError(f"row {row} holds {stop} tokens, at most {length} fit")
      tokens[row, start:stop] = chunk.tokens
      ids[row, start:stop] = k + 1
      positions[row, start:stop] = count[: stop - start]
      documents[row, k], domains[row, k], sizes[row, k] = chunk[1:]
      start = stop
  return Batch(tokens, ids, positions, documents, domains, sizes)


def chunks_of(batch: Batch) -> list[list[Chunk]]:
  """The chunks of each row of a Batch of numpy arrays: the inverse of `assemble`."""
  packed = []
  for row in range(batch.tokens_BxL.shape[0]):
    number = int(batch.segment_ids_BxL[row].max(initial=0))
    ends = np.searchsorted(_rising(batch.segment_ids_BxL[row]), np.arange(1, number + 2))
    packed.append(
      [
        Chunk(
          batch.tokens_BxL[row, ends[k] : ends[k + 1]],
          int(batch.document_ids_BxS[row, k]),
          int(batch.domain_BxS[row, k]),
          int(batch.bytes_BxS[row, k]),
        )
        for k in range(number)
      ]
    )
  return packed


def _rising(segment_ids_L: np.ndarray) -> np.ndarray:
  """Segment ids with the padding at the end, 0, made the largest, so that they are sorted."""
  return np.where(segment_ids_L == 0, np.iinfo(np.int32).max, segment_ids_L)
