"""A document's rating is the token-weighted mean of its chunks', in order, in bounded memory."""

import itertools

import numpy as np
import pytest

from datarater.data.documents import rate_documents, stream_ratings
from datarater.data.packing import cut
from datarater.data.tokenizers import ByteTokenizer

TOKENIZER = ByteTokenizer()
LENGTH = 8
TEXTS = ["abc", "", "a" * 7, "bcd" * 9, "é" * 10, "z"]


def mean_token(batch) -> np.ndarray:
  """A rating that depends on a row's own predicted tokens alone."""
  mask = batch.loss_mask_BxL
  total = (batch.tokens_BxL * mask).sum(axis=1)
  return (total / np.maximum(mask.sum(axis=1), 1))[:, None].astype(np.float32)


def by_hand(text: str) -> float:
  tokens = TOKENIZER.encode(text)
  chunks = cut(tokens, 256, LENGTH, 0)
  predicted = [t for chunk in chunks for t in chunk.tokens[1:].tolist()]
  return float(np.mean(predicted)) if predicted else float("nan")


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_pooled_ratings_equal_the_mean_over_all_predicted_tokens(rows):
  ratings, tokens = rate_documents(TEXTS, TOKENIZER, mean_token, LENGTH, rows)
  assert (ratings.dtype, tokens.dtype) == (np.float32, np.int32)
  np.testing.assert_allclose(ratings, [by_hand(text) for text in TEXTS], rtol=1e-6)
  assert tokens.tolist() == [len(text.encode()) for text in TEXTS]
  assert np.isnan(ratings).tolist() == [text == "" for text in TEXTS]


def test_every_batch_has_the_one_shape_and_one_chunk_a_row():
  batches = []

  def rate(batch):
    batches.append(batch)
    return mean_token(batch)

  rate_documents(TEXTS, TOKENIZER, rate, LENGTH, rows=3)
  assert {batch.tokens_BxL.shape for batch in batches} == {(3, LENGTH)}
  assert {batch.document_ids_BxS.shape for batch in batches} == {(3, 1)}
  assert max(batch.segment_ids_BxL.max() for batch in batches) == 1
  assert sum(batch.bytes_BxS.sum() for batch in batches) == sum(len(t.encode()) for t in TEXTS)
  numbers = [d for batch in batches for d in batch.document_ids_BxS[:, 0].tolist() if d >= 0]
  assert sorted(set(numbers)) == [0, 2, 3, 4, 5]


def test_streaming_is_in_order_and_reads_only_a_little_ahead():
  read = 0

  def texts():
    nonlocal read
    for i in itertools.count():
      read += 1
      yield "ab" * (i % 5)

  stream = stream_ratings(texts(), TOKENIZER, mean_token, LENGTH, rows=4)
  for i, (rating, tokens) in zip(range(500), stream, strict=False):
    assert tokens == 2 * (i % 5)
    np.testing.assert_equal(np.float32(rating), np.float32(by_hand("ab" * (i % 5))))
    assert read - i < 30


def test_no_texts_and_wrong_ratings():
  ratings, tokens = rate_documents([], TOKENIZER, mean_token, LENGTH)
  assert ratings.shape == tokens.shape == (0,)
  with pytest.raises(ValueError, match=r"rate returned shape \(4,\), expected \(4, 1\)"):
    rate_documents(["a"], TOKENIZER, lambda batch: np.zeros(4), LENGTH, rows=4)
