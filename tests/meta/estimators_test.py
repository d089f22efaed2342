"""Meta-gradients: mixed against reverse, both against finite differences, and the known traps."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
  LENGTH,
  MODEL,
  QUICK,
  SEGMENTS,
  VOCAB,
  initial_parameters,
  pack,
  random_batch,
  stacked,
  tree_distance,
)

from datarater.config import MetaConfig, OptimizerConfig
from datarater.meta import estimators, mixed_mode, unroll
from datarater.meta.weighting import batch_weights
from datarater.models import language_model, rater
from datarater.training.optimizers import make_optimizer
from datarater.types import Batch, Datapoint, sum_by_datapoint

WARM_UP = 3
"""Plain updates before the window, so that Adam's moments are warm: its first step has no scale."""

OUTER = random_batch(50, rows=3)


@dataclasses.dataclass(frozen=True)
class Case:
  """A problem and the arguments of its meta-gradient."""

  problem: estimators.Problem
  eta: Any
  rest: tuple[Any, Any, Batch, Batch]

  def compiled(self, *names: str):
    """eta -> [(meta-gradient, window) of each named estimator], compiled together."""
    functions = [estimators.ESTIMATORS[name](self.problem) for name in names]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(eta, rest):
      return [function(eta, *rest) for function in functions]

    return lambda eta: run(eta, self.rest)


def inner_optimizer(name: str, **changes) -> optax.GradientTransformation:
  settings = {"learning_rate": 0.05, "eps_root": 1e-12, "weight_decay": 0.1, "clip_norm": 1.0}
  return make_optimizer(OptimizerConfig(name=name, **(settings | changes)))


def with_untied_table(loss, weight: float = 0.1):
  """Adds a term in an embedding table of its own to a loss a datapoint, or to a scalar.

  The language model's embedding is tied: through the softmax every row has a gradient. In this
  table the gradient of the unused token's row is exactly zero.
  """

  def total(theta, batch):
    value = loss(theta["model"], batch)
    term_BxL = weight * jnp.mean(jnp.sin(theta["table"][batch.tokens_BxL]), axis=-1)
    if value.ndim == 0:
      return value + jnp.sum(term_BxL * batch.loss_mask_BxL)
    kind = {1: "sequence", SEGMENTS: "document", LENGTH: "token"}[value.shape[1]]
    return value + sum_by_datapoint(term_BxL, batch, kind)

  return total


def make_case(
  optimizer: optax.GradientTransformation,
  T: int,
  datapoint: Datapoint,
  remat: bool = False,
  dtype: str = "float64",
  **changes,
) -> Case:
  model = dataclasses.replace(MODEL, remat=remat, dtype=dtype)
  problem = estimators.Problem(
    rate=rater.rate_fn(model, VOCAB, datapoint),
    losses=with_untied_table(language_model.losses_fn(model, VOCAB, datapoint)),
    outer_loss=with_untied_table(
      language_model.mean_loss_fn(language_model.token_nll_fn(model, VOCAB))
    ),
    optimizer=optimizer,
    datapoint=datapoint,
    **changes,
  )
  eta, theta = initial_parameters(dtype)
  table = jax.random.normal(jax.random.key(4), (VOCAB, 2), dtype)
  theta = {"model": theta, "table": table}
  theta, opt_state = warmed(optimizer, theta, datapoint, dtype)
  return Case(problem, eta, (theta, opt_state, stacked([random_batch(s) for s in range(T)]), OUTER))


def warmed(optimizer: optax.GradientTransformation, theta: Any, datapoint: Datapoint, dtype: str):
  opt_state = optimizer.init(theta)
  gradient, update = plain_gradient(datapoint, dtype), jax.jit(optimizer.update)
  for seed in range(WARM_UP):
    updates, opt_state = update(gradient(theta, random_batch(100 + seed)), opt_state, theta)
    theta = optax.apply_updates(theta, updates)
  return theta, opt_state


