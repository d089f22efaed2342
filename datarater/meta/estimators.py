"""Estimators of the meta-gradient ∇_η L_outer(θ_T(η)), behind one interface.

mixed    forward over reverse (Kemaev et al. 2025), the first step's Hessian product left out.
         Cost: `models.cost.meta_step_flops`. Exact for the window, biased only by its truncation.
reverse  `jax.grad` through the same steps, the reference. More time and memory, the same value.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import flax.struct
import jax
import optax

from datarater.config import MetaConfig
from datarater.meta import mixed_mode, unroll
from datarater.types import Batch, Datapoint, LossesFn, PyTree, RateFn

OuterLossFn = Callable[[PyTree, Batch], jax.Array]
"""(theta, batch) -> scalar, nats."""


@dataclasses.dataclass(frozen=True)
class Problem:
  """What is differentiated: only callables, no module, config or file."""

  rate: RateFn
  losses: LossesFn
  outer_loss: OuterLossFn
  optimizer: optax.GradientTransformation
  datapoint: Datapoint
  rate_hook: unroll.RateHook = unroll.constant_in_theta


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

  The key is a typed one, of this member and meta-step; exact estimators need none.
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


def mixed(problem: Problem) -> MetaGradientFn:
  """Cotangents of the ratings by mixed mode, then pushed through the rater once."""
  gradient = mixed_mode.mixed_gradient(problem.losses)
  first = mixed_mode.first_step_gradient(problem.losses)

  def meta_gradient(eta, theta, opt_state, inner: Batch, outer: Batch, key=None):
    del key
    ratings, rater_vjp = jax.vjp(lambda eta: _rate_all(problem, eta, inner), eta)

    def objective(ratings_TxBxD: jax.Array):
      return _outer_loss(problem, gradient, first, theta, opt_state, inner, outer, ratings_TxBxD)

    (_, window), cotangent = jax.value_and_grad(objective, has_aux=True)(ratings)
    return rater_vjp(cotangent)[0], window

  return meta_gradient


def reverse(problem: Problem) -> MetaGradientFn:
  """`jax.grad` with respect to η through everything: what the others are tested against."""
  gradient = mixed_mode.plain_gradient(problem.losses)

  def meta_gradient(eta, theta, opt_state, inner: Batch, outer: Batch, key=None):
    del key

    def objective(eta: PyTree):
      ratings = _rate_all(problem, eta, inner)
      return _outer_loss(problem, gradient, gradient, theta, opt_state, inner, outer, ratings)

    grads, window = jax.grad(objective, has_aux=True)(eta)
    return grads, window

  return meta_gradient


def _outer_loss(problem, gradient, first, theta, opt_state, inner, outer, ratings_TxBxD):
  theta_T, opt_state_T, weights = unroll.unroll(
    gradient,
    first,
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


ESTIMATORS = {"mixed": mixed, "reverse": reverse}


def make_estimator(config: MetaConfig, problem: Problem) -> MetaGradientFn:
  """The estimator that the config names."""
  return ESTIMATORS[config.estimator](problem)
