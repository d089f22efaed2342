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

from datarater.types import Batch, LossesFn, PyTree

GradientFn = Callable[[PyTree, jax.Array, Batch], PyTree]
"""(theta, weights_BxD, batch) -> gradient, like theta."""


def _weighted(losses: LossesFn) -> Callable:
  def weighted_loss(theta: PyTree, weights_BxD: jax.Array, batch: Batch):
    losses_BxD = losses(theta, batch)
    return jnp.sum(weights_BxD * losses_BxD), losses_BxD

  return weighted_loss


def plain_gradient(losses: LossesFn) -> GradientFn:
  """G by `jax.grad`: differentiating it again is reverse over reverse, the reference."""

  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch) -> PyTree:
    return jax.grad(_weighted(losses), has_aux=True)(theta, weights_BxD, batch)[0]

  return gradient


def mixed_gradient(losses: LossesFn) -> GradientFn:
  """G with the mixed-mode backward pass. It cannot be differentiated in forward mode."""
  with_losses = jax.grad(_weighted(losses), has_aux=True)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch) -> PyTree:
    return with_losses(theta, weights_BxD, batch)[0]

  def forward(theta, weights_BxD, batch):
    return gradient(theta, weights_BxD, batch), (theta, weights_BxD, batch)

  def backward(residuals, cotangent):
    theta, weights_BxD, batch = residuals
    _, (hessian_product, directional_BxD) = jax.jvp(
      lambda theta: with_losses(theta, weights_BxD, batch), (theta,), (cotangent,)
    )
    return hessian_product, directional_BxD, None

  gradient.defvjp(forward, backward)
  return gradient


def kept_gradient(losses: LossesFn) -> GradientFn:
  """`mixed_gradient` that keeps the linear part of G, so that nothing is computed twice."""
  with_losses = jax.grad(_weighted(losses), has_aux=True)

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch) -> PyTree:
    return with_losses(theta, weights_BxD, batch)[0]

  def forward(theta, weights_BxD, batch):
    (grads, _), pushforward = jax.linearize(
      lambda theta: with_losses(theta, weights_BxD, batch), theta
    )
    return grads, pushforward

  def backward(pushforward, cotangent):
    return *pushforward(cotangent), None

  gradient.defvjp(forward, backward)
  return gradient


def kept_first_step_gradient(losses: LossesFn) -> GradientFn:
  """`first_step_gradient` that keeps the linear part of the losses."""

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch) -> PyTree:
    return plain_gradient(losses)(theta, weights_BxD, batch)

  def forward(theta, weights_BxD, batch):
    _, pushforward = jax.linearize(lambda theta: losses(theta, batch), theta)
    (grads,) = jax.linear_transpose(pushforward, theta)(weights_BxD)
    return grads, pushforward

  def backward(pushforward, cotangent):
    return jax.tree.map(jnp.zeros_like, cotangent), pushforward(cotangent), None

  gradient.defvjp(forward, backward)
  return gradient


def first_step_gradient(losses: LossesFn) -> GradientFn:
  """G for the first step of a window: θ_0 takes no cotangent, so no Hessian product is computed."""

  @jax.custom_vjp
  def gradient(theta: PyTree, weights_BxD: jax.Array, batch: Batch) -> PyTree:
    return plain_gradient(losses)(theta, weights_BxD, batch)

  def forward(theta, weights_BxD, batch):
    return gradient(theta, weights_BxD, batch), (theta, batch)

  def backward(residuals, cotangent):
    theta, batch = residuals
    _, directional_BxD = jax.jvp(lambda theta: losses(theta, batch), (theta,), (cotangent,))
    return jax.tree.map(jnp.zeros_like, theta), directional_BxD, None

  gradient.defvjp(forward, backward)
  return gradient
