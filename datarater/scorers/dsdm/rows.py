"""Examples as rows for a language model, and what each token weighs in its example's mean loss."""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from datarater.data.continuation import encode_pair
from datarater.data.documents import RowShapes, pack
from datarater.data.packing import Chunk, cut
from datarater.data.tokenizers import Tokenizer
from datarater.scorers.target import Example
from datarater.types import Batch

SEGMENT_TOKENS = 64
"""Room in a row for a segment every so many tokens: each costs a gradient of its own."""


class SeveralARow(RowShapes):
  """Shapes of batches whose rows hold some segments; all batches of a length are of one shape."""

  def tail_rows(self, number: int) -> int:
    del number
    return self.rows(self.length)

  def segments(self, length: int) -> int:
    return max(1, length // SEGMENT_TOKENS)


class OneARow(SeveralARow):
  """One segment a row, all rows of one length: where a segment's gradient is large."""

  @property
  def lengths(self) -> tuple[int, ...]:
    return (self.length,)

  def segments(self, length: int) -> int:
    del length
    return 1


class Piece(NamedTuple):
  """tokens: of one row, the separator first. start: of the loss. example: its index."""

  tokens: np.ndarray
  start: int
  example: int


class Weighted(NamedTuple):
  """weights_BxL: 1 over the tokens that count in the token's example, 0 where there is no loss.
  example_BxS: index of each segment's example, -1 where there is no segment.
  """

  batch: Batch
  weights_BxL: np.ndarray
  example_BxS: np.ndarray


def pieces_of(
  examples: Sequence[Example], tokenizer: Tokenizer, length: int, rows: int
) -> list[Piece]:
  """Those of all examples; none of an example without tokens.

  A document is cut as in training; of more than `rows` rows so many count, evenly spaced, the first
  and the last among them. After a context only the text has a loss; a context is cut from the left
  so that both fit, and left out where the text alone fills a row.
  """
  pieces = []
  for number, example in enumerate(examples):
    whole, start = encode_pair(tokenizer, example.context, example.text)
    if start > 0 and len(whole) - start < length:
      kept = whole[-(length - 1) :]
      tokens = np.concatenate([[tokenizer.separator_id], kept]).astype(np.int32)
      pieces.append(Piece(tokens, 1 + start - (len(whole) - len(kept)), number))
      continue
    chunks = cut(whole[start:], tokenizer.separator_id, length, 0)
    pieces += [Piece(chunk.tokens, 1, number) for chunk in _spaced(chunks, rows)]
  return pieces


def weighted_batches(pieces: Sequence[Piece], shapes: RowShapes) -> Iterator[Weighted]:
  """Each piece once, packed by length."""
  counted: collections.Counter[int] = collections.Counter()
  for piece in pieces:
    counted[piece.example] += len(piece.tokens) - piece.start
  starts = np.array([piece.start for piece in pieces])
  examples = np.array([piece.example for piece in pieces])
  weights = np.array([1 / counted[piece.example] for piece in pieces], np.float32)
  for batch in pack([Chunk(piece.tokens, i, 0, 0) for i, piece in enumerate(pieces)], shapes):
    there_BxL = batch.segment_ids_BxL > 0
    segment_BxL = np.maximum(batch.segment_ids_BxL - 1, 0)
    piece_BxL = np.take_along_axis(batch.document_ids_BxS, segment_BxL, axis=1)
    counts_BxL = there_BxL & (batch.positions_BxL >= starts[piece_BxL])
    piece_BxS = batch.document_ids_BxS
    example_BxS = np.where(piece_BxS >= 0, examples[piece_BxS], -1)
    yield Weighted(batch, np.where(counts_BxL, weights[piece_BxL], np.float32(0)), example_BxS)


def _spaced(chunks: Sequence[Chunk], most: int) -> list[Chunk]:
  if len(chunks) <= most:
    return list(chunks)
  return [chunks[at] for at in np.linspace(0, len(chunks) - 1, most).round().astype(int)]
