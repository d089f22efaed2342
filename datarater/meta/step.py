"""One meta-step over the whole population, as a pure function to be compiled once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from datarater.config import MetaConfig
from datarater.meta import population, update
from datarater.meta.estimators import MetaGradientFn, estimation_key
from datarater.meta.weighting import effective_sample_size, weight_entropy
from datarater.runtime.sharding import MEMBER
from datarater.types import Batch, Datapoint, InnerState, MetaState, PyTree, domain_by_datapoint

Metrics = dict[str, jax.Array]
MetaStepFn = Callable[[MetaState, Batch, Batch], tuple[MetaState, Metrics]]
"""(state, inner batches PxTxB, outer batches PxB) -> (state, metrics; arrays lead with P)."""


def init_state(
  config: MetaConfig,
  eta: PyTree,
  init_inner: population.InitFn,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
) -> MetaState:
  """The state before the first meta-step."""
  return MetaState(
    eta=eta,
    moments=update.init_moments(config, eta),
    members=population.init_population(config, init_inner, optimizer, key),
    step=jnp.zeros((), jnp.int32),
    skipped=jnp.zeros((), jnp.int32),
    skipped_in_row=jnp.zeros((), jnp.int32),
  )


def make_meta_step(
  config: MetaConfig,
  estimate: MetaGradientFn,
  init_inner: population.InitFn,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  datapoint: Datapoint,
  groups: int = 1,
) -> MetaStepFn:
  """The meta-step of Algorithm 1; the members of a group run one after the other.

  datapoint: What the ratings in the metrics are of. groups: Of equal size, side by side on the axis
  `member` of a mesh.

  Where a member's outer loss or meta-gradient is not finite, its inner model goes back to where the
  window began, and nobody's meta-update is applied in that step: it is skipped and counted.
  """
  transform = update.member_transform(config)

  def member_step(state: MetaState, inputs):
    index, member, moments, inner, outer = inputs
    member, renewed = population.renew(
      config, init_inner, optimizer, key, member, index, state.step
    )
    if config.reset_moments:
      zeros = transform.init(state.eta)
      moments = jax.tree.map(lambda z, m: jnp.where(renewed, z, m), zeros, moments)
    noise_key = estimation_key(key, index, state.step)
    grads, window = estimate(state.eta, member.theta, member.opt_state, inner, outer, noise_key)
    updates, moved = transform.update(grads, moments)
    finite = jnp.isfinite(window.outer_loss) & jnp.isfinite(optax.tree.norm(grads))
    theta, opt_state = _choose(
      finite, (window.theta, window.opt_state), (member.theta, member.opt_state)
    )
    advanced = InnerState(theta, opt_state, member.age + 1, member.generation)
    metrics = {
      "outer_loss": window.outer_loss,
      "age": member.age,
      "meta_gradient_norm": optax.tree.norm(grads),
      "update_norm": optax.tree.norm(updates),
      "weight_entropy": jnp.mean(jax.vmap(weight_entropy)(window.weights_TxBxD)),
      "effective_sample_size": jnp.mean(jax.vmap(effective_sample_size)(window.weights_TxBxD)),
      "ratings": window.ratings_TxBxD,
      "finite": finite,
    }
    return advanced, moments, moved, updates, metrics

  def meta_step(state: MetaState, inner_PxTxB: Batch, outer_PxB: Batch):
    members_P = jnp.arange(config.population)

    def scanned(_, inputs):
      return None, member_step(state, inputs)

    def group(inputs):
      return jax.lax.scan(scanned, None, inputs)[1]

    inputs = (members_P, state.members, state.moments, inner_PxTxB, outer_PxB)
    members, moments, moved, updates_P, metrics = _by_group(group, groups, inputs)
    applied = jnp.all(metrics.pop("finite"))
    eta = update.apply_update(config, state.eta, updates_P, state.step)
    skipped = 1 - applied.astype(jnp.int32)
    new_state = state.replace(  # type: ignore[attr-defined]
      eta=_choose(applied, eta, state.eta),
      moments=_choose(applied, moved, moments),
      members=members,
      step=state.step + 1,
      skipped=state.skipped + skipped,
      skipped_in_row=(state.skipped_in_row + 1) * skipped,
    )
    metrics |= {
      # Of the batch: with many processes, none has read all of it.
      "domain_ids": domain_by_datapoint(inner_PxTxB, datapoint),
      "tokens": jnp.sum(inner_PxTxB.segment_ids_BxL > 0),
      "learning_rate": update.learning_rate(config, state.step),
      "skipped": new_state.skipped,
      "skipped_in_row": new_state.skipped_in_row,
    }
    return new_state, metrics

  return meta_step


def _by_group(function: Callable[[PyTree], PyTree], groups: int, tree: PyTree) -> PyTree:
  """`function` of each of the groups that the leading axis P falls into, side by side."""
  if groups == 1:
    return function(tree)
  split = jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), tree)
  results = jax.vmap(function, spmd_axis_name=MEMBER)(split)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)


def _choose(condition: jax.Array, a: Any, b: Any) -> Any:
  return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
