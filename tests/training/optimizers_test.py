"""Optimisers from their config against Optax, and what differs from it on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datarater.config import OptimizerConfig
from datarater.errors import InputError
from datarater.training import optimizers

PARAMETERS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[0.5]])}
GRADIENTS = [
  {"a": jnp.array([3.0, -1.0]) * k, "b": jnp.array([[0.2 - k]])} for k in (1.0, 0.1, -2.0)
]


def trajectory(optimizer, gradients=GRADIENTS):
  parameters, state = PARAMETERS, optimizer.init(PARAMETERS)
  for gradient in gradients:
    updates, state = optimizer.update(gradient, state, parameters)
    parameters = optax.apply_updates(parameters, updates)
  return parameters


def assert_close(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def rates(config, steps, run=None):
  schedule = optimizers.learning_rate_schedule(config, run)
  return [float(schedule(jnp.asarray(step))) for step in range(steps)]


def test_constant():
  assert rates(OptimizerConfig(learning_rate=0.5), 3) == [0.5] * 3


def test_warm_up_then_constant():
  config = OptimizerConfig(learning_rate=0.4, warmup_steps=4)
  np.testing.assert_allclose(rates(config, 7), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4], rtol=1e-6)
  one = OptimizerConfig(learning_rate=0.4, warmup_steps=1)
  np.testing.assert_allclose(rates(one, 3), [0.4] * 3, rtol=1e-6)


def test_cosine_to_zero():
  config = OptimizerConfig(learning_rate=0.4, schedule="cosine")
  expected = [0.2 * (1 + np.cos(np.pi * k / 8)) for k in range(9)]
  np.testing.assert_allclose(rates(config, 9, run=8), expected, atol=1e-7)


def test_warm_up_then_cosine_over_the_rest():
  config = OptimizerConfig(learning_rate=0.4, schedule="cosine", warmup_steps=2)
  expected = [0.2, 0.4] + [0.2 * (1 + np.cos(np.pi * k / 6)) for k in range(7)]
  np.testing.assert_allclose(rates(config, 9, run=8), expected, atol=1e-7)


def test_a_cosine_needs_a_length():
  with pytest.raises((ValueError, InputError), match="number of steps"):
    optimizers.make_optimizer(OptimizerConfig(schedule="cosine"))


@pytest.mark.parametrize(
  ("config", "expected"),
  [
    ({"name": "sgd"}, optax.sgd(0.1)),
    ({"name": "momentum", "momentum": 0.7}, optax.sgd(0.1, momentum=0.7)),
    ({"name": "adam"}, optax.adam(0.1, 0.9, 0.99, 1e-8, 1e-12)),
    (
      {"name": "adamw", "b1": 0.8, "weight_decay": 0.3},
      optax.adamw(0.1, 0.8, 0.99, 1e-8, 1e-12, weight_decay=0.3),
    ),
    (
      {"name": "momentum", "clip_norm": 0.5},
      optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9)),
    ),
  ],
  ids=["sgd", "momentum", "adam", "adamw", "clipped"],
)
def test_each_name_is_its_optax_optimiser(config, expected):
  found = optimizers.make_optimizer(OptimizerConfig(learning_rate=0.1, **config))
  assert_close(trajectory(found), trajectory(expected))


def test_the_schedule_reaches_the_updates():
  config = OptimizerConfig(name="sgd", learning_rate=0.4, schedule="cosine", warmup_steps=2)
  moved = [PARAMETERS["a"] - trajectory(optimizers.make_optimizer(config, 8), [GRADIENTS[0]])["a"]]
  np.testing.assert_allclose(moved[0], 0.2 * GRADIENTS[0]["a"], rtol=1e-6)


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0])
def test_the_safe_clip_is_optax_own_where_there_is_a_norm(max_norm):
  for gradient in GRADIENTS:
    safe, _ = optimizers.safe_clip_by_global_norm(max_norm).update(gradient, optax.EmptyState())
    plain, _ = optax.clip_by_global_norm(max_norm).update(gradient, optax.EmptyState())
    assert_close(safe, plain)


def derivative_at_zero(clip):
  """Of a function of the clipped gradients, at gradients that are all zero."""

  def clipped(gradient):
    return jnp.sum(clip.update({"g": gradient}, optax.EmptyState())[0]["g"] * jnp.array([1.0, 2.0]))

  return np.asarray(jax.grad(clipped)(jnp.zeros(2)))


def test_at_zero_gradients_the_safe_clip_has_a_derivative():
  """Optax's has none: kept here as the reason for ours."""
  np.testing.assert_allclose(derivative_at_zero(optimizers.safe_clip_by_global_norm(1.0)), [1, 2])
  assert np.all(np.isnan(derivative_at_zero(optax.clip_by_global_norm(1.0))))


def test_adam_without_eps_root_has_no_derivative_at_zero_gradients():
  def moved(gradient, eps_root):
    optimizer = optimizers.make_optimizer(OptimizerConfig(name="adam", eps_root=eps_root))
    return jnp.sum(optimizer.update(gradient, optimizer.init(gradient))[0])

  slope = jax.grad(moved)
  assert np.all(np.isfinite(slope(jnp.zeros(2), 1e-12)))
  assert np.all(np.isnan(slope(jnp.zeros(2), 0.0)))


def test_eps_root_changes_little():
  """1e-12 is worth 0.5% at gradients of 1e-5."""
  gradient = [jax.tree.map(lambda x: jnp.full_like(x, 1e-5), PARAMETERS)]
  moved = []
  for eps_root in (0.0, 1e-12):
    config = OptimizerConfig(name="adam", learning_rate=1.0, eps_root=eps_root, eps=0.0)
    moved.append(trajectory(optimizers.make_optimizer(config), gradient)["a"] - PARAMETERS["a"])
  np.testing.assert_allclose(moved[1], moved[0] / np.sqrt(1.01), rtol=1e-4)
