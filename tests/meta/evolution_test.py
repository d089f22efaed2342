"""Evolution strategies: closed forms of the estimator, then the meta-gradient and a whole run."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import VOCAB, pack, stacked, tiny_run

from datarater.config import MetaConfig, OptimizerConfig
from datarater.meta import estimators, trainer
from datarater.runtime.metrics import TIMINGS, read_metrics

KEY = jax.random.key(0)
EVERYWHERE = jnp.ones((3, 2), bool)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)

POINTS = jnp.asarray(np.random.default_rng(1).normal(size=(VOCAB, 2)), jnp.float32)
ROWS, T = 4, 2


def estimate(loss, pairs, scale=0.1, key=KEY, perturbed=EVERYWHERE):
  return np.asarray(estimators.antithetic_gradient(loss, X, perturbed, key, pairs, scale))


def single_pairs(loss, count, scale=0.1):
  """Estimates of one pair each, count x 3 x 2."""
  one = functools.partial(estimators.antithetic_gradient, loss, X, EVERYWHERE)
  keys = jax.random.split(KEY, count)
  return np.asarray(jax.jit(jax.vmap(lambda key: one(key, 1, scale)))(keys), np.float64)


# The estimator.


@pytest.mark.parametrize(
  ("loss", "gradient"),
  [
    (lambda x: jnp.sum(x[0]) - 3 * x[1, 1], lambda x, s: [[1, 1], [0, -3], [0, 0]]),
    (lambda x: jnp.sum(x**2) + x[0, 0] * x[1, 0], None),
    # Smoothing shows in odd terms from the third on: the mean of (x + σε)³ is x³ + 3σ²x.
    (lambda x: jnp.sum(x**3), lambda x, s: 3 * x**2 + 3 * s**2),
  ],
  ids=["linear", "quadratic", "cubic"],
)
def test_mean_is_the_gradient_of_the_smoothed_loss(loss, gradient):
  scale, count = 0.5, 20_000
  expected = np.asarray(gradient(X, scale) if gradient else jax.grad(loss)(X))
  drawn = single_pairs(loss, count, scale)
  error = drawn.std(axis=0) / np.sqrt(count)
  assert error.max() < 0.2
  assert np.abs((drawn.mean(axis=0) - expected) / error).max() < 4


def test_covariance_of_one_pair_is_that_of_the_closed_form():
  """For a quadratic one pair gives ε εᵀ g, whose covariance is |g|² I + g gᵀ."""
  g = np.asarray(2 * X, np.float64).ravel()
  drawn = single_pairs(lambda x: jnp.sum(x**2), 20_000).reshape(-1, 6)
  expected = g @ g * np.eye(6) + np.outer(g, g)
  np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.05 * (g @ g))


def test_pairs_are_averaged_over_noise_of_their_own():
  pairs = 5
  noise = np.stack([jax.random.normal(jax.random.fold_in(KEY, k), X.shape) for k in range(pairs)])
  slope = np.arange(6, dtype=np.float32).reshape(3, 2)
  expected = np.mean([e * np.sum(e * slope) for e in noise], axis=0)
  # Exact in each direction for a linear loss, whatever its value and the scale.
  for scale in (0.5, 4.0):
    drawn = estimate(lambda x: jnp.sum(slope * x) + 1.0, pairs, scale)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-4)


def test_an_even_loss_gives_exactly_zero():
  assert np.all(estimate(lambda x: 100.0 + jnp.sum(jnp.abs(x - X)), 7) == 0)
  assert np.all(estimate(lambda x: 100.0 + jnp.sum(x - X), 7) != 0)


def test_what_may_not_be_perturbed_is_not():
  perturbed = EVERYWHERE.at[1].set(False)

  def loss(x):
    return jnp.sum(x) + jnp.where(jnp.all(x[1] == X[1]), 0.0, jnp.nan)

  drawn = estimate(loss, 4, perturbed=perturbed)
  assert np.all(drawn[1] == 0)
  assert np.all(drawn[[0, 2]] != 0)
  assert np.all(np.isnan(estimate(loss, 4)))


# The meta-gradient: inner loss of a row ½‖θ - x‖², x and rating given by its token.


def make_problem(outer_loss):
  return estimators.Problem(
    rate=lambda eta, batch: jnp.stack([eta[batch.tokens_BxL[:, 1]], jnp.ones(ROWS * T)], axis=1),
    losses=lambda theta, batch: (
      0.5
      * jnp.sum((theta[None, :] - POINTS[batch.tokens_BxL[:, 1]]) ** 2, -1, keepdims=True)
      * jnp.array([[1.0, 0.0]])
    ),
    outer_loss=outer_loss,
    optimizer=optax.adam(0.3, eps_root=1e-12),
    datapoint="document",
  )


def smooth_loss(theta, batch):
  return 0.5 * jnp.sum((theta - 1.0) ** 2)


def share_below(theta, batch):
  """A step function: how many of 101 lines lie above θ_0."""
  return jnp.mean((theta[0] < jnp.linspace(-1, 1, 101)).astype(jnp.float32))


def rows(tokens):
  """One document a row; the second datapoint of each is not there."""
  return pack([[[11, int(token)]] for token in tokens], segments=2)


ETA = jnp.asarray(np.random.default_rng(2).normal(size=VOCAB), jnp.float32)
START = jnp.array([0.2, -0.3])
INNER = stacked([rows(range(ROWS)), rows(range(2, 2 + ROWS))])


SMOOTH, STEPS = make_problem(smooth_loss), make_problem(share_below)


@functools.cache
def compiled(problem, config):
  return jax.jit(estimators.make_estimator(config, problem))


def meta_gradient(problem, name="evolution", key=KEY, pairs=8, scale=0.1, eta=ETA):
  config = MetaConfig(estimator=name, evolution_pairs=pairs, evolution_scale=scale)
  opt_state = problem.optimizer.init(START)
  # Warm moments: Adam's first step has no scale.
  _, opt_state = problem.optimizer.update(jnp.array([0.5, 1.0]), opt_state, START)
  return compiled(problem, config)(eta, START, opt_state, INNER, rows([0]), key)


def cosine(a, b):
  return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_many_pairs_converge_to_the_exact_meta_gradient():
  exact, exact_window = meta_gradient(SMOOTH, "reverse")
  cosines = []
  for pairs in (4, 64, 1024):
    gradient, window = meta_gradient(SMOOTH, pairs=pairs)
    cosines.append(cosine(gradient, exact))
    # The unroll that goes on is that of the ratings as they are.
    for a, b in zip(jax.tree.leaves(window), jax.tree.leaves(exact_window), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5)
  assert cosines[-1] > 0.95
  assert cosines[0] < cosines[-1]
  np.testing.assert_allclose(np.linalg.norm(gradient), np.linalg.norm(exact), rtol=0.15)


def test_same_key_same_bits():
  first, again, other = (meta_gradient(SMOOTH, key=jax.random.key(seed))[0] for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert np.all((first != other) == (first != 0))


def test_a_key_is_needed():
  with pytest.raises(TypeError, match="estimation_key"):
    meta_gradient(SMOOTH, key=None)


def test_datapoints_that_are_not_there_take_no_part():
  """Their ratings are not perturbed: the rater's gradient by them is exactly zero."""

  def rate(eta, batch):
    present, absent = eta
    return jnp.stack([present[batch.tokens_BxL[:, 1]], absent[batch.tokens_BxL[:, 1]]], axis=1)

  gradient, _ = meta_gradient(dataclasses.replace(SMOOTH, rate=rate), eta=(ETA, ETA))
  used = np.isin(np.arange(VOCAB), np.asarray(INNER.tokens_BxL[..., 1]))
  assert np.all((np.asarray(gradient[0]) != 0) == used)
  assert np.all(np.asarray(gradient[1]) == 0)


