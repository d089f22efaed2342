"""Gradients by segment, against those of the whole parameters, one loss at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import MODEL, QUICK, VOCAB, initial_parameters, random_batch

from datarater.models.language_model import token_nll_fn
from datarater.scorers.dsdm.gradients import differentiable, sketch_fn
from datarater.scorers.dsdm.projection import Projection
from datarater.types import sum_by_datapoint

BATCH = random_batch(0)
WEIGHTS = np.random.default_rng(0).uniform(0.5, 1.0, BATCH.tokens_BxL.shape).astype(np.float32)


@pytest.fixture(scope="module")
def theta():
  return initial_parameters()[1]


@pytest.fixture(scope="module")
def jacobian(theta):
  """∂ Σ weights · nll of each segment / ∂θ, like θ with axes BxS in front."""

  def losses(theta):
    nll = token_nll_fn(MODEL, VOCAB)(theta, BATCH) * WEIGHTS
    return sum_by_datapoint(nll, BATCH, "document")

  return jax.tree.map(np.asarray, jax.jit(jax.jacrev(losses), compiler_options=QUICK)(theta))


def sketches(model, theta, projection, batch=BATCH, weights=WEIGHTS):
  sketch = jax.jit(sketch_fn(model, VOCAB, projection.parts), compiler_options=QUICK)
  return np.asarray(sketch(theta, projection.factors, batch, weights))


def test_dense_gives_the_gradients_themselves(theta, jacobian):
  got = sketches(MODEL, theta, Projection(theta, 4, "dense", jax.random.key(0)))
  flat = [x.reshape(*x.shape[:2], -1) for x in jax.tree.leaves(jacobian)]
  expected = np.concatenate(flat, axis=-1)
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
  assert (got[BATCH.document_ids_BxS < 0] == 0).all()


def test_factored_gives_both_sides_products_of_each_matrix(theta, jacobian):
  projection = Projection(theta, 8, "factored", jax.random.key(0))
  got = sketches(MODEL, theta, projection)
  at = number = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(jacobian):
    layers = np.moveaxis(leaf, 2, 0) if "blocks" in jax.tree_util.keystr(path) else [leaf]
    for gradient in layers:
      part = projection.parts[number]
      left, right = projection.factors.get(part.name, (None, None))
      if left is not None:
        gradient = np.einsum("bsio,ik->bsko", gradient, left)
      if right is not None:
        gradient = np.einsum("bsio,ok->bsik", gradient, right)
      assert gradient.shape[2:] == part.kept
      mine = got[:, :, at : at + part.size].reshape(gradient.shape)
      tolerance = 1e-5 * np.abs(gradient).max()
      np.testing.assert_allclose(mine, gradient, rtol=1e-3, atol=tolerance, err_msg=part.name)
      at, number = at + part.size, number + 1
  assert at == got.shape[-1]


def test_one_segment_a_row_is_no_other(theta):
  """The shorter way for rows of one segment."""
  projection = Projection(theta, 4, "factored", jax.random.key(0))
  batch = jax.tree.map(lambda x: x[:1], BATCH)
  assert batch.document_ids_BxS[0, 1] == -1
  narrow = {f: getattr(batch, f)[:, :1] for f in ("document_ids_BxS", "domain_BxS", "bytes_BxS")}
  expected = sketches(MODEL, theta, projection, batch, WEIGHTS[:1])[:, :1]
  got = sketches(MODEL, theta, projection, batch.replace(**narrow), WEIGHTS[:1])
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_rematerialised_models_have_the_same(theta):
  projection = Projection(theta, 4, "factored", jax.random.key(0))
  remat = dataclasses.replace(MODEL, remat=True, attention="cudnn")
  np.testing.assert_array_equal(
    sketches(remat, theta, projection), sketches(MODEL, theta, projection)
  )
  assert differentiable(remat) == MODEL


def test_bfloat16_models_give_float32(theta, jacobian):
  projection = Projection(theta, 4, "dense", jax.random.key(0))
  got = sketches(dataclasses.replace(MODEL, dtype="bfloat16"), theta, projection)
  assert got.dtype == np.float32
  flat = [x.reshape(*x.shape[:2], -1) for x in jax.tree.leaves(jacobian)]
  expected = np.concatenate(flat, axis=-1)
  assert np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)
  assert jnp.isfinite(got).all()