@functools.cache
def plain_gradient(datapoint: Datapoint, dtype: str):
  model = dataclasses.replace(MODEL, dtype=dtype)
  losses = with_untied_table(language_model.losses_fn(model, VOCAB, datapoint))

  def loss(theta, batch):
    values_BxD = losses(theta, batch)
    return jnp.sum(batch_weights(jnp.zeros_like(values_BxD), batch, datapoint) * values_BxD)

  return jax.jit(jax.grad(loss), compiler_options=QUICK)


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
  ("optimizer", "T", "datapoint", "remat"),
  [
    *itertools.product(
      ("sgd", "momentum", "adam", "adamw"), (1, 2, 4), ("sequence", "document"), (False, True)
    ),
    ("adamw", 2, "token", False),
  ],
)
def test_mixed_equals_reverse_and_finite_differences(optimizer, T, datapoint, remat):
  # Parameters as one vector: the same optimiser in a smaller program, a quarter faster to compile.
  case = make_case(optax.flatten(inner_optimizer(optimizer)), T, datapoint, remat)
  run = case.compiled("mixed", "reverse")
  (mixed, mixed_window), (reverse, window) = run(case.eta)
  norm = optax.tree.norm(reverse)
  assert norm > 1e-6
  assert tree_distance(mixed, reverse) < 1e-9  # fails for NaN as well
  np.testing.assert_allclose(mixed_window.outer_loss, window.outer_loss, rtol=1e-12)
  assert tree_distance(mixed_window.theta, window.theta) < 1e-12

  direction = jax.tree.map(lambda g: g / norm, reverse)
  h = 1e-5

  def losses_at(step):
    eta = jax.tree.map(lambda e, d: e + step * d, case.eta, direction)
    return [w.outer_loss for _, w in run(eta)]

  for above, below, gradient in zip(losses_at(h), losses_at(-h), (mixed, reverse), strict=True):
    slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("datapoint", ["sequence", "document"])
def test_first_order_is_exact_for_one_step(datapoint):
  case = make_case(optax.flatten(inner_optimizer("adamw")), 1, datapoint)
  (first_order, window), (mixed, mixed_window) = case.compiled("first_order", "mixed")(case.eta)
  assert tree_distance(first_order, mixed) < 1e-12
  assert tree_distance(window.theta, mixed_window.theta) < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("T", [2, 4])
def test_first_order_is_reverse_with_the_inner_gradient_constant_in_theta(T):
  case = make_case(optax.flatten(inner_optimizer("adamw")), T, "document")
  problem, (theta, opt_state, inner, outer) = case.problem, case.rest

  def outer_loss(eta, theta, opt_state):
    for t in range(T):
      batch = jax.tree.map(lambda x: x[t], inner)  # noqa: B023 (called at once)
      weights = batch_weights(problem.rate(eta, batch), batch, "document")

      def loss(theta, batch=batch, weights=weights):
        return jnp.sum(weights * problem.losses(theta, batch))

      gradient = jax.grad(loss)(jax.lax.stop_gradient(theta))
      updates, opt_state = problem.optimizer.update(gradient, opt_state, theta)
      theta = optax.apply_updates(theta, updates)
    return problem.outer_loss(theta, outer)

  run = jax.jit(jax.value_and_grad(outer_loss), compiler_options=QUICK)
  loss, by_hand = run(case.eta, theta, opt_state)
  (first_order, window), (mixed, _) = case.compiled("first_order", "mixed")(case.eta)
  assert tree_distance(first_order, by_hand) < 1e-9
  np.testing.assert_allclose(window.outer_loss, loss, rtol=1e-9)
  assert tree_distance(first_order, mixed) > 0.01  # the Hessians matter here


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("remat", [False, True], ids=["plain", "remat"])
@pytest.mark.parametrize("T", [1, 2, 4])
def test_keeping_residuals_changes_nothing_but_the_cost(T, remat):
  case = make_case(optax.flatten(inner_optimizer("adamw")), T, "document", remat)
  functions = [estimators.mixed(case.problem, keep=keep) for keep in (True, False)]

  @functools.partial(jax.jit, compiler_options=QUICK)
  def both(eta, rest):
    return [function(eta, *rest) for function in functions]

  (kept, window), (recomputed, expected) = both(case.eta, case.rest)
  assert tree_distance(kept, recomputed) < 1e-12
  assert tree_distance(window.theta, expected.theta) < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("microbatch", [1, 2])