def test_it_lowers_a_loss_that_has_no_gradient():
  exact, start = meta_gradient(STEPS, "reverse")
  assert np.all(np.asarray(exact) == 0)
  gradient, _ = meta_gradient(STEPS, pairs=64, scale=0.5)
  lowered = ETA - 0.5 * gradient / jnp.linalg.norm(gradient)
  raised = ETA + 0.5 * gradient / jnp.linalg.norm(gradient)
  losses = [
    float(meta_gradient(STEPS, "reverse", eta=eta)[1].outer_loss) for eta in (lowered, raised)
  ]
  assert losses[0] < start.outer_loss < losses[1]


# Keys and runs.


def test_keys_differ_by_member_and_step_and_from_those_of_fresh_models():
  def data(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())

  keys = {data(estimators.estimation_key(KEY, i, step)) for i in range(3) for step in range(3)}
  keys |= {
    data(jax.random.fold_in(jax.random.fold_in(KEY, i), g)) for i in range(3) for g in range(3)
  }
  assert len(keys) == 18


def test_a_run_towards_accuracy_trains_and_resumes_to_the_same_bits(tmp_path):
  config = tiny_run(inner_optimizer=OptimizerConfig(learning_rate=0.05), checkpoint_every=2)
  meta = dataclasses.replace(
    config.meta,
    steps=4,
    estimator="evolution",
    outer_loss="error_rate",
    evolution_pairs=3,
    evolution_scale=3.0,
  )
  config = dataclasses.replace(config, meta=meta)
  trainer.meta_train(config, tmp_path, progress=False)
  whole = metrics(tmp_path)
  losses = np.array([row["outer_loss"] for row in whole])
  assert np.all((losses > 0) & (losses <= 1))
  assert sum(norm > 0 for row in whole for norm in row["meta_gradient_norm"]) > 4
  assert whole[-1]["skipped"] == 0

  shutil.rmtree(tmp_path / trainer.CHECKPOINTS / "4")
  shutil.rmtree(tmp_path / trainer.RATER)
  trainer.meta_train(config, tmp_path, progress=False)
  assert metrics(tmp_path) == whole


def metrics(folder):
  rows = read_metrics(folder / trainer.METRICS)
  return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
