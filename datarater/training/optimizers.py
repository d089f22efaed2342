"""Optax optimisers from their config, safe to differentiate through."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from datarater.config import OptimizerConfig

CLIP_EPSILON = 1e-30
"""Under the root of the norm: with all gradients zero, optax's own clip has NaN derivatives."""


def safe_clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
  """Scales updates down to a global norm of `max_norm`; differentiable at zero gradients too."""

  def update(updates: Any, state: Any, params: Any = None):
    del params
    squares = sum(jnp.sum(jnp.square(u)) for u in jax.tree.leaves(updates))
    factor = jnp.minimum(1.0, max_norm / jnp.sqrt(squares + CLIP_EPSILON))
    return jax.tree.map(lambda u: u * factor.astype(u.dtype), updates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def learning_rate_schedule(config: OptimizerConfig, steps: int | None) -> optax.Schedule:
  """Linear warm-up, then constant, or a cosine to zero over `steps`."""
  if config.schedule == "cosine":
    if steps is None:
      raise ValueError("a cosine schedule needs the number of steps it runs over")
    after = optax.cosine_decay_schedule(config.learning_rate, max(1, steps - config.warmup_steps))
  else:
    after = optax.constant_schedule(config.learning_rate)
  if not config.warmup_steps:
    return after
  # The first step already moves: rate / warmup at step 0, the full rate at step warmup - 1.
  first = config.learning_rate / config.warmup_steps
  warmup = optax.linear_schedule(first, config.learning_rate, max(1, config.warmup_steps - 1))
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(
  config: OptimizerConfig, steps: int | None = None
) -> optax.GradientTransformation:
  """The optimiser of a config; `steps` is the length of the run, for schedules that need it."""
  rate = learning_rate_schedule(config, steps)
  adam: dict[str, Any] = {
    "b1": config.b1,
    "b2": config.b2,
    "eps": config.eps,
    "eps_root": config.eps_root,
  }
  if config.name == "adamw":
    core = optax.adamw(rate, **adam, weight_decay=config.weight_decay)
  elif config.name == "adam":
    core = optax.adam(rate, **adam)
  elif config.name == "momentum":
    core = optax.sgd(rate, momentum=config.momentum)
  else:
    core = optax.sgd(rate)
  if config.clip_norm:
    return optax.chain(safe_clip_by_global_norm(config.clip_norm), core)
  return core
