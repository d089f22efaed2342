"""Parameter counts against initialised trees, FLOPs against the dot products of the jaxpr."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from problems import pack, stacked

from datarater.config import MetaConfig, ModelConfig, OptimizerConfig
from datarater.errors import InputError
from datarater.meta import estimators
from datarater.models import cost, language_model, rater
from datarater.models.presets import PRESETS, preset
from datarater.models.traced_cost import product_flops
from datarater.training.optimizers import make_optimizer

VOCAB, LENGTH, SEGMENTS, ROWS = 37, 24, 3, 2
SMALL = ModelConfig(width=24, layers=3, heads=2, mlp_width=40)
BATCH = pack([[[1] * 9, [2] * 5, [3] * 10], [[4] * 20]], LENGTH, SEGMENTS)


def count(tree):
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("vocab_size", [257, 32_000])
@pytest.mark.parametrize("name", PRESETS)
def test_parameter_counts_are_exact(name, vocab_size):
  key = jax.random.key(0)
  for init, formula in (
    (language_model.init_language_model, cost.language_model_parameters),
    (rater.init_rater, cost.rater_parameters),
  ):
    shapes = jax.eval_shape(lambda init=init: init(preset(name), vocab_size, key, 8))
    assert formula(preset(name), vocab_size) == count(shapes)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_about_as_large_as_their_names_say(name):
  vocab_size = 32_000 if name in ("50m", "150m", "400m", "1b") else 257
  said = float(name[:-1]) * {"m": 1e6, "b": 1e9}[name[-1]]
  assert 0.6 < cost.language_model_parameters(preset(name), vocab_size) / said < 1.6


def test_unknown_preset_is_refused():
  with pytest.raises(InputError, match=r"'2m' is unknown; choose one of 0\.02m"):
    preset("2m")


def traced_flops(function, *args):
  return product_flops(jax.make_jaxpr(function)(*args).jaxpr)


def parameters(init):
  return jax.eval_shape(lambda: init(SMALL, VOCAB, jax.random.key(0), LENGTH))


@pytest.mark.parametrize("remat", [False, True])
def test_language_model_flops_are_those_of_its_products(remat):
  config = dataclasses.replace(SMALL, remat=remat)
  theta = parameters(language_model.init_language_model)
  traced = traced_flops(language_model.token_nll_fn(config, VOCAB), theta, BATCH)
  assert traced == ROWS * cost.language_model_flops(config, VOCAB, LENGTH)


DATAPOINTS = {"sequence": 1, "document": SEGMENTS, "token": None}


@pytest.mark.parametrize("datapoint", DATAPOINTS)
def test_rating_flops_are_those_of_its_products(datapoint):
  eta = parameters(rater.init_rater)
  traced = traced_flops(rater.rate_fn(SMALL, VOCAB, datapoint), eta, BATCH)
  assert traced == ROWS * cost.rating_flops(SMALL, LENGTH, DATAPOINTS[datapoint])


def test_a_training_step_costs_three_forward_passes():
  theta = parameters(language_model.init_language_model)
  loss = language_model.mean_loss_fn(language_model.token_nll_fn(SMALL, VOCAB))
  traced = traced_flops(jax.grad(loss), theta, BATCH)
  assert traced == ROWS * cost.training_flops(SMALL, VOCAB, LENGTH)


def problem_of(config, datapoint, optimizer):
  return estimators.Problem(
    rate=rater.rate_fn(config, VOCAB, datapoint),
    losses=language_model.losses_fn(config, VOCAB, datapoint),
    outer_loss=language_model.mean_loss_fn(language_model.token_nll_fn(config, VOCAB)),
    optimizer=optimizer,
    datapoint=datapoint,
  )


@pytest.mark.parametrize(
  ("estimator", "T", "datapoint", "remat"),
  [
    *(("mixed", T, datapoint, False) for T in (1, 2, 4) for datapoint in ("sequence", "document")),
    *(("mixed", T, "document", True) for T in (1, 3)),
    ("mixed", 2, "token", False),
    *(
      (name, T, "sequence", remat)
      for name in ("reverse", "first_order", "evolution")
      for T in (1, 3)
      for remat in (False, True)
    ),
  ],
)
def test_a_meta_step_costs_what_is_said(estimator, T, datapoint, remat):
  config, pairs = dataclasses.replace(SMALL, remat=remat), 2
  optimizer = make_optimizer(OptimizerConfig(name="adamw"))
  estimate = estimators.make_estimator(
    MetaConfig(estimator=estimator, evolution_pairs=pairs),
    problem_of(config, datapoint, optimizer),
  )
  eta, theta = parameters(rater.init_rater), parameters(language_model.init_language_model)
  opt_state = jax.eval_shape(optimizer.init, theta)
  key = jax.random.key(0)
  traced = traced_flops(estimate, eta, theta, opt_state, stacked([BATCH] * T), BATCH, key)

  def formula(recomputation):
    return cost.meta_step_flops(
      config,
      config,
      VOCAB,
      LENGTH,
      unroll_length=T,
      inner_rows=ROWS,
      outer_rows=ROWS,
      datapoints=DATAPOINTS[datapoint],
      estimator=estimator,
      evolution_pairs=pairs,
      recomputation=recomputation,
    )

  # Apart from the rater's pooling, of which no pass needs the derivative by the mask.
  assert traced == pytest.approx(formula(True), rel=5e-4)
  assert (formula(False) == formula(True)) == (not remat)


@pytest.mark.parametrize("remat", [False, True])
def test_residuals_that_are_kept_save_what_is_said(remat):
  """The linear maps of a gradient and of the losses, without the passes that they are taken of."""
  config = dataclasses.replace(SMALL, remat=remat)
  losses = language_model.losses_fn(config, VOCAB, "sequence")
  theta = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), parameters(language_model.init_language_model)
  )

  def linear_flops(function):
    shape = jax.ShapeDtypeStruct
    like = jax.tree.map(lambda x: shape(x.shape, x.dtype), theta)
    return traced_flops(jax.linearize(function, theta)[1], like)

  gradient = jax.grad(lambda theta: jnp.sum(losses(theta, BATCH)))
  further = linear_flops(gradient)
  first = linear_flops(lambda theta: losses(theta, BATCH))

  def formula(T, residuals):
    return cost.meta_step_flops(
      config,
      SMALL,
      VOCAB,
      LENGTH,
      unroll_length=T,
      inner_rows=ROWS,
      outer_rows=ROWS,
      residuals=residuals,
      recomputation=True,
    )

  update = ROWS * (
    cost.training_flops(config, VOCAB, LENGTH) + cost.recomputed_flops(config, LENGTH)
  )
  rating = 3 * ROWS * cost.rating_flops(SMALL, LENGTH)
  assert formula(1, "keep") == pytest.approx(2 * update + first + rating, rel=5e-4)
  assert formula(2, "keep") - formula(1, "keep") == pytest.approx(
    update + further + rating, rel=5e-4
  )
  assert formula(2, "keep") < formula(2, "recompute")
