"""Meta-gradients of online raters and of adapters: exact for their window; FLOPs as counted."""

import dataclasses
import functools
import math

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
  random_batch,
  stacked,
  tree_distance,
)

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.meta import build, estimators, placement, workload
from datarater.meta.weighting import batch_weights
from datarater.models import language_model, rater
from datarater.models.traced_cost import product_flops
from datarater.runtime.sharding import make_mesh
from datarater.training.optimizers import make_optimizer
from datarater.variant_config import PROJECTIONS, FrozenConfig, LoraConfig

T = 3
INNER, OUTER = stacked([random_batch(s) for s in range(T)]), random_batch(50, rows=3)
SOME_RUN = FrozenConfig(run="some run")
CONFIG = MetaTrainConfig(
  data=DataConfig(datapoint="document", length=LENGTH, segments=SEGMENTS),
  rater=dataclasses.replace(MODEL, dtype="float64"),
  inner=dataclasses.replace(MODEL, dtype="float64"),
  inner_optimizer=OptimizerConfig(name="adamw", learning_rate=0.05, weight_decay=0.1),
  meta=MetaConfig(population=1, unroll_length=T, inner_batch=4, outer_batch=3),
)
ONLINE = dataclasses.replace(CONFIG, rater_kind="online")
WITH_REFERENCE = dataclasses.replace(ONLINE, rater_reference=SOME_RUN)
ADAPTERS = dataclasses.replace(
  CONFIG, lora=LoraConfig(rank=2, projections=("query", "mlp_out"), base=SOME_RUN)
)


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


def double(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def case(config):
  """(problem, eta, theta, frozen); the head is not zero, and Adam's moments are warm enough."""
  _, theta = initial_parameters("float64")
  other = language_model.init_language_model(config.inner, VOCAB, jax.random.key(9), LENGTH)
  frozen = {build.BASE: theta, build.REFERENCE: double(other)}
  models = build._models(config, VOCAB, frozen)
  eta = double(models.rater.init(jax.random.key(1)))
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(2), eta["head"]["kernel"].shape)
  theta = double(models.inner.init(jax.random.key(3)))
  problem = estimators.Problem(
    rate=models.rater.rate,
    losses=models.inner.losses("document"),
    outer_loss=models.inner.outer_loss,
    optimizer=optax.flatten(make_optimizer(config.inner_optimizer)),
    datapoint="document",
    rate_hook=models.rater.hook,
  )
  return problem, eta, theta, frozen


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("config", [WITH_REFERENCE, ADAPTERS], ids=["online", "lora"])
def test_meta_gradients_are_finite_differences(config):
  problem, eta, theta, _ = case(config)
  opt_state = problem.optimizer.init(theta)
  names = ("mixed", "reverse")

  @functools.partial(jax.jit, compiler_options=QUICK)
  def run(eta):
    functions = [estimators.ESTIMATORS[name](problem) for name in names]
    functions.append(estimators.mixed(problem, keep=True))
    return [function(eta, theta, opt_state, INNER, OUTER) for function in functions]

  results = run(eta)
  (mixed, window), (reverse, _), (kept, _) = results
  norm = optax.tree.norm(reverse)
  assert norm > 1e-6
  assert tree_distance(mixed, reverse) < 1e-9
  assert tree_distance(kept, reverse) < 1e-9
  direction = jax.tree.map(lambda g: g / norm, reverse)

  def loss_at(step):
    return run(jax.tree.map(lambda e, d: e + step * d, eta, direction))[0][1].outer_loss

  slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
  np.testing.assert_allclose(norm, slope, rtol=1e-5)
  assert window.ratings_TxBxD.shape == window.weights_TxBxD.shape


@pytest.mark.usefixtures("x64")
def test_an_online_rating_is_a_line_in_loss_and_excess():
  problem, eta, theta, frozen = case(WITH_REFERENCE)
  opt_state = problem.optimizer.init(theta)
  estimate = jax.jit(estimators.mixed(problem), compiler_options=QUICK)
  _, window = estimate(eta, theta, opt_state, INNER, OUTER)
  batch = random_batch(0)
  losses = jax.jit(language_model.losses_fn(CONFIG.inner, VOCAB, "document"))
  loss = np.asarray(losses(theta, batch)) / math.log(VOCAB)
  excess = loss - np.asarray(losses(frozen[build.REFERENCE], batch)) / math.log(VOCAB)
  pooled = jax.jit(rater.rate_fn(CONFIG.rater, VOCAB, "document", MODEL.width - 1))
  features = np.asarray(pooled({**eta, "head": {"kernel": jnp.eye(MODEL.width)}}, batch))
  a, b, c = np.moveaxis(features @ np.asarray(eta["head"]["kernel"]), -1, 0)
  expected = a + b * loss + c * excess
  np.testing.assert_allclose(window.ratings_TxBxD[0], expected, rtol=1e-9)
  weights = batch_weights(jnp.asarray(expected), batch, "document")
  np.testing.assert_allclose(window.weights_TxBxD[0], weights, rtol=1e-9)


def test_online_ratings_start_equal():
  features = 2
  eta = rater.init_rater(MODEL, VOCAB, jax.random.key(0), LENGTH, features)
  coefficients = rater.rate_fn(MODEL, VOCAB, "document", features)(eta, random_batch(0))
  assert coefficients.shape == (4, SEGMENTS, 1 + features)
  assert np.all(np.asarray(coefficients) == 0)


@pytest.mark.usefixtures("x64")
def test_evolution_perturbs_what_an_online_rater_gives():
  problem, eta, theta, _ = case(ONLINE)
  estimate = estimators.evolution(problem, pairs=1, scale=0.1)
  opt_state = problem.optimizer.init(theta)
  gradient, _ = jax.jit(estimate, compiler_options=QUICK)(
    eta, theta, opt_state, INNER, OUTER, jax.random.key(0)
  )
  by_column = np.linalg.norm(np.asarray(gradient["head"]["kernel"]), axis=0)
  assert np.all(by_column > 0)


LARGER = dataclasses.replace(MODEL, width=24, layers=3, mlp_width=40)
ALL = LoraConfig(rank=2, projections=PROJECTIONS, base=SOME_RUN)


@pytest.mark.parametrize(
  ("changes", "meta", "tolerance"),
  [
    ({"rater_kind": "online"}, {}, 0.01),
    ({"rater_kind": "online", "rater_reference": SOME_RUN}, {"residuals": "keep"}, 0.01),
    ({"rater_kind": "online", "rater_reference": SOME_RUN}, {"estimator": "reverse"}, 0.01),
    ({"lora": ALL}, {}, 0.05),
    ({"lora": dataclasses.replace(ALL, projections=("query", "value"))}, {}, 0.07),
    ({"lora": ALL, "rater_kind": "online"}, {"estimator": "first_order"}, 0.05),
    ({"rater_kind": "mixture"}, {}, 0.01),
  ],
  ids=["online", "kept", "reverse", "lora", "two", "both", "mixture"],
)
def test_a_meta_step_costs_what_is_said_but_for_the_first_blocks_input(changes, meta, tolerance):
  config = dataclasses.replace(
    CONFIG, rater=LARGER, inner=LARGER, meta=dataclasses.replace(CONFIG.meta, **meta), **changes
  )
  init, step = build.build(config, VOCAB)
  inner, outer = placement.batches(config, make_mesh(config.mesh))
  traced = product_flops(jax.make_jaxpr(step)(jax.eval_shape(init), inner, outer).jaxpr)
  counted = workload.meta_step_flops(config, VOCAB)
  assert traced == pytest.approx(counted, rel=tolerance)
