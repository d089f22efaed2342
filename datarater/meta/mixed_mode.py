"""The inner gradient G(θ, w) = ∇_θ Σ_i w_i ℓ_i(θ), with a backward pass in forward mode.

For a cotangent u on G, one jvp of θ ↦ (∇_θ Σ w_i ℓ_i, ℓ_1..ℓ_N) along u gives both cotangents: its
first tangent is the Hessian product, for θ; its second is (∇ℓ_i · u)_i, for w, because the loss is
linear in the weights. Nothing of a reverse pass through a reverse pass is ever stored.
The jvp computes the gradient once more (`recompute`), or its linear part is kept from the first
time (`keep`): a third fewer operations, and the memory of the activations a step.
Source: Kemaev et al. 2025 (MixFlow-MG, arXiv 2505.00793), section 3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from datarater.types import Batch, LossesFn, LossesWithConstants, PyTree

GradientFn = Callable[[PyTree, jax.Array, Batch], PyTree]
"""(theta, weights_BxD, batch) -> gradient, like theta."""


def _apart(losses: LossesFn) -> LossesWithConstants:
  """The losses with their constants apart; most have none."""
  if isinstance(losses, LossesWithConstants):
    return losses
  return LossesWithConstants(lambda constants, theta, batch: losses(theta, batch), None)


def _with_losses(losses: LossesWithConstants, microbatch: int) -> Callable:
  """(theta, weights_BxD, batch, constants) -> (∇_θ Σ w_i ℓ_i, losses_BxD), `microbatch` rows after
  another.
  """

  def weighted_loss(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree):
    losses_BxD = losses.function(constants, theta, batch)
    return jnp.sum(weights_BxD * losses_BxD), losses_BxD

  at_once = jax.grad(weighted_loss, has_aux=True)

  def in_parts(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree):
    if microbatch in (0, weights_BxD.shape[0]):
      return at_once(theta, weights_BxD, batch, constants)
    # Row r goes to part r mod parts: where devices hold a share of the rows, each has some of all.
    parts = jax.tree.map(
      lambda x: x.reshape(microbatch, -1, *x.shape[1:]).swapaxes(0, 1), (weights_BxD, batch)
    )

    def add(total: PyTree, part: tuple[jax.Array, Batch]):
      grads, losses = at_once(theta, *part, constants)
      return jax.tree.map(jnp.add, total, grads), losses

    grads, losses = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, theta), parts)
    return grads, losses.swapaxes(0, 1).reshape(weights_BxD.shape)

  return in_parts


def _closed(gradient: Callable, constants: PyTree) -> GradientFn:
  """A gradient of (theta, weights_BxD, batch, constants) with its constants given."""
  return lambda theta, weights_BxD, batch: gradient(theta, weights_BxD, batch, constants)


def plain_gradient(losses: LossesFn, microbatch: int = 0) -> GradientFn:
  """G by `jax.grad`: differentiating it again is reverse over reverse, the reference."""
  apart = _apart(losses)
  with_losses = _with_losses(apart, microbatch)
  return _closed(lambda *arguments: with_losses(*arguments)[0], apart.constants)


def mixed_gradient(losses: LossesFn, microbatch: int = 0) -> GradientFn:
  """G with the mixed-mode backward pass. It cannot be differentiated in forward mode."""
  apart = _apart(losses)
  with_losses = _with_losses(apart, microbatch)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree) -> PyTree:
    return with_losses(theta, weights_BxD, batch, constants)[0]

  def forward(*arguments):
    return gradient(*arguments), arguments

  def backward(residuals, cotangent):
    theta, *rest = residuals
    _, (hessian_product, directional_BxD) = jax.jvp(
      lambda theta: with_losses(theta, *rest), (theta,), (cotangent,)
    )
    return hessian_product, directional_BxD, None, None

  gradient.defvjp(forward, backward)
  return _closed(gradient, apart.constants)


def kept_gradient(losses: LossesFn) -> GradientFn:
  """`mixed_gradient` that keeps the linear part of G, so that nothing is computed twice."""
  apart = _apart(losses)
  with_losses = _with_losses(apart, microbatch=0)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree) -> PyTree:
    return with_losses(theta, weights_BxD, batch, constants)[0]

  def forward(theta, *rest):
    (grads, _), pushforward = jax.linearize(lambda theta: with_losses(theta, *rest), theta)
    return grads, pushforward

  def backward(pushforward, cotangent):
    return *pushforward(cotangent), None, None

  gradient.defvjp(forward, backward)
  return _closed(gradient, apart.constants)


def kept_first_step_gradient(losses: LossesFn) -> GradientFn:
  """`first_step_gradient` that keeps the linear part of the losses, of all rows at once."""
  apart = _apart(losses)
  with_losses = _with_losses(apart, microbatch=0)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree) -> PyTree:
    return with_losses(theta, weights_BxD, batch, constants)[0]

  def forward(theta, weights_BxD, batch, constants):
    _, pushforward = jax.linearize(lambda theta: apart.function(constants, theta, batch), theta)
    (grads,) = jax.linear_transpose(pushforward, theta)(weights_BxD)
    return grads, pushforward

  def backward(pushforward, cotangent):
    return jax.tree.map(jnp.zeros_like, cotangent), pushforward(cotangent), None, None

  gradient.defvjp(forward, backward)
  return _closed(gradient, apart.constants)


def first_step_gradient(losses: LossesFn, microbatch: int = 0) -> GradientFn:
  """G for the first step of a window: θ_0 takes no cotangent, so no Hessian product is computed."""
  apart = _apart(losses)
  with_losses = _with_losses(apart, microbatch)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch, constants: PyTree) -> PyTree:
    return with_losses(theta, weights_BxD, batch, constants)[0]

  def forward(theta, weights_BxD, batch, constants):
    return gradient(theta, weights_BxD, batch, constants), (theta, batch, constants)

  def backward(residuals, cotangent):
    theta, batch, constants = residuals
    _, directional_BxD = jax.jvp(
      lambda theta: apart.function(constants, theta, batch), (theta,), (cotangent,)
    )
    return jax.tree.map(jnp.zeros_like, theta), directional_BxD, None, None

  gradient.defvjp(forward, backward)
  return _closed(gradient, apart.constants)
