"""The rater: bidirectional, one rating a datapoint, blind to other segments and to padding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import LENGTH, MODEL, SEGMENTS, VOCAB, initial_parameters, pack, random_batch

from datarater.models import rater
from datarater.models.transformer import Transformer

DOCUMENTS = [[11, 1, 2, 3, 4], [11, 5, 6], [11, 7, 8]]
PACKED = pack([DOCUMENTS[:2], DOCUMENTS[2:], []])

COLUMNS = {"sequence": 1, "document": SEGMENTS, "token": LENGTH}
rate = {kind: jax.jit(rater.rate_fn(MODEL, VOCAB, kind)) for kind in COLUMNS}


@pytest.fixture(scope="module")
def eta():
  return initial_parameters()[0]


@pytest.mark.parametrize("datapoint", COLUMNS)
def test_all_ratings_start_at_zero(datapoint):
  eta = rater.init_rater(MODEL, VOCAB, jax.random.key(0), LENGTH)
  ratings = np.asarray(rate[datapoint](eta, random_batch(0)))
  assert ratings.shape == (4, COLUMNS[datapoint])
  assert np.all(ratings == 0)


def test_the_rating_is_the_head_of_the_mean_of_features(eta):
  features = Transformer(MODEL, VOCAB, causal=False).apply({"params": eta["transformer"]}, PACKED)
  features, head = np.asarray(features, np.float64), np.asarray(eta["head"]["kernel"])[:, 0]
  by_row = [features[0, :8].mean(0) @ head, features[1, :3].mean(0) @ head, 0.0]
  np.testing.assert_allclose(rate["sequence"](eta, PACKED)[:, 0], by_row, rtol=1e-4)
  by_document = np.zeros((3, 3))
  by_document[0, 0] = features[0, :5].mean(0) @ head
  by_document[0, 1] = features[0, 5:8].mean(0) @ head
  by_document[1, 0] = by_row[1]
  np.testing.assert_allclose(rate["document"](eta, PACKED), by_document, rtol=1e-4)


def test_a_token_is_rated_by_its_own_features_and_a_document_by_the_mean(eta):
  features = Transformer(MODEL, VOCAB, causal=False).apply({"params": eta["transformer"]}, PACKED)
  by_token = np.asarray(features, np.float64) @ np.asarray(eta["head"]["kernel"])[:, 0]
  by_token *= np.asarray(PACKED.loss_mask_BxL)
  np.testing.assert_allclose(rate["token"](eta, PACKED), by_token, rtol=1e-4, atol=1e-6)
  by_document = np.zeros((3, 3))
  by_document[0, 0], by_document[0, 1] = by_token[0, 1:5].mean(), by_token[0, 6:8].mean()
  by_document[1, 0] = by_token[1, 1:3].mean()
  documents = rater.document_rate_fn(MODEL, VOCAB, "token")(eta, PACKED)
  np.testing.assert_allclose(documents, by_document, rtol=1e-4)
  pooled = rater.document_rate_fn(MODEL, VOCAB, "sequence")(eta, PACKED)
  np.testing.assert_allclose(pooled, rate["document"](eta, PACKED), rtol=1e-5)


def test_packed_documents_get_the_ratings_they_get_alone(eta):
  packed = np.asarray(rate["document"](eta, PACKED))
  alone = np.asarray(rate["sequence"](eta, pack([[d] for d in DOCUMENTS])))[:, 0]
  np.testing.assert_allclose([packed[0, 0], packed[0, 1], packed[1, 0]], alone, rtol=2e-5)
  assert len(set(alone.tolist())) == 3


def test_another_segments_tokens_and_padding_change_nothing(eta):
  ratings = np.asarray(rate["document"](eta, PACKED))
  ids = np.asarray(PACKED.segment_ids_BxL)
  for segment in (0, 1, 2):
    tokens = np.where(ids == segment, (PACKED.tokens_BxL + 3) % 11, PACKED.tokens_BxL)
    other = np.asarray(rate["document"](eta, PACKED.replace(tokens_BxL=tokens.astype(np.int32))))
    for column in range(2):
      same = np.array_equal(other[:, column], ratings[:, column])
      assert same == (column != segment - 1)


def test_it_sees_the_future(eta):
  """Unlike the language model: the last token's features move the first one's."""
  transformer = Transformer(MODEL, VOCAB, causal=False)
  tokens = np.array(PACKED.tokens_BxL)
  tokens[0, 4] = 9
  features = [
    np.asarray(transformer.apply({"params": eta["transformer"]}, batch))[0, 0]
    for batch in (PACKED, PACKED.replace(tokens_BxL=tokens))
  ]
  assert np.any(features[0] != features[1])


def test_remat_is_a_free_switch(eta):
  other = dataclasses.replace(MODEL, remat=True)
  key = jax.random.key(3)
  shapes = [
    jax.eval_shape(lambda c=c: rater.init_rater(c, VOCAB, key, LENGTH)) for c in (MODEL, other)
  ]
  assert shapes[0] == shapes[1]
  ratings = jax.jit(rater.rate_fn(other, VOCAB, "document"))(eta, PACKED)
  np.testing.assert_allclose(ratings, rate["document"](eta, PACKED), rtol=1e-5)


def test_bfloat16_runs_and_gives_float32_ratings(eta):
  config = dataclasses.replace(MODEL, dtype="bfloat16")
  ratings = jax.jit(rater.rate_fn(config, VOCAB, "document"))(eta, PACKED)
  assert ratings.dtype == jnp.float32
  np.testing.assert_allclose(ratings, rate["document"](eta, PACKED), rtol=0.1, atol=0.05)
  eta = jax.eval_shape(lambda: rater.init_rater(config, VOCAB, jax.random.key(0), LENGTH))
  assert {x.dtype for x in jax.tree.leaves(eta)} == {jnp.dtype("float32")}
