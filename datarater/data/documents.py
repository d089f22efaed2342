"""Rating whole documents outside training: cut into chunks, packed by length, pooled again.

A row holds chunks of several documents, which attention keeps apart, so a chunk's rating depends on
its company in its last bits alone. Rows come in few lengths, and a batch in few numbers of rows, so
that little is padding and nothing compiles twice.
"""

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from datarater.data.blocks import blocks
from datarater.data.packing import Chunk, assemble, cut
from datarater.data.tokenizers import Tokenizer
from datarater.errors import require
from datarater.types import Batch

Rate = Callable[[Batch], Any]
"""batch → ratings_BxS of its segments, larger is better; may return before they are computed.
Where a `width` is given, it returns vectors, BxSxW, in their place.
"""

Pooling = Literal["mean", "max", "min", "first", "last"]
"""How the ratings of a document's chunks become one; the mean is weighted by predicted tokens."""

CPU_BATCH_TOKENS, BATCH_TOKENS = 1 << 11, 1 << 16
"""Rated at once on a CPU, whose caches hold the activations of so many, and on accelerators."""

SHORTEST_ROW = 128
"""Rows are halved down to this many tokens; what is shorter shares a row."""

SEGMENT_TOKENS = 8
"""Room in a row for a segment every so many tokens."""

_TAIL = 4
"""The last, incomplete batch shrinks by this factor as often as its rows allow."""


def default_batch_tokens() -> int:
  """What fits the devices of this process."""
  return CPU_BATCH_TOKENS if jax.default_backend() == "cpu" else BATCH_TOKENS


