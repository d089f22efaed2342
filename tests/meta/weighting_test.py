"""Weights are a softmax over the batch: they add to 1, a constant in the ratings has no effect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import MODEL, VOCAB, initial_parameters, pack, random_batch, tree_distance

from datarater.meta.mixed_mode import plain_gradient
from datarater.meta.weighting import batch_weights, effective_sample_size, weight_entropy
from datarater.models import language_model
from datarater.types import datapoints_per_row, predicted_tokens

BATCH = pack([[[11, 1, 2, 3], [11, 4]], [[11, 5, 6]], []])
KINDS = pytest.mark.parametrize("datapoint", ["sequence", "document", "token"])


def random_ratings(batch, datapoint, seed=0):
  shape = (len(batch.tokens_BxL), datapoints_per_row(batch, datapoint))
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * 3, jnp.float32)


def test_sequence_weights_are_the_softmax_of_the_ratings():
  ratings = jnp.array([[1.0], [3.0], [50.0]])  # the third row is empty
  weights = batch_weights(ratings, BATCH, "sequence")
  e = np.exp([1.0, 3.0])
  np.testing.assert_allclose(weights[:, 0], [*(e / e.sum()), 0.0], rtol=1e-6)


def test_document_weights_count_predicted_tokens():
  ratings = jnp.array([[1.0, 2.0, 50.0], [0.5, 50.0, 50.0], [50.0, 50.0, 50.0]])
  weights = batch_weights(ratings, BATCH, "document")
  e = np.array([3 * np.exp(1.0), 1 * np.exp(2.0), 2 * np.exp(0.5)])
  expected = np.zeros((3, 3))
  expected[0, :2], expected[1, 0] = (e / e.sum())[:2], (e / e.sum())[2]
  np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_token_weights_are_a_softmax_over_predicted_tokens():
  ratings = jnp.full((3, 12), 50.0)  # padding and the first token of a segment do not count
  ratings = ratings.at[0, 1:4].set(jnp.array([1.0, 2.0, 3.0])).at[0, 5].set(-1.0)
  ratings = ratings.at[1, 1:3].set(jnp.array([0.5, 0.0]))
  weights = batch_weights(ratings, BATCH, "token")
  e = np.exp([1.0, 2.0, 3.0, -1.0, 0.5, 0.0])
  expected = np.zeros((3, 12))
  expected[0, [1, 2, 3, 5]], expected[1, [1, 2]] = (e / e.sum())[:4], (e / e.sum())[4:]
  np.testing.assert_allclose(weights, expected, rtol=1e-6)


@KINDS
def test_weights_add_to_one_and_absent_datapoints_get_none(datapoint):
  for seed in range(3):
    batch = random_batch(seed)
    ratings = random_ratings(batch, datapoint, seed)
    weights = np.asarray(batch_weights(ratings, batch, datapoint))
    there = np.asarray(predicted_tokens(batch, datapoint)) > 0
    assert abs(weights.sum() - 1) < 1e-6
    assert np.all(weights[there] > 0)
    assert np.all(weights[~there] == 0)


@KINDS
def test_a_constant_in_all_ratings_has_no_effect(datapoint):
  """Of softmax, not of sigmoid: a failure of public re-implementations."""
  batch, ratings = random_batch(0), random_ratings(random_batch(0), datapoint)
  weights = batch_weights(ratings, batch, datapoint)
  shifted = batch_weights(ratings + 7.0, batch, datapoint)
  np.testing.assert_allclose(shifted, weights, rtol=1e-5)


@KINDS
def test_raising_one_rating_lowers_all_other_weights(datapoint):
  batch, ratings = random_batch(0), random_ratings(random_batch(0), datapoint)
  there = np.asarray(predicted_tokens(batch, datapoint)) > 0
  raised = tuple(np.argwhere(there)[0])
  jacobian = jax.jacobian(lambda r: batch_weights(r, batch, datapoint)[raised])(ratings)
  assert jacobian[raised] > 0
  there[raised] = False
  assert np.all(np.asarray(jacobian)[there] < 0)
  assert abs(np.sum(jacobian)) < 1e-6


def test_derivatives_are_finite_for_an_empty_batch():
  batch = pack([[], []])
  weights, pullback = jax.vjp(lambda r: batch_weights(r, batch, "document"), jnp.zeros((2, 3)))
  assert np.all(np.asarray(weights) == 0)
  assert np.all(np.isfinite(pullback(jnp.ones((2, 3)))[0]))


@pytest.mark.parametrize("datapoint", ["document", "token"])
def test_equal_ratings_are_plain_training(datapoint):
  _, theta = initial_parameters()
  batch = random_batch(1)
  losses = language_model.losses_fn(MODEL, VOCAB, datapoint)
  plain = language_model.mean_loss_fn(language_model.token_nll_fn(MODEL, VOCAB))

  @jax.jit
  def both(theta, batch):
    ratings = jnp.full((len(batch.tokens_BxL), datapoints_per_row(batch, datapoint)), 0.7)
    weights = batch_weights(ratings, batch, datapoint)
    return plain_gradient(losses)(theta, weights, batch), jax.grad(plain)(theta, batch)

  assert tree_distance(*both(theta, batch)) < 1e-5


def test_entropy_and_effective_sample_size():
  equal, single = jnp.full((2, 3), 1 / 6), jnp.zeros((2, 3)).at[1, 1].set(1.0)
  np.testing.assert_allclose(weight_entropy(equal), np.log(6), rtol=1e-6)
  np.testing.assert_allclose(effective_sample_size(equal), 6, rtol=1e-6)
  assert weight_entropy(single) == 0
  assert effective_sample_size(single) == 1
  halves = jnp.array([[0.5, 0.5, 0.0]])
  np.testing.assert_allclose(weight_entropy(halves), np.log(2), rtol=1e-6)
  np.testing.assert_allclose(effective_sample_size(halves), 2, rtol=1e-6)
