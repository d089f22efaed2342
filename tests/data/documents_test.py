"""A document's rating pools its chunks', whatever rows they were packed into; little is padding."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.blocks import BLOCK_CHARACTERS, BLOCK_DOCUMENTS, blocks
from datarater.data.documents import (
  RowShapes,
  pack,
  prepare_documents,
  rate_documents,
  rate_prepared,
)
from datarater.data.packing import Chunk, chunks_of, cut
from datarater.data.tokenizers import ByteTokenizer
from datarater.errors import InputError

TOKENIZER = ByteTokenizer()
LENGTH = 8
TEXTS = ["abc", "", "a" * 7, "bcd" * 9, "é" * 10, "z"]


def mean_token(batch) -> np.ndarray:
  """A rating that depends on a segment's own predicted tokens alone."""
  segments = batch.document_ids_BxS.shape[1]
  masks = [batch.loss_mask_BxL & (batch.segment_ids_BxL == s + 1) for s in range(segments)]
  sums = [(batch.tokens_BxL * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1) for mask in masks]
  return np.stack(sums, axis=1).astype(np.float32)


def chunk_means(text: str) -> list[tuple[float, int]]:
  chunks = cut(TOKENIZER.encode(text), 256, LENGTH, 0)
  return [(float(np.mean(c.tokens[1:])), len(c.tokens) - 1) for c in chunks]


BY_HAND = {
  "mean": lambda pairs: np.average([r for r, _ in pairs], weights=[w for _, w in pairs]),
  "max": lambda pairs: max(pairs)[0],
  "min": lambda pairs: min(pairs)[0],
  "first": lambda pairs: pairs[0][0],
  "last": lambda pairs: pairs[-1][0],
}


@pytest.mark.parametrize("pooling", BY_HAND)
@pytest.mark.parametrize("batch_tokens", [1, 24, 1000])
def test_pooled_ratings_are_those_of_the_chunks(pooling, batch_tokens):
  shapes = RowShapes(LENGTH, batch_tokens)
  ratings, tokens = rate_documents(TEXTS, TOKENIZER, mean_token, shapes, pooling)
  expected = [BY_HAND[pooling](chunk_means(text)) if text else np.nan for text in TEXTS]
  assert (ratings.dtype, tokens.dtype) == (np.float32, np.int32)
  np.testing.assert_allclose(ratings, expected, rtol=1e-6)
  assert tokens.tolist() == [len(text.encode()) for text in TEXTS]


def chunks_of_sizes(sizes):
  return [Chunk(np.full(size, i % 256, np.int32), i, 0, 0) for i, size in enumerate(sizes)]


@given(st.lists(st.integers(2, 1024), max_size=120), st.sampled_from([256, 1024, 8192, 100_000]))
def test_every_chunk_is_in_exactly_one_row(sizes, batch_tokens):
  shapes = RowShapes(1024, batch_tokens)
  batches = list(pack(chunks_of_sizes(sizes), shapes))
  packed = [chunk for batch in batches for row in chunks_of(batch) for chunk in row]
  assert sorted((c.document, len(c.tokens)) for c in packed) == list(enumerate(sizes))
  for chunk in packed:
    assert (chunk.tokens == chunk.document % 256).all()


def test_there_are_few_shapes_and_all_batches_but_the_last_are_whole():
  shapes = RowShapes(1024, 8192)
  assert shapes.lengths == (128, 256, 512, 1024)
  rng = np.random.default_rng(0)
  seen = set()
  for number in (1, 3, 40, 900):
    batches = list(pack(chunks_of_sizes(rng.integers(2, 1025, number)), shapes))
    assert all(batch.tokens_BxL.size == 8192 for batch in batches[:-1])
    seen |= {batch.document_ids_BxS.shape + batch.tokens_BxL.shape for batch in batches}
  tails = {(rows, 128, rows, 1024) for rows in (2, 8)}
  assert seen <= tails | {(64, 16, 64, 128), (32, 32, 32, 256), (16, 64, 16, 512)}


@pytest.mark.parametrize("median", [50, 300, 2000])
def test_less_than_one_token_in_twenty_is_padding(median):
  rng = np.random.default_rng(0)
  lengths = np.exp(rng.normal(np.log(median), 1.0, 1000)).astype(int) + 1
  texts = ["x" * n for n in lengths.tolist()]
  assert prepare_documents(texts, TOKENIZER, RowShapes(1024, 8192)).padding < 0.05


def test_a_short_text_costs_a_small_batch():
  (batch,) = prepare_documents(["short"], TOKENIZER, RowShapes(128, 8192)).batches
  assert batch.tokens_BxL.shape == (1, 128)


def test_batches_are_waited_for_only_when_enough_are_in_flight():
  events = []

  class Later:
    def __init__(self, number, batch):
      self.number, self.ratings = number, mean_token(batch)

    def __array__(self, dtype=None, copy=None):
      events.append(("read", self.number))
      return self.ratings.astype(dtype)

  counter = itertools.count()

  def rate(batch):
    number = next(counter)
    events.append(("start", number))
    return Later(number, batch)

  prepared = prepare_documents(["a" * 7] * 4, TOKENIZER, RowShapes(LENGTH, LENGTH))
  rate_prepared(prepared, rate, in_flight=2)
  assert events[:4] == [("start", 0), ("start", 1), ("read", 0), ("start", 2)]
  assert events[-1] == ("read", 3)


def test_no_texts_wrong_ratings_and_wrong_settings():
  shapes = RowShapes(LENGTH, 32)
  ratings, tokens = rate_documents([], TOKENIZER, mean_token, shapes)
  assert ratings.shape == tokens.shape == (0,)
  assert np.isnan(rate_documents([""], TOKENIZER, mean_token, shapes)[0]).all()
  with pytest.raises(ValueError, match=r"rate returned shape \(1,\), expected \(1, 1\)"):
    rate_documents(["a"], TOKENIZER, lambda batch: np.zeros(1), shapes)
  with pytest.raises(InputError, match="length is 1; give 2"):
    RowShapes(1, 32)


def test_blocks_end_by_count_or_by_characters():
  long = "x" * (BLOCK_CHARACTERS - 1)
  assert list(blocks(["a", long, "b", "cc"], len)) == [["a", long], ["b", "cc"]]
  assert [len(b) for b in blocks(["x"] * (BLOCK_DOCUMENTS + 1), len)] == [BLOCK_DOCUMENTS, 1]
  assert list(blocks([], len)) == []
