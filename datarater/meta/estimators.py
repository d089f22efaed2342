"""Estimators of the meta-gradient ∇_η L_outer(θ_T(η)), behind one interface.

mixed        forward over reverse (Kemaev et al. 2025), the first step's Hessian product left out.
             Exact for the window, biased only by its truncation.
reverse      `jax.grad` through the same steps, the reference. More memory, the same value.
first_order  no Hessian products: cheaper, biased from the second inner step on, exact at T = 1.
evolution    antithetic evolution strategies in the space of ratings: for outer losses without a
             derivative. Noisy; unbiased for the smoothed loss.

Equations, costs and measurements: docs/estimators.md; FLOPs: `models.cost.meta_step_flops`.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from datarater.config import MetaConfig
from datarater.meta import mixed_mode, unroll
from datarater.types import Batch, Datapoint, LossesFn, PyTree, RateFn, predicted_tokens

OuterLossFn = Callable[[PyTree, Batch], jax.Array]
"""(theta, batch) -> scalar, nats."""


@dataclasses.dataclass(frozen=True)
class Problem:
  """What is differentiated: only callables, no module, config or file.

  microbatch: rows whose inner gradients are computed at once and added up; 0 for the whole batch.
  """

  rate: RateFn
  losses: LossesFn
  outer_loss: OuterLossFn
  optimizer: optax.GradientTransformation
  datapoint: Datapoint
  rate_hook: unroll.RateHook = unroll.constant_in_theta
  microbatch: int = 0


@flax.struct.dataclass
class Window:
  """The result of one truncated unroll. ratings and weights are TxBxD, outer_loss a scalar."""

  theta: PyTree
  opt_state: PyTree
  outer_loss: jax.Array
  ratings_TxBxD: jax.Array
  weights_TxBxD: jax.Array


class MetaGradientFn(Protocol):
  """(eta, theta, opt_state, inner batches TxB, outer batch, key) -> (gradient like eta, Window).

  The key is a typed one, of this member and meta-step; only `evolution` needs it.
  """

  def __call__(
    self,
    eta: PyTree,
    theta: PyTree,
    opt_state: PyTree,
    inner: Batch,
    outer: Batch,
    key: jax.Array | None = None,
  ) -> tuple[PyTree, Window]: ...


ESTIMATION_STREAM = 1 << 30
"""Folded into the population's key: far from the members' numbers, which fresh models take."""


def estimation_key(key: jax.Array, member: jax.Array | int, step: jax.Array | int) -> jax.Array:
  """The key of one member's meta-gradient at one meta-step; `key` is the population's."""
  stream = jax.random.fold_in(key, ESTIMATION_STREAM)
  return jax.random.fold_in(jax.random.fold_in(stream, member), step)


def _rate_all(problem: Problem, eta: PyTree, batches_TxB: Batch) -> jax.Array:
  """Ratings TxBxD in one forward pass over all T·B rows."""
  T, B = batches_TxB.tokens_BxL.shape[:2]
  flat = jax.tree.map(lambda x: x.reshape(T * B, *x.shape[2:]), batches_TxB)
  ratings = problem.rate(eta, flat)
  return ratings.reshape(T, B, *ratings.shape[1:])


def mixed(problem: Problem, keep: bool = False) -> MetaGradientFn:
  """Cotangents of the ratings by mixed mode, then pushed through the rater once.

  keep: the inner gradients' residuals, instead of computing them again in the backward pass.
  """
  losses, rows = problem.losses, problem.microbatch
  if keep:
    first = mixed_mode.kept_first_step_gradient(losses)
    gradients = unroll.InnerGradients(first, mixed_mode.kept_gradient(losses), keep)
  else:
    first = mixed_mode.first_step_gradient(losses, rows)
    gradients = unroll.InnerGradients(first, mixed_mode.mixed_gradient(losses, rows))
  return _by_ratings(problem, gradients)


def reverse(problem: Problem) -> MetaGradientFn:
  """`jax.grad` with respect to η through everything: what the others are tested against."""
  gradients = _plain(problem)

  def meta_gradient(eta, theta, opt_state, inner: Batch, outer: Batch, key=None):
    del key

    def objective(eta: PyTree):
      ratings = _rate_all(problem, eta, inner)
      return _outer_loss(problem, gradients, theta, opt_state, inner, outer, ratings)

    grads, window = jax.grad(objective, has_aux=True)(eta)
    return grads, window

  return meta_gradient


def first_order(problem: Problem) -> MetaGradientFn:
  """Mixed without Hessian products: the inner gradient counts as constant in θ at every step.

      λ_t = (∂Θ/∂θ)ᵀ λ_{t+1} + [H_t (∂Θ/∂g)ᵀ λ_{t+1}]      with the term in brackets left out

  for θ_{t+1} = Θ(θ_t, g_t) and H_t the Hessian of the weighted inner loss. What the optimiser does
  with g, its state and its decay of θ is differentiated. At T = 1 nothing is missing.
  """
  without_hessian = mixed_mode.first_step_gradient(problem.losses, problem.microbatch)
  return _by_ratings(problem, unroll.InnerGradients(without_hessian, without_hessian))


def _plain(problem: Problem) -> unroll.InnerGradients:
  gradient = mixed_mode.plain_gradient(problem.losses, problem.microbatch)
  return unroll.InnerGradients(gradient, gradient)


def _by_ratings(problem: Problem, gradients: unroll.InnerGradients) -> MetaGradientFn:
  """Reverse mode to the ratings, then one exact vjp through the rater."""

  def meta_gradient(eta, theta, opt_state, inner: Batch, outer: Batch, key=None):
    del key
    ratings, rater_vjp = jax.vjp(lambda eta: _rate_all(problem, eta, inner), eta)

    def objective(ratings_TxBxD: jax.Array):
      return _outer_loss(problem, gradients, theta, opt_state, inner, outer, ratings_TxBxD)

    (_, window), cotangent = jax.value_and_grad(objective, has_aux=True)(ratings)
    return rater_vjp(cotangent)[0], window

  return meta_gradient


def evolution(problem: Problem, pairs: int, scale: float) -> MetaGradientFn:
  """Ratings' cotangents by `antithetic_gradient`, then one exact vjp through the rater.

  The window is that of the ratings as they are; 2·pairs further unrolls only yield outer losses.
  Ratings are far fewer than the rater's parameters, and the noise grows with their number.
  """
  gradients = _plain(problem)

  def meta_gradient(eta, theta, opt_state, inner: Batch, outer: Batch, key=None):
    if key is None:
      raise TypeError("evolution draws perturbations: pass a typed key, as estimation_key gives")
    ratings, rater_vjp = jax.vjp(lambda eta: _rate_all(problem, eta, inner), eta)

    def objective(ratings_TxBxD: jax.Array):
      return _outer_loss(problem, gradients, theta, opt_state, inner, outer, ratings_TxBxD)

    _, window = objective(ratings)
    present = jax.vmap(lambda batch: predicted_tokens(batch, problem.datapoint) > 0)(inner)
    # Of an online rater, which has several numbers a datapoint, all are perturbed.
    present = present.reshape(*present.shape, *[1] * (ratings.ndim - present.ndim))
    cotangent = antithetic_gradient(lambda r: objective(r)[0], ratings, present, key, pairs, scale)
    return rater_vjp(cotangent)[0], window

  return meta_gradient


def antithetic_gradient(
  loss: Callable[[jax.Array], jax.Array],
  x: jax.Array,
  perturbed: jax.Array,
  key: jax.Array,
  pairs: int,
  scale: float,
) -> jax.Array:
  """1/(2σn) Σ_k ε_k (L(x + σ ε_k) - L(x - σ ε_k)), ε_k ~ N(0, 1) where `perturbed` and 0 elsewhere.

  Unbiased for the gradient of the smoothed loss E_ε L(x + σ ε), whatever L; even terms of L cancel
  in each pair. Where L is smooth, n pairs in d dimensions leave a relative error of about √(d/n).
  One pair at a time: no more memory than two evaluations.
  Source: Salimans et al. 2017, section 2.1; Nesterov & Spokoiny 2017.
  """

  def add_pair(total, pair):
    noise = jax.random.normal(jax.random.fold_in(key, pair), x.shape, x.dtype) * perturbed
    above, below = jax.lax.map(loss, jnp.stack([x + scale * noise, x - scale * noise]))
    return total + noise * (above - below), None

  total, _ = jax.lax.scan(add_pair, jnp.zeros_like(x), jnp.arange(pairs))
  return total / (2 * scale * pairs)


def _outer_loss(problem, gradients, theta, opt_state, inner, outer, ratings_TxBxD):
  theta_T, opt_state_T, weights, ratings_TxBxD = unroll.unroll(
    gradients,
    problem.optimizer,
    problem.datapoint,
    theta,
    opt_state,
    inner,
    ratings_TxBxD,
    problem.rate_hook,
  )
  loss = problem.outer_loss(theta_T, outer)
  return loss, Window(theta_T, opt_state_T, loss, ratings_TxBxD, weights)


ESTIMATORS = {"mixed": mixed, "reverse": reverse, "first_order": first_order}
"""Those that need nothing but the problem."""


def make_estimator(config: MetaConfig, problem: Problem) -> MetaGradientFn:
  """The estimator that the config names."""
  if config.estimator == "evolution":
    return evolution(problem, config.evolution_pairs, config.evolution_scale)
  if config.estimator == "mixed":
    return mixed(problem, keep=config.residuals == "keep")
  return ESTIMATORS[config.estimator](problem)
