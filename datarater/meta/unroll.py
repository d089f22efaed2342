"""T weighted updates of an inner model, differentiable in the ratings.

    θ_{t+1} = Θ(θ_t, G(θ_t, w_t)),   w_t = batch weights of the ratings of batch t

Each step is under `jax.checkpoint` and keeps its parameters, its optimiser state and one gradient;
activations are not kept, unless one asks for it.
"""

import dataclasses
from collections.abc import Callable

import jax
import optax
from jax.ad_checkpoint import checkpoint_name

from datarater.meta.mixed_mode import GradientFn
from datarater.meta.weighting import batch_weights
from datarater.types import Batch, Datapoint, PyTree

SAVED = "inner_grads"

RateHook = Callable[[PyTree, Batch, jax.Array], jax.Array]
"""(theta, batch, ratings_BxD) -> ratings_BxD: lets a rating depend on the inner model.

What comes in is what the rater gave before the unroll, BxD or with further axes.
"""


@dataclasses.dataclass(frozen=True)
class InnerGradients:
  """Of the first step of a window, whose Hessian product nobody needs, and of the later ones.

  keep: every step keeps all that its gradient has for the backward pass.
  """

  first: GradientFn
  later: GradientFn
  keep: bool = False


def constant_in_theta(theta: PyTree, batch: Batch, ratings_BxD: jax.Array) -> jax.Array:
  """The default hook: ratings are those computed before the unroll."""
  del theta, batch
  return ratings_BxD


def inner_step(
  gradient: GradientFn,
  optimizer: optax.GradientTransformation,
  theta: PyTree,
  opt_state: PyTree,
  weights_BxD: jax.Array,
  batch: Batch,
) -> tuple[PyTree, PyTree]:
  """One weighted update: (theta, opt_state) after it."""
  grads = jax.tree.map(lambda g: checkpoint_name(g, SAVED), gradient(theta, weights_BxD, batch))
  updates, opt_state = optimizer.update(grads, opt_state, theta)
  return optax.apply_updates(theta, updates), opt_state  # type: ignore[return-value]


def unroll(
  gradients: InnerGradients,
  optimizer: optax.GradientTransformation,
  datapoint: Datapoint,
  theta: PyTree,
  opt_state: PyTree,
  batches_TxB: Batch,
  ratings_TxBxD: jax.Array,
  rate: RateHook = constant_in_theta,
) -> tuple[PyTree, PyTree, jax.Array, jax.Array]:
  """(theta_T, opt_state_T, weights_TxBxD, the ratings_TxBxD that they come of).

  ratings_TxBxD: as `rate` takes them; what it returns may have fewer axes. The start is a constant:
  no gradient flows into it.
  """
  # The truncation: what came before the window is not differentiated.
  theta, opt_state = jax.lax.stop_gradient((theta, opt_state))

  def step_with(gradient: GradientFn):
    def step(carry, inputs):
      theta, opt_state = carry
      batch, ratings_BxD = inputs
      ratings_BxD = rate(theta, batch, ratings_BxD)
      weights = batch_weights(ratings_BxD, batch, datapoint)
      carry = inner_step(gradient, optimizer, theta, opt_state, weights, batch)
      return carry, jax.lax.stop_gradient((weights, ratings_BxD))  # for metrics only

    if gradients.keep:
      return step
    policy = jax.checkpoint_policies.save_only_these_names(SAVED)
    return jax.checkpoint(step, policy=policy, prevent_cse=False)

  inputs = (batches_TxB, ratings_TxBxD)
  carry, first = step_with(gradients.first)(
    (theta, opt_state), jax.tree.map(lambda x: x[0], inputs)
  )
  # Without the scan, which would copy what is kept, once each way.
  unrolled = batches_TxB.tokens_BxL.shape[0] if gradients.keep else 1
  later = jax.tree.map(lambda x: x[1:], inputs)
  carry, others = jax.lax.scan(step_with(gradients.later), carry, later, unroll=unrolled)
  weights_TxBxD, ratings_TxBxD = jax.tree.map(
    lambda x, y: jax.numpy.concatenate([x[None], y]), first, others
  )
  return *carry, weights_TxBxD, ratings_TxBxD
