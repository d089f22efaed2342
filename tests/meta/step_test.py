"""The meta-step against Algorithm 1 written out by hand, on a problem small enough for that.

Inner loss of a row: ½‖θ - x‖², x given by its token. Outer loss: ½‖θ - 1‖². Rating: a table over
tokens. A token in the outer batch can make one member's outer loss infinite, or its gradient NaN.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import VOCAB, assert_same_tree, pack, stacked

from datarater.config import MetaConfig
from datarater.meta import estimators, population, update
from datarater.meta import step as steps

KEY = jax.random.key(7)
OPTIMIZER = optax.adam(0.05, eps_root=1e-12)
POINTS = jnp.asarray(np.random.default_rng(1).normal(size=(VOCAB, 2)), jnp.float32)
INFINITE_LOSS, NAN_GRADIENT = 9, 10
"""Tokens of the outer batch that break a member's step."""

CONFIG = MetaConfig(
  population=3,
  unroll_length=2,
  lifetime=100,
  learning_rate=0.1,
  warmup_steps=2,
  weight_decay=0.01,
  clip_norm=0.05,
)


def outer_loss(theta, batch):
  loss = 0.5 * jnp.sum((theta - 1.0) ** 2)
  token = batch.tokens_BxL[0, 1]
  # √0 is finite, its derivative is not.
  scale = jnp.where(token == NAN_GRADIENT, 0.0, 1.0)
  loss += 1e-6 * jnp.sqrt(scale * jnp.sum(theta**2))
  return jnp.where(token == INFINITE_LOSS, jnp.inf, loss)


PROBLEM = estimators.Problem(
  rate=lambda eta, batch: eta[batch.tokens_BxL[:, 1]][:, None],
  losses=lambda theta, batch: (
    0.5 * jnp.sum((theta[None, :] - POINTS[batch.tokens_BxL[:, 1]]) ** 2, axis=-1, keepdims=True)
  ),
  outer_loss=outer_loss,
  optimizer=OPTIMIZER,
  datapoint="sequence",
)


def init_inner(key):
  return jax.random.normal(key, (2,))


def rows(tokens):
  return pack([[[11, int(token)]] for token in tokens])


def inputs(config, seed, broken=()):
  """(inner PxTxB, outer PxB) with tokens below 9; `broken`: {member: token} of its outer batch."""
  rng = np.random.default_rng(seed)
  shape = (config.population, config.unroll_length, 4)
  inner = stacked([stacked([rows(t) for t in m]) for m in rng.integers(0, 9, shape)])
  outer = stacked([rows([dict(broken).get(i, 0), 0]) for i in range(config.population)])
  return inner, outer


def member_of(tree, i):
  return jax.tree.map(lambda x: x[i], tree)


class Run:
  """A meta-step compiled as the trainer compiles it, and how often it was."""

  def __init__(self, config=CONFIG, estimator="mixed"):
    self.config, self.traces = config, 0
    estimate = estimators.ESTIMATORS[estimator](PROBLEM)
    meta_step = steps.make_meta_step(config, estimate, init_inner, OPTIMIZER, KEY, "sequence")

    def counted(*args):
      self.traces += 1
      return meta_step(*args)

    self._step = jax.jit(counted, donate_argnums=0)

  def start(self):
    eta = jnp.zeros(VOCAB)
    return jax.jit(lambda: steps.init_state(self.config, eta, init_inner, OPTIMIZER, KEY))()

  def step(self, state, seed, broken=()):
    """(state, metrics); the state given stays readable."""
    return self._step(jax.tree.map(jnp.copy, state), *inputs(self.config, seed, broken))


@pytest.fixture(scope="module")
def run():
  return Run()


def by_hand(config, state, seed):
  """(state's eta, moments, thetas, optimiser states) after one meta-step of Algorithm 1."""
  inner, outer = inputs(config, seed)
  estimate = jax.jit(estimators.reverse(PROBLEM))
  adam = optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.scale_by_adam(config.b1, config.b2, config.eps),
  )
  updates, moments, thetas, opt_states = [], [], [], []
  for i in range(config.population):
    start = member_of(state.members, i)
    gradient, window = estimate(
      state.eta, start.theta, start.opt_state, member_of(inner, i), member_of(outer, i)
    )
    direction, moment = adam.update(gradient, member_of(state.moments, i))
    updates.append(np.asarray(direction, np.float64))
    moments.append(moment)
    thetas.append(window.theta)
    opt_states.append(window.opt_state)
  rate = config.learning_rate * min(1.0, (int(state.step) + 1) / config.warmup_steps)
  eta = np.asarray(state.eta, np.float64)
  eta = eta - rate * (np.mean(updates, axis=0) + config.weight_decay * eta)
  return eta, stacked(moments), stacked(thetas), stacked(opt_states)


def assert_close(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6), a, b)


def test_three_steps_are_algorithm_1(run):
  state = run.start()
  for seed in range(3):
    eta, moments, thetas, opt_states = by_hand(CONFIG, state, seed)
    state, metrics = run.step(state, seed)
    assert_close(state.eta, eta)
    assert_close(state.moments, moments)
    # Inner models persist: the next step starts from these.
    assert_close(state.members.theta, thetas)
    assert_close(state.members.opt_state, opt_states)
    assert int(state.step) == seed + 1
    np.testing.assert_array_equal(state.members.age, [seed + 1] * 3)
    np.testing.assert_array_equal(metrics["age"], [seed] * 3)


