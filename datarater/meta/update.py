"""The meta-update: one Adam a member, updates averaged, decoupled weight decay applied once.

    u_i = Adam_i(clip(g_i)),    η ← η - α_k (1/P Σ_i u_i + λ η)

Source: Calian et al. 2025, Algorithm 1 and section 4 (warm-up, decay 0.1, global-norm clip).
"""

import jax
import jax.numpy as jnp
import optax

from datarater.config import MetaConfig
from datarater.types import PyTree


def member_transform(config: MetaConfig) -> optax.GradientTransformation:
  """Clip by global norm, then Adam: what each member does with its own meta-gradient."""
  adam = optax.scale_by_adam(config.b1, config.b2, config.eps)
  if not config.clip_norm:
    return adam
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)


def init_moments(config: MetaConfig, eta: PyTree) -> PyTree:
  """Zero moments with a leading axis P."""
  single = member_transform(config).init(eta)
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (config.population, *jnp.shape(x))), single)


def learning_rate(config: MetaConfig, step: jax.Array) -> jax.Array:
  """α_k: linear warm-up from α/warmup at step 0 to α at step warmup - 1, then the schedule."""
  warmup = max(1, config.warmup_steps)
  rate = config.learning_rate * jnp.minimum(1.0, (step + 1) / warmup)
  if config.schedule == "cosine":
    done = jnp.clip((step + 1 - warmup) / max(1, config.steps + 1 - warmup), 0.0, 1.0)
    rate *= (1.0 + jnp.cos(jnp.pi * done)) / 2.0
  return rate


def apply_update(config: MetaConfig, eta: PyTree, updates_P: PyTree, step: jax.Array) -> PyTree:
  """η after the averaged update; `updates_P` has a leading axis P."""
  rate = learning_rate(config, step)

  def move(e, u):
    return (e - rate * (jnp.mean(u, axis=0) + config.weight_decay * e)).astype(e.dtype)

  return jax.tree.map(move, eta, updates_P)
