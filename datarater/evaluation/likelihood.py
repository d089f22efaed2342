"""How likely a language model finds text: after a context, or on its own.

A pair (context, continuation) is encoded as lm-evaluation-harness does (`data.continuation`), and
so its numbers are ours.

What a model was trained on has at most L tokens a row, the separator in front included. A context
that does not fit is cut from the left. A continuation that does not fit is scored in windows: each
predicts up to half a row, given the half row before it, and no token is left out.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from datarater.data.blocks import blocks
from datarater.data.continuation import encode_pair
from datarater.data.documents import pack
from datarater.data.packing import Chunk, cut
from datarater.data.tokenizers import Tokenizer
from datarater.errors import require
from datarater.evaluation.trained import TrainedModel
from datarater.types import Batch

Advance = Callable[[int], Any]
"""Told how many texts more are done, for a progress bar; `int`, the default, does nothing."""

_IN_FLIGHT = 2
"""Batches started before the first is waited for."""


class Segment(NamedTuple):
  """Tokens in one row, the separator first. start: position of the first that is scored."""

  tokens: np.ndarray
  start: int


class Likelihoods(NamedTuple):
  """Of N texts. log: float64 [N], log-likelihood in nats. greedy: bool [N], whether each token is
  the likeliest at its place. cut: bool [N], context left out. split: bool [N], scored in windows.
  """

  log: np.ndarray
  greedy: np.ndarray
  cut: np.ndarray
  split: np.ndarray


def continuation_likelihoods(
  model: TrainedModel, pairs: Sequence[tuple[str, str]], advance: Advance = int
) -> Likelihoods:
  """log p(continuation | context) of each pair; equal pairs get equal bits.

  Raises InputError for an empty continuation, and where a likelihood is not a number.
  """
  unique = list(dict.fromkeys(pairs))
  length, separator = model.shapes.length, model.tokenizer.separator_id

  def segments(pair: tuple[str, str]) -> tuple[list[Segment], bool]:
    tokens, start = _encoded(model.tokenizer, *pair)
    return windows(tokens, start, separator, length), len(tokens) >= length

  found = _likelihoods(model, unique, segments, lambda pair: len(pair[0]) + len(pair[1]), advance)
  advance(len(pairs) - len(unique))
  place = {pair: i for i, pair in enumerate(unique)}
  at = np.array([place[pair] for pair in pairs], np.int64)
  return Likelihoods(*(values[at] for values in found))


def text_likelihoods(
  model: TrainedModel, texts: Sequence[str], advance: Advance = int
) -> Likelihoods:
  """log p(text): minus its held-out loss in nats (`training.held_out`).

  A text is cut into rows as in training, each on its own; the separator that ends it is predicted
  too. A text without tokens has log-likelihood 0.
  """

  def segments(text: str) -> tuple[list[Segment], bool]:
    tokens = model.tokenizer.encode(text)
    chunks = cut(tokens, model.tokenizer.separator_id, model.shapes.length, 0)
    return [Segment(chunk.tokens, 1) for chunk in chunks], False

  return _likelihoods(model, texts, segments, len, advance)


def _encoded(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[np.ndarray, int]:
  require(bool(continuation), f"the continuation of {context[-40:]!r} is empty; give it text")
  tokens, start = encode_pair(tokenizer, context, continuation)
  require(
    len(tokens) > 0, f"{context + continuation!r} has no tokens; use a tokenizer that covers it"
  )
  return tokens, start


def windows(tokens: np.ndarray, start: int, separator: int, length: int) -> list[Segment]:
  """Segments of at most `length` tokens in which each token from `start` on is scored once."""
  room, number = length - 1, len(tokens)
  stride = number - start if number - start <= room else max(1, room // 2)
  segments = []
  for first in range(start, number, stride):
    stop = min(first + stride, number)
    window = tokens[max(0, stop - room) : stop]
    scored = 1 + len(window) - (stop - first)
    segments.append(Segment(np.concatenate([[separator], window]).astype(np.int32), scored))
  return segments


def score_segments(
  model: TrainedModel, segments: Sequence[Segment]
) -> tuple[np.ndarray, np.ndarray]:
  """(nats, errors) float64 [N]: sums over the scored tokens of each segment, packed into rows."""
  starts = np.array([segment.start for segment in segments], np.int64)
  sums = np.zeros((2, len(segments)))
  started: collections.deque[tuple[Batch, Any]] = collections.deque()

  def collect() -> None:
    batch, values = started.popleft()
    of_BxL = np.maximum(batch.segment_ids_BxL - 1, 0)
    segment_BxL = np.take_along_axis(batch.document_ids_BxS, of_BxL, axis=1)
    scored = (batch.segment_ids_BxL > 0) & (batch.positions_BxL >= starts[segment_BxL])
    for total, values_BxL in zip(sums, values, strict=True):
      values_N = np.asarray(values_BxL, np.float64)[scored]
      total += np.bincount(segment_BxL[scored], values_N, len(segments))

  chunks = [Chunk(segment.tokens, i, 0, 0) for i, segment in enumerate(segments)]
  for batch in pack(chunks, model.shapes):
    if len(started) >= _IN_FLIGHT:
      collect()
    started.append((batch, model.score(model.theta, batch)))
  while started:
    collect()
  return sums[0], sums[1]


def _likelihoods(
  model: TrainedModel,
  texts: Sequence[Any],
  segments_of: Callable[[Any], tuple[list[Segment], bool]],
  characters: Callable[[Any], int],
  advance: Advance,
) -> Likelihoods:
  """Block by block, so that memory does not grow with the number of texts.

  segments_of: (segments, whether some of the context is left out) of a text.
  """
  parts = [Likelihoods(np.zeros(0), *(np.zeros(0, bool) for _ in range(3)))]
  for block in blocks(texts, characters):
    made, shortened = zip(*map(segments_of, block), strict=True)
    owner = np.repeat(np.arange(len(block)), [len(some) for some in made])
    nats, errors = score_segments(model, [segment for some in made for segment in some])
    log = -np.bincount(owner, nats, len(block))
    require(
      bool(np.isfinite(log).all()),
      f"run {model.name!r} gives a likelihood that is not a number; train it again, with a lower "
      "learning rate",
    )
    greedy = np.bincount(owner, errors, len(block)) == 0
    split = np.array([len(some) > 1 for some in made])
    parts.append(Likelihoods(log, greedy, np.array(shortened) & ~split, split))
    advance(len(block))
  return Likelihoods(*map(np.concatenate, zip(*parts, strict=True)))
