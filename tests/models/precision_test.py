"""bfloat16 activations: what must stay float32 does, and the meta-gradient stays close."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import (
  MODEL,
  QUICK,
  VOCAB,
  initial_parameters,
  pack,
  random_batch,
  stacked,
  tree_distance,
)

from datarater.config import ModelConfig, OptimizerConfig
from datarater.meta import estimators
from datarater.models import language_model, rater
from datarater.models.blockwise import wide_scores
from datarater.models.transformer import Transformer
from datarater.training.optimizers import make_optimizer
from datarater.types import sum_by_datapoint

LOW = ModelConfig(**{**MODEL.__dict__, "dtype": "bfloat16"})
OPTIMIZER = make_optimizer(OptimizerConfig(name="adamw", weight_decay=0.1, clip_norm=1.0))


def problem(config):
  return estimators.Problem(
    rate=rater.rate_fn(config, VOCAB, "document"),
    losses=language_model.losses_fn(config, VOCAB, "document"),
    outer_loss=language_model.outer_loss_fn("nll", config, VOCAB),
    optimizer=OPTIMIZER,
    datapoint="document",
  )


def arguments():
  eta, theta = initial_parameters()
  opt_state = OPTIMIZER.init(theta)
  # Warm moments: Adam's first step has no scale.
  _, opt_state = OPTIMIZER.update(jax.tree.map(lambda x: 0.1 * x, theta), opt_state, theta)
  return eta, theta, opt_state, stacked([random_batch(0), random_batch(1)]), random_batch(2)


@functools.cache
def meta_gradient(name, config):
  function = estimators.ESTIMATORS[name](problem(config))
  return jax.jit(function, compiler_options=QUICK)(*arguments())


def equations(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for value in equation.params.values():
      for item in value if isinstance(value, tuple | list) else [value]:
        inner = getattr(item, "jaxpr", item)
        if hasattr(inner, "eqns"):
          yield from equations(inner)


def test_parameters_losses_ratings_and_meta_gradients_are_float32():
  gradient, window = meta_gradient("mixed", LOW)
  values = (gradient, window.theta, window.outer_loss, window.ratings_TxBxD, window.weights_TxBxD)
  assert {str(x.dtype) for x in jax.tree.leaves(values)} == {"float32"}
  assert {str(x.dtype) for x in jax.tree.leaves(window.opt_state)} == {"float32", "int32"}


@pytest.mark.parametrize("attention", ["xla", "blockwise"])
def test_softmax_norms_and_sums_over_tokens_are_float32_in_all_derivatives(attention):
  config = ModelConfig(**{**LOW.__dict__, "attention": attention})
  traced = jax.make_jaxpr(estimators.mixed(problem(config)))(*arguments())
  kinds = {}
  for equation in equations(traced.jaxpr):
    for variable in equation.outvars:
      kinds.setdefault(equation.primitive.name, set()).add(str(variable.aval.dtype))
  assert "bfloat16" in kinds["dot_general"]  # it is on
  for name in ("exp", "log", "rsqrt", "reduce_max", "cos", "scatter-add"):
    assert kinds[name] == {"float32"}, name


@pytest.mark.parametrize("other", ["reverse", "float32"])
def test_meta_gradient_is_right_but_for_rounding(other):
  low, _ = meta_gradient("mixed", LOW)
  right, _ = meta_gradient("reverse", LOW) if other == "reverse" else meta_gradient("mixed", MODEL)
  assert 1e-6 < tree_distance(low, right) < 0.1


def test_the_gradient_of_a_frequent_token_is_not_lost():
  """Added up in bfloat16, the thousands of places of a token would stand still."""
  length = 1024
  batch = pack([[[1] * length]] * 8, length=length, segments=1)
  theta = initial_parameters()[1]["transformer"]
  gradients = []
  for config in (LOW, MODEL):
    model = Transformer(config, VOCAB, causal=True)

    def total(embedding, model=model):
      return jnp.sum(model.apply({"params": theta | {"embedding": embedding}}, batch)[..., 0])

    gradients.append(jax.jit(jax.grad(total))(theta["embedding"].astype(jnp.float32)))
  assert tree_distance(*gradients) < 0.02


def test_scores_of_attention_are_not_rounded():
  rng = np.random.default_rng(0)
  q, k, dq, dk = (jnp.asarray(rng.normal(size=(1, 2, 5, 8)), jnp.bfloat16) for _ in range(4))
  exact = np.einsum("bhqk,bhsk->bhqs", *(np.asarray(x, np.float64) for x in (q, k)))
  scores, change = jax.jvp(wide_scores, (q, k), (dq, dk))
  np.testing.assert_allclose(scores, exact, rtol=1e-5, atol=1e-5)
  wide = [x.astype(jnp.float32) for x in (q, k, dq, dk)]
  _, expected = jax.jvp(wide_scores, wide[:2], wide[2:])
  np.testing.assert_allclose(change, expected, rtol=0.03, atol=0.03)


def test_sums_of_losses_and_the_pooling_ask_for_full_precision():
  """Else a GPU rounds float32 to 10 bits on its way into a product, a TPU to 7."""
  batch, eta = random_batch(0), initial_parameters()[0]
  losses = jnp.zeros(batch.tokens_BxL.shape)
  summed = jax.make_jaxpr(lambda x: sum_by_datapoint(x, batch, "document"))(losses)
  rated = jax.make_jaxpr(rater.rate_fn(MODEL, VOCAB, "document"))(eta, batch)
  highest = (jax.lax.Precision.HIGHEST,) * 2
  products = [e for e in equations(summed.jaxpr) if e.primitive.name == "dot_general"]
  products += [e for e in equations(rated.jaxpr) if e.primitive.name == "dot_general"][-2:]
  assert [e.params["precision"] for e in products] == [highest] * 3
