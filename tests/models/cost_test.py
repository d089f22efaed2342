"""Parameter counts against initialised trees, FLOPs against the dot products of the jaxpr."""

import dataclasses
import math

import jax
import pytest
from problems import pack, stacked

from datarater.config import ModelConfig, OptimizerConfig
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
  with pytest.raises(InputError, match=r"'2m' is unknown; choose one of 0\.05m"):
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


@pytest.mark.parametrize("datapoint", ["sequence", "document"])
def test_rating_flops_are_those_of_its_products(datapoint):
  eta = parameters(rater.init_rater)
  traced = traced_flops(rater.rate_fn(SMALL, VOCAB, datapoint), eta, BATCH)
  datapoints = SEGMENTS if datapoint == "document" else 1
  assert traced == ROWS * cost.rating_flops(SMALL, LENGTH, datapoints)


def test_a_training_step_costs_three_forward_passes():
  theta = parameters(language_model.init_language_model)
  loss = language_model.mean_loss_fn(language_model.token_nll_fn(SMALL, VOCAB))
  traced = traced_flops(jax.grad(loss), theta, BATCH)
  assert traced == ROWS * cost.training_flops(SMALL, VOCAB, LENGTH)


@pytest.mark.parametrize("datapoint", ["sequence", "document"])
@pytest.mark.parametrize("T", [1, 2, 4])
def test_a_meta_step_costs_what_is_said(T, datapoint):
  optimizer = make_optimizer(OptimizerConfig(name="adamw"))
  problem = estimators.Problem(
    rate=rater.rate_fn(SMALL, VOCAB, datapoint),
    losses=language_model.losses_fn(SMALL, VOCAB, datapoint),
    outer_loss=language_model.mean_loss_fn(language_model.token_nll_fn(SMALL, VOCAB)),
    optimizer=optimizer,
    datapoint=datapoint,
  )
  eta, theta = parameters(rater.init_rater), parameters(language_model.init_language_model)
  opt_state = jax.eval_shape(optimizer.init, theta)
  traced = traced_flops(
    estimators.mixed(problem), eta, theta, opt_state, stacked([BATCH] * T), BATCH
  )
  formula = cost.meta_step_flops(
    SMALL,
    SMALL,
    VOCAB,
    LENGTH,
    unroll_length=T,
    inner_rows=ROWS,
    outer_rows=ROWS,
    datapoints=SEGMENTS if datapoint == "document" else 1,
  )
  # Apart from the rater's pooling, of which no pass needs the derivative by the mask.
  assert traced == pytest.approx(formula, rel=5e-4)
