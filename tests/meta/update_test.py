"""The meta-update against Adam written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from datarater.config import MetaConfig
from datarater.meta import update

CONFIG = MetaConfig(
  population=2, learning_rate=0.1, warmup_steps=0, weight_decay=0.0, clip_norm=0.0, eps=1e-8
)


def run(config, gradients_SxPxN, eta):
  """η after one meta-update for each of S gradients of P members."""
  transform = update.member_transform(config)
  moments = update.init_moments(config, eta)
  for step, grads_P in enumerate(gradients_SxPxN):
    updates_P, moments = jax.vmap(transform.update)(grads_P, moments)
    eta = update.apply_update(config, eta, updates_P, jnp.asarray(step))
  return eta


def adam(gradients, b1, b2, eps):
  """Adam's direction for each of a sequence of gradients (Kingma & Ba 2015, algorithm 1)."""
  m = v = 0.0
  for t, g in enumerate(gradients, 1):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    yield m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def test_one_adam_a_member_and_the_mean_of_their_updates():
  """Not one Adam on the mean gradient, a failure of public re-implementations.

  Adam's first direction is the sign of its gradient. Members with gradients 100 and -1 move by +1
  and -1, which cancel; the mean gradient 49.5 would move by 1.
  """
  eta = run(CONFIG, jnp.array([[[100.0], [-1.0]]]), jnp.zeros(1))
  np.testing.assert_allclose(eta, [0.0], atol=1e-6)


def test_moments_are_each_members_own_over_steps():
  rng = np.random.default_rng(0)
  gradients_SxPxN = rng.normal(size=(5, 2, 3)) * np.array([1.0, 30.0])[None, :, None]
  eta = np.array([1.0, -2.0, 0.5])
  result = run(CONFIG, jnp.asarray(gradients_SxPxN, jnp.float32), jnp.asarray(eta, jnp.float32))
  directions = [
    list(adam(gradients_SxPxN[:, i], CONFIG.b1, CONFIG.b2, CONFIG.eps)) for i in range(2)
  ]
  expected = eta - CONFIG.learning_rate * np.mean(directions, axis=0).sum(axis=0)
  np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_decay_is_decoupled_and_applied_once():
  """Three members, no gradient: η shrinks by α λ, neither three times nor through Adam."""
  config = MetaConfig(
    population=3, learning_rate=0.1, warmup_steps=0, weight_decay=0.2, clip_norm=0.0
  )
  eta = run(config, jnp.zeros((1, 3, 2)), jnp.array([1.0, -5.0]))
  np.testing.assert_allclose(eta, np.array([1.0, -5.0]) * (1 - 0.1 * 0.2), rtol=1e-6)


def test_decay_follows_the_warm_up():
  config = MetaConfig(
    population=1, learning_rate=0.1, warmup_steps=4, weight_decay=0.2, clip_norm=0.0
  )
  eta = run(config, jnp.zeros((2, 1, 1)), jnp.array([1.0]))
  np.testing.assert_allclose(eta, [(1 - 0.025 * 0.2) * (1 - 0.05 * 0.2)], rtol=1e-6)


def test_warm_up():
  config = MetaConfig(learning_rate=0.4, warmup_steps=4)
  rates = [float(update.learning_rate(config, jnp.asarray(k))) for k in range(7)]
  np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4], rtol=1e-6)
  constant = MetaConfig(learning_rate=0.4, warmup_steps=0)
  assert float(update.learning_rate(constant, jnp.asarray(0))) == np.float32(0.4)


def test_a_cosine_falls_from_the_end_of_the_warm_up_to_zero_after_the_last_step():
  config = MetaConfig(learning_rate=0.4, warmup_steps=4, steps=11, schedule="cosine")
  rates = np.array([float(update.learning_rate(config, jnp.asarray(k))) for k in range(12)])
  np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
  np.testing.assert_allclose(rates[7], 0.2, rtol=1e-6)  # half way
  assert (np.diff(rates[3:]) < 0).all()
  assert rates[10] > 0.01
  np.testing.assert_allclose(rates[11], 0, atol=1e-7)


def test_each_member_is_clipped_by_its_own_global_norm():
  """Seen in Adam's first moment: 0.1 of the clipped gradient."""
  config = MetaConfig(population=2, clip_norm=1.0)
  transform = update.member_transform(config)
  eta = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
  moments = update.init_moments(config, eta)
  gradients = {"a": jnp.array([[3.0], [0.03]]), "b": jnp.array([[4.0], [0.04]])}
  _, moments = jax.vmap(transform.update)(gradients, moments)
  mu = optax.tree.get(moments, "mu")
  np.testing.assert_allclose(mu["a"][:, 0], [0.06, 0.003], rtol=1e-5)
  np.testing.assert_allclose(mu["b"][:, 0], [0.08, 0.004], rtol=1e-5)


def test_moments_start_at_zero_with_a_leading_axis():
  moments = update.init_moments(MetaConfig(population=3), {"a": jnp.ones((2, 5))})
  assert optax.tree.get(moments, "mu")["a"].shape == (3, 2, 5)
  assert optax.tree.get(moments, "count").shape == (3,)
  assert all(np.all(np.asarray(x) == 0) for x in jax.tree.leaves(moments))