def test_a_microbatch_changes_nothing_but_the_memory(microbatch):
  case = make_case(optax.flatten(inner_optimizer("adamw")), 2, "document")
  parts = dataclasses.replace(case.problem, microbatch=microbatch)
  names = ("mixed", "first_order", "reverse")

  @functools.partial(jax.jit, compiler_options=QUICK)
  def both(eta, rest):
    return [
      [estimators.ESTIMATORS[name](problem)(eta, *rest) for name in names]
      for problem in (parts, case.problem)
    ]

  for (gradient, window), (expected, whole) in zip(*both(case.eta, case.rest), strict=True):
    assert tree_distance(gradient, expected) < 1e-10
    assert tree_distance(window.theta, whole.theta) < 1e-12


def test_mixed_equals_reverse_in_float32():
  case = make_case(inner_optimizer("adamw"), 2, "document", remat=True, dtype="float32")
  (mixed, _), (reverse, _) = case.compiled("mixed", "reverse")(case.eta)
  assert jax.tree.leaves(mixed)[0].dtype == jnp.float32
  assert tree_distance(mixed, reverse) < 1e-3


@pytest.mark.parametrize(("eps_root", "finite"), [(0.0, False), (1e-12, True)])
def test_without_eps_root_an_unused_embedding_row_makes_the_meta_gradient_nan(eps_root, finite):
  case = make_case(inner_optimizer("adam", eps_root=eps_root), 2, "sequence", dtype="float32")
  [(gradient, window)] = case.compiled("mixed")(case.eta)
  assert np.isfinite(window.outer_loss)
  assert np.isfinite(optax.tree.norm(gradient)) == finite


def test_weights_of_the_window_are_those_of_its_ratings():
  case = make_case(inner_optimizer("sgd"), 2, "document", dtype="float32")
  [(_, window)] = case.compiled("mixed")(case.eta)
  for t in range(2):
    batch = jax.tree.map(lambda x: x[t], case.rest[2])  # noqa: B023 (called at once)
    ratings = case.problem.rate(case.eta, batch)
    np.testing.assert_allclose(window.ratings_TxBxD[t], ratings, rtol=1e-5, atol=1e-6)
    expected = batch_weights(ratings, batch, "document")
    np.testing.assert_allclose(window.weights_TxBxD[t], expected, rtol=1e-5)


def test_rate_hook_sees_theta_and_changes_weights():
  def hook(theta, batch, ratings_BxD):
    sharpness = 1.0 + jnp.sum(theta["model"]["transformer"]["final_norm"]["scale"])
    return ratings_BxD * jax.lax.stop_gradient(sharpness)

  windows, gradients = [], []
  for changes in ({}, {"rate_hook": hook}):
    case = make_case(inner_optimizer("sgd"), 2, "document", dtype="float32", **changes)
    (mixed, window), (reverse, _) = case.compiled("mixed", "reverse")(case.eta)
    assert tree_distance(mixed, reverse) < 1e-3
    windows.append(window)
    gradients.append(mixed)
  assert np.abs(windows[0].weights_TxBxD - windows[1].weights_TxBxD).max() > 0.01
  first = jax.tree.map(lambda x: x[0], case.rest[2])
  hooked = hook(case.rest[0], first, windows[0].ratings_TxBxD[0])
  np.testing.assert_allclose(windows[1].ratings_TxBxD[0], hooked, rtol=1e-5)
  weights = batch_weights(hooked, first, "document")
  np.testing.assert_allclose(windows[1].weights_TxBxD[0], weights, rtol=1e-4)
  assert tree_distance(*gradients) > 0.01