def test_inner_models_persist_and_train(run):
  """Else the outer loss stays at its start: a failure of public re-implementations."""
  state = run.start()
  before = np.asarray(state.members.theta)
  losses = []
  for seed in range(40):
    state, metrics = run.step(state, seed)
    losses.append(np.asarray(metrics["outer_loss"]).mean())
    after = np.asarray(state.members.theta)
    assert np.all(np.any(after != before, axis=1))
    before = after
  assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_optimiser_state_persists(run):
  state = run.start()
  for seed in range(3):
    state, _ = run.step(state, seed)
  count = optax.tree.get(state.members.opt_state, "count")
  np.testing.assert_array_equal(count, [3 * CONFIG.unroll_length] * 3)


def test_ratings_learn_which_tokens_help(run):
  """The table ranks tokens by how near their point lies to the target."""
  state = run.start()
  for seed in range(150):
    state, _ = run.step(state, seed)
  near = -np.sum((np.asarray(POINTS)[:9] - 1.0) ** 2, axis=1)
  ratings = np.asarray(state.eta)[:9]
  assert np.corrcoef(np.argsort(np.argsort(near)), np.argsort(np.argsort(ratings)))[0, 1] > 0.7


def test_estimators_agree(run):
  reverse = Run(estimator="reverse")
  state, _ = run.step(run.start(), 0)
  other, _ = reverse.step(reverse.start(), 0)
  assert_close(state.eta, other.eta)


def test_compiled_once(run):
  state = run.start()
  for seed in range(4):
    state, _ = run.step(state, seed)
  assert run.traces == 1


def test_state_is_donated():
  run = Run()
  state = run.start()
  jax.block_until_ready(run._step(state, *inputs(CONFIG, 0)))
  assert all(x.is_deleted() for x in jax.tree.leaves((state.eta, state.members.theta)))


def test_members_reset_at_staggered_ages():
  config = dataclasses.replace(CONFIG, lifetime=4)
  run = Run(config)
  state = run.start()
  resets, first = [], np.asarray(state.members.theta)
  estimate = jax.jit(estimators.mixed(PROBLEM))
  for seed in range(8):
    before = state
    state, metrics = run.step(state, seed)
    renewed = np.flatnonzero(np.asarray(state.members.generation) > before.members.generation)
    resets += [(seed, int(i)) for i in renewed]
    for i in renewed:
      assert metrics["age"][i] == 0
      fresh = population.fresh_member(
        init_inner, OPTIMIZER, KEY, int(i), int(state.members.generation[i])
      )
      assert not np.array_equal(fresh.theta, first[i])
      # One window after the fresh parameters, not after the old ones.
      inner, outer = (member_of(x, int(i)) for x in inputs(config, seed))
      _, window = estimate(before.eta, fresh.theta, fresh.opt_state, inner, outer)
      assert_close(state.members.theta[i], window.theta)
      # Adam's moments belong to the slot and outlive the inner model.
      assert optax.tree.get(state.moments, "count")[i] == seed + 1
  assert resets == [(2, 2), (3, 1), (4, 0), (6, 2), (7, 1)]
  np.testing.assert_array_equal(state.members.age, [4, 1, 2])


def test_moments_are_zeroed_with_the_model_if_asked():
  config = dataclasses.replace(CONFIG, lifetime=4, reset_moments=True)
  run = Run(config)
  state = run.start()
  counts = []
  for seed in range(5):
    state, _ = run.step(state, seed)
    counts.append(np.asarray(optax.tree.get(state.moments, "count")).tolist())
  assert counts == [[1, 1, 1], [2, 2, 2], [3, 3, 1], [4, 1, 2], [1, 2, 3]]


def test_moments_are_zeroed_even_where_the_reset_step_is_skipped():
  run = Run(dataclasses.replace(CONFIG, lifetime=4, reset_moments=True))
  state = run.start()
  for seed in range(3):  # member 2 starts anew before step 2, which is skipped
    state, _ = run.step(state, seed, {0: INFINITE_LOSS} if seed == 2 else ())
  assert np.asarray(optax.tree.get(state.moments, "count")).tolist() == [2, 2, 0]


@pytest.mark.parametrize("token", [INFINITE_LOSS, NAN_GRADIENT])
def test_a_step_that_is_not_finite_is_skipped_and_counted(run, token):
  state, _ = run.step(run.start(), 0)
  after, metrics = run.step(state, 1, {1: token})
  assert np.isfinite(metrics["outer_loss"][1]) == (token == NAN_GRADIENT)
  assert not (np.isfinite(metrics["outer_loss"][1]) and np.isfinite(metrics["update_norm"][1]))
  assert_same_tree(after.eta, state.eta)
  assert_same_tree(after.moments, state.moments)
  assert_same_tree(member_of(after.members.theta, 1), member_of(state.members.theta, 1))
  assert_same_tree(member_of(after.members.opt_state, 1), member_of(state.members.opt_state, 1))
  for i in (0, 2):
    assert not np.array_equal(after.members.theta[i], state.members.theta[i])
  assert (int(after.skipped), int(after.skipped_in_row), int(after.step)) == (1, 1, 2)
  np.testing.assert_array_equal(after.members.age, [2, 2, 2])

  after, metrics = run.step(after, 2, {0: token, 2: token})
  assert (int(metrics["skipped"]), int(metrics["skipped_in_row"])) == (2, 2)
  after, metrics = run.step(after, 3)
  assert (int(metrics["skipped"]), int(metrics["skipped_in_row"])) == (2, 0)
  assert not np.array_equal(after.eta, state.eta)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(after))


def test_learning_rate_in_the_metrics_is_that_of_the_step(run):
  state, rates = run.start(), []
  for seed in range(3):
    state, metrics = run.step(state, seed)
    rates.append(float(metrics["learning_rate"]))
    expected = update.learning_rate(CONFIG, jnp.asarray(seed))
    assert rates[-1] == float(expected)
  np.testing.assert_allclose(rates, [0.05, 0.1, 0.1], rtol=1e-6)