@dataclasses.dataclass(frozen=True)
class RowShapes:
  """The shapes of batches: length, the context, is the longest row; batch_tokens a batch."""

  length: int
  batch_tokens: int

  def __post_init__(self) -> None:
    require(self.length >= 2, f"length is {self.length}; give 2 or more: a separator and a token")
    require(self.batch_tokens >= 1, f"batch_tokens is {self.batch_tokens}; give 1 or more")

  @property
  def lengths(self) -> tuple[int, ...]:
    """Row lengths, rising: the context and its halves."""
    lengths = [self.length]
    while lengths[-1] // 2 >= SHORTEST_ROW:
      lengths.append(lengths[-1] // 2)
    return tuple(reversed(lengths))

  def rows(self, length: int) -> int:
    """Rows of a whole batch."""
    return max(1, self.batch_tokens // length)

  def tail_rows(self, number: int) -> int:
    """Rows of the batch that holds the last `number` rows of the longest length."""
    rows = self.rows(self.length)
    while rows // _TAIL >= number:
      rows //= _TAIL
    return rows

  def segments(self, length: int) -> int:
    """S of a row."""
    return max(1, length // SEGMENT_TOKENS)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """Documents on their way to being rated. Segment ids `document_ids_BxS` count chunks.

  tokens: int32 [N] of the texts. first: int64 [N + 1], the first chunk of each document.
  weights: int64 [C], predicted tokens of each chunk.
  """

  batches: list[Batch]
  tokens: np.ndarray
  first: np.ndarray
  weights: np.ndarray

  @property
  def padding(self) -> float:
    """Share of the batches' tokens that are padding."""
    total = sum(batch.segment_ids_BxL.size for batch in self.batches)
    used = sum(np.count_nonzero(batch.segment_ids_BxL) for batch in self.batches)
    return 1.0 - used / total if total else 0.0


def rate_documents(
  texts: Sequence[str],
  tokenizer: Tokenizer,
  rate: Rate,
  shapes: RowShapes,
  pooling: Pooling = "mean",
  progress: bool = False,
  in_flight: int = 2,
  width: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """(ratings float32 [N], tokens int32 [N]) of texts, block by block; see `rate_prepared`."""
  rated = [(np.zeros((0, *_axes(width)), np.float32), np.zeros(0, np.int32))]
  with tqdm(total=len(texts), desc="rating", unit=" documents", disable=not progress) as bar:
    for block in blocks(texts, len):
      prepared = prepare_documents(block, tokenizer, shapes)
      rated.append(rate_prepared(prepared, rate, pooling, in_flight, width))
      bar.update(len(block))
  ratings, tokens = zip(*rated, strict=True)
  return np.concatenate(ratings), np.concatenate(tokens)


def prepare_documents(texts: Sequence[str], tokenizer: Tokenizer, shapes: RowShapes) -> Prepared:
  """Tokenises texts, cuts them into chunks of at most `shapes.length`, and packs these."""
  encoded = [tokenizer.encode(text) for text in texts]
  pieces = [cut(tokens, tokenizer.separator_id, shapes.length, 0) for tokens in encoded]
  chunks = [chunk._replace(document=i) for i, chunk in enumerate(itertools.chain(*pieces))]
  return Prepared(
    batches=list(pack(chunks, shapes)),
    tokens=np.array([len(tokens) for tokens in encoded], np.int32),
    first=np.cumsum([0, *map(len, pieces)]),
    weights=np.array([len(chunk.tokens) - 1 for chunk in chunks], np.int64),
  )


def rate_prepared(
  prepared: Prepared,
  rate: Rate,
  pooling: Pooling = "mean",
  in_flight: int = 2,
  width: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """(ratings float32 [N], tokens int32 [N]); a text without tokens has rating NaN.

  in_flight: batches started before the first is waited for. width: of the vectors that `rate`
  returns, and that come out as [N, width]; 0: it returns numbers.
  Raises ValueError where `rate` returns another shape than the batch's BxS.
  """
  ratings_C = np.zeros((len(prepared.weights), *_axes(width)))
  started: collections.deque[tuple[Batch, Any]] = collections.deque()

  def collect() -> None:
    batch, ratings = started.popleft()
    ratings_BxS = np.asarray(ratings, np.float64)
    chunks_BxS = batch.document_ids_BxS
    expected = (*chunks_BxS.shape, *_axes(width))
    if ratings_BxS.shape != expected:
      raise ValueError(f"rate returned shape {ratings_BxS.shape}, expected {expected}")
    ratings_C[chunks_BxS[chunks_BxS >= 0]] = ratings_BxS[chunks_BxS >= 0]

  for batch in prepared.batches:
    if len(started) >= in_flight:
      collect()
    started.append((batch, rate(batch)))
  while started:
    collect()
  return _pooled(ratings_C, prepared, pooling).astype(np.float32), prepared.tokens


def _pooled(ratings_C: np.ndarray, prepared: Prepared, pooling: Pooling) -> np.ndarray:
  """float64 [N], or [N, W] of vectors."""
  vector = ratings_C.shape[1:]
  pooled = np.full((len(prepared.tokens), *vector), np.nan)
  some = np.flatnonzero(prepared.tokens > 0)
  starts, ends = prepared.first[some], prepared.first[some + 1]
  if not len(some):
    return pooled
  if pooling == "mean":
    weights_C = prepared.weights.reshape(-1, *(1 for _ in vector))
    sums = np.add.reduceat(ratings_C * weights_C, starts)
    pooled[some] = sums / np.add.reduceat(weights_C, starts)
  elif pooling in ("max", "min"):
    reduce = np.maximum if pooling == "max" else np.minimum
    pooled[some] = reduce.reduceat(ratings_C, starts)
  else:
    pooled[some] = ratings_C[starts if pooling == "first" else ends - 1]
  return pooled


def _axes(width: int) -> tuple[int, ...]:
  return (width,) if width else ()


def pack(chunks: Sequence[Chunk], shapes: RowShapes) -> Iterator[Batch]:
  """Batches that hold each chunk once; a function of the chunks' sizes and order alone.

  Rows that do not make up a whole batch of their length are joined in pairs into longer rows, so
  that one batch alone, the last, is incomplete.
  """
  rows = fill_rows(chunks, shapes)
  for short, long in itertools.pairwise(shapes.lengths):
    whole = len(rows[short]) // shapes.rows(short) * shapes.rows(short)
    rest = rows[short][whole:]
    rows[long] += [list(itertools.chain(*rest[i : i + 2])) for i in range(0, len(rest), 2)]
    yield from _batches(rows[short][:whole], short, shapes)
  yield from _batches(rows[shapes.length], shapes.length, shapes)


def fill_rows(chunks: Sequence[Chunk], shapes: RowShapes) -> dict[int, list[list[Chunk]]]:
  """Rows by length. The largest chunk left opens a row, the largest that fit fill it."""
  waiting = sorted(chunks, key=lambda chunk: len(chunk.tokens))
  sizes = [len(chunk.tokens) for chunk in waiting]
  rows: dict[int, list[list[Chunk]]] = {length: [] for length in shapes.lengths}
  while waiting:
    free = length = shapes.lengths[bisect.bisect_left(shapes.lengths, sizes[-1])]
    row: list[Chunk] = []
    while len(row) < shapes.segments(length) and (at := bisect.bisect_right(sizes, free)):
      free -= sizes.pop(at - 1)
      row.append(waiting.pop(at - 1))
    rows[length].append(row)
  return rows


def _batches(rows: list[list[Chunk]], length: int, shapes: RowShapes) -> Iterator[Batch]:
  for start in range(0, len(rows), shapes.rows(length)):
    part = rows[start : start + shapes.rows(length)]
    number = shapes.rows(length) if length < shapes.length else shapes.tail_rows(len(part))
    yield assemble(part, number, length, shapes.segments(length))
