"""The population of inner models: they persist from one meta-step to the next and start anew at
staggered ages, each from its own seed (Calian et al. 2025, section 4).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from datarater.config import MetaConfig
from datarater.types import InnerState, PyTree

InitFn = Callable[[jax.Array], PyTree]
"""key -> fresh inner parameters."""


def fresh_member(
  init: InitFn,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  member: jax.Array | int,
  generation: jax.Array | int,
) -> InnerState:
  """A new inner model; its parameters differ by member and by generation."""
  theta = init(jax.random.fold_in(jax.random.fold_in(key, member), generation))
  return InnerState(
    theta=theta,
    opt_state=optimizer.init(theta),
    age=jnp.zeros((), jnp.int32),
    generation=jnp.asarray(generation, jnp.int32),
  )


def init_population(
  config: MetaConfig, init: InitFn, optimizer: optax.GradientTransformation, key: jax.Array
) -> InnerState:
  """All members of generation 0, with a leading axis P."""
  members = jnp.arange(config.population)
  return jax.vmap(lambda i: fresh_member(init, optimizer, key, i, 0))(members)


def is_reset_step(config: MetaConfig, member: jax.Array, step: jax.Array) -> jax.Array:
  """Whether `member` starts anew before meta-step `step`: every lifetime, members evenly apart."""
  offset = member * config.lifetime // config.population
  return (step > 0) & ((step + offset) % config.lifetime == 0)


def renew(
  config: MetaConfig,
  init: InitFn,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  state: InnerState,
  member: jax.Array,
  step: jax.Array,
) -> tuple[InnerState, jax.Array]:
  """(the member, re-initialised if its time has come; whether it was)."""
  due = is_reset_step(config, member, step)
  renewed = jax.lax.cond(
    due,
    lambda: fresh_member(init, optimizer, key, member, state.generation + 1),
    lambda: state,
  )
  return renewed, due