def test_nothing_flows_into_the_start_of_the_window():
  """The truncation: θ_0 and the optimiser's state are constants."""
  theta, state = jnp.array([1.0, -2.0]), optax.sgd(0.1).init(jnp.zeros(2))
  ratings = jnp.array([[[0.3], [0.1], [0.0], [0.0]]])
  batch = stacked([random_batch(0)])

  def losses(theta, batch):
    return jnp.stack([theta[0] ** 2, theta[1] ** 2, theta[0], theta[1]])[:, None]

  for make in (mixed_mode.mixed_gradient, mixed_mode.plain_gradient):
    gradient = make(losses)

    def objective(theta, ratings, gradient=gradient):
      gradients = unroll.InnerGradients(gradient, gradient)
      args = (gradients, optax.sgd(0.1), "sequence", theta, state, batch, ratings)
      return jnp.sum(unroll.unroll(*args)[0] ** 2)

    by_theta, by_ratings = jax.grad(objective, argnums=(0, 1))(theta, ratings)
    assert np.all(np.asarray(by_theta) == 0)
    assert np.any(np.asarray(by_ratings) != 0)


def test_one_step_of_sgd_in_closed_form():
  """θ_1 = θ - α Σ w_i c_i and L = a·θ_1 give ∂L/∂φ_i = -α w_i (a·c_i - Σ_j w_j a·c_j)."""
  rng = np.random.default_rng(0)
  gradients, ratings = rng.normal(size=(4, 3)), rng.normal(size=4)
  outer, alpha = rng.normal(size=3), 0.1
  problem = estimators.Problem(
    rate=lambda eta, batch: eta[:, None],
    losses=lambda theta, batch: (jnp.asarray(gradients, jnp.float32) @ theta)[:, None],
    outer_loss=lambda theta, batch: jnp.asarray(outer, jnp.float32) @ theta,
    optimizer=optax.sgd(alpha),
    datapoint="sequence",
  )
  theta = jnp.zeros(3)
  rest = (theta, problem.optimizer.init(theta), stacked([random_batch(0)]), OUTER)
  weights = np.exp(ratings) / np.exp(ratings).sum()
  along = gradients @ outer
  expected = -alpha * weights * (along - weights @ along)
  for name in ("mixed", "reverse"):
    function = estimators.make_estimator(MetaConfig(estimator=name), problem)
    gradient, window = function(jnp.asarray(ratings, jnp.float32), *rest)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)
    np.testing.assert_allclose(window.theta, -alpha * weights @ gradients, rtol=1e-4)


def temporaries(name: str, T: int, microbatch: int = 0) -> int:
  """Bytes of temporaries of a meta-gradient over T batches with large activations."""
  rows = [[[1] * 64]] * 32
  batch = pack(rows, length=64, segments=1)
  case = make_case(inner_optimizer("adam"), T, "sequence", remat=True, dtype="float32")
  # A table in place of the rater, whose activations over all T batches are kept on purpose.
  problem = dataclasses.replace(
    case.problem,
    rate=lambda eta, batch: eta[batch.tokens_BxL[:, 1]][:, None],
    microbatch=microbatch,
  )
  function = jax.jit(estimators.ESTIMATORS[name](problem), compiler_options=QUICK)
  rest = (*case.rest[:2], stacked([batch] * T), batch)
  memory = function.lower(jnp.zeros(VOCAB), *rest).compile().memory_analysis()
  return memory.temp_size_in_bytes


def test_memory_does_not_grow_with_the_unroll_as_stored_graphs_do():
  """A failure of public re-implementations: a graph of everything, kept for the second order."""
  short, long = (temporaries("mixed", T) for T in (2, 6))
  assert short > 5e6, "activations should dominate"
  assert long - short < 0.05 * short
  assert short < 0.6 * temporaries("reverse", 2)
  assert temporaries("mixed", 2, microbatch=8) < 0.6 * short
