"""The population: different members, staggered ages, fresh parameters at each reset."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datarater.config import MetaConfig
from datarater.meta import population

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(0.1)


def init(key):
  return jax.random.normal(key, (4,))


def reset_steps(config, steps):
  """bool [steps, P]: who starts anew before each meta-step."""
  members = jnp.arange(config.population)
  return np.array(
    [population.is_reset_step(config, members, jnp.asarray(step)) for step in range(steps)]
  )


@pytest.mark.parametrize(("size", "lifetime"), [(1, 3), (2, 5), (3, 7), (4, 4), (8, 20)])
def test_resets_are_staggered_and_every_lifetime(size, lifetime):
  """All members reset together is a failure of public re-implementations."""
  config = MetaConfig(population=size, lifetime=lifetime)
  due = reset_steps(config, 3 * lifetime)
  assert not due[0].any(), "a fresh population is not reset"
  assert due.sum(axis=1).max() == 1, "two members at once"
  for member in range(size):
    when = np.flatnonzero(due[:, member])
    assert 0 < when[0] <= lifetime
    assert np.all(np.diff(when) == lifetime)
    assert len(when) in (2, 3)
  gaps = np.diff(np.flatnonzero(due.any(axis=1)))
  assert gaps.max(initial=0) - gaps.min(initial=lifetime) <= 1, "ages are evenly apart"


def test_short_lifetimes_still_reset_everyone():
  due = reset_steps(MetaConfig(population=5, lifetime=2), 8)
  assert np.all(due[1:].sum(axis=0) >= 3)
  assert not due[1:].all(axis=1).any()


def test_members_start_with_different_parameters():
  members = population.init_population(MetaConfig(population=4), init, OPTIMIZER, KEY)
  theta_Px4 = np.asarray(members.theta)
  assert len(np.unique(theta_Px4, axis=0)) == 4
  for leaf in (members.age, members.generation):
    np.testing.assert_array_equal(leaf, np.zeros(4, np.int32))


def test_parameters_differ_by_seed():
  thetas = [
    population.fresh_member(init, OPTIMIZER, jax.random.key(seed), 0, 0).theta for seed in (0, 1)
  ]
  assert not np.array_equal(*thetas)


def test_a_reset_member_starts_from_parameters_of_its_own():
  config = MetaConfig(population=2, lifetime=3)
  member = population.fresh_member(init, OPTIMIZER, KEY, 0, 0)
  _, opt_state = OPTIMIZER.update(jnp.ones(4), member.opt_state)
  used = member.replace(theta=member.theta + 1, opt_state=opt_state, age=jnp.asarray(3))
  args = (config, init, OPTIMIZER, KEY, used)

  kept, renewed = population.renew(*args, jnp.asarray(0), jnp.asarray(2))
  assert not renewed
  assert jax.tree.all(jax.tree.map(np.array_equal, kept, used))

  seen = [np.asarray(member.theta), np.asarray(used.theta)]
  seen.append(np.asarray(population.fresh_member(init, OPTIMIZER, KEY, 1, 1).theta))
  for generation in (1, 2):
    fresh, renewed = population.renew(*args, jnp.asarray(0), jnp.asarray(3))
    assert renewed
    assert fresh.age == 0
    assert fresh.generation == generation
    assert all(not np.array_equal(fresh.theta, other) for other in seen)
    assert all(np.all(np.asarray(x) == 0) for x in jax.tree.leaves(fresh.opt_state))
    seen.append(np.asarray(fresh.theta))
    args = (*args[:4], fresh)
