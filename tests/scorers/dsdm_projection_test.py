"""The random map: what its two steps are, their transpose, and that seeds and blocks are apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import MODEL, VOCAB, initial_parameters

from datarater.models import cost
from datarater.scorers.dsdm import projection
from datarater.scorers.dsdm.projection import Projection, block_rows, mix, signs, unmix

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def theta():
  return initial_parameters()[1]


def explicit_signs(key, size, dimension):
  """S, d x k, block below block."""
  rows = block_rows(dimension)
  blocks = [np.asarray(signs(key, b, rows, dimension)) for b in range(-(-size // rows))]
  return np.concatenate(blocks)[:size].astype(np.float64)


@pytest.mark.parametrize(("size", "dimension"), [(64, 3), (200, 7)])
def test_mixing_is_a_product_with_random_signs_made_in_blocks(monkeypatch, size, dimension):
  monkeypatch.setattr(projection, "BLOCK", 32 * dimension)
  x = np.random.default_rng(size).normal(size=(4, size)).astype(np.float32)
  v = np.random.default_rng(dimension).normal(size=dimension).astype(np.float32)
  s = explicit_signs(KEY, size, dimension)
  np.testing.assert_allclose(mix(jnp.asarray(x), KEY, dimension), x @ s / size**0.5, rtol=1e-4)
  np.testing.assert_allclose(unmix(jnp.asarray(v), KEY, size), s @ v / size**0.5, rtol=1e-4)


def test_signs_are_fair_and_differ_by_block_and_key():
  s = np.asarray(signs(KEY, 0, 1024, 16))
  assert set(np.unique(s)) == {-1.0, 1.0}
  products = s.T @ s / len(s)
  np.testing.assert_allclose(products, np.eye(16), atol=5 / 32)
  assert abs(s.mean()) < 5 / 128
  for other in (signs(KEY, 1, 1024, 16), signs(jax.random.key(6), 0, 1024, 16)):
    assert abs((s * np.asarray(other)).mean()) < 5 / 128


@pytest.mark.parametrize("kind", ["factored", "dense"])
def test_a_directions_product_with_a_gradient_is_that_of_their_projections(theta, kind):
  p = Projection(theta, 24, kind, KEY)
  random = np.random.default_rng(0)
  gradient = jax.tree.map(lambda x: random.normal(size=x.shape), theta)
  v = random.normal(size=p.dimension)
  kept, number = [], 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    for matrix in leaf if "blocks" in jax.tree_util.keystr(path) else [leaf]:
      left, right = p.factors.get(p.parts[number].name, (None, None))
      matrix = matrix if left is None else np.asarray(left, np.float64).T @ matrix
      kept.append((matrix if right is None else matrix @ np.asarray(right, np.float64)).ravel())
      number += 1
  assert number == len(p.parts)
  kept = np.concatenate(kept)
  assert len(kept) == p.size
  products = jax.tree.map(lambda g, w: np.sum(g * w), gradient, p.direction(v))
  expected = np.asarray(p.mix(jnp.asarray(kept[None], jnp.float32)))[0] @ v
  assert sum(jax.tree.leaves(products)) == pytest.approx(expected, rel=1e-4)


def test_dense_keeps_every_parameter(theta):
  p = Projection(theta, 24, "dense", KEY)
  assert p.size == cost.language_model_parameters(MODEL, VOCAB)
  assert not any(left is not None or right is not None for left, right in p.factors.values())
  assert p.dimension == 24


def test_factors_keep_products_of_gradients_on_average():
  """E[Q Qᵀ] = I for columns that are orthogonal and of one length."""
  normal = np.random.default_rng(0).normal(size=(300, 6, 2))
  drawn = np.stack([np.asarray(projection._orthogonal(x)) for x in normal])
  products = np.einsum("sik,sil->skl", drawn, drawn)
  np.testing.assert_allclose(products, np.broadcast_to(3 * np.eye(2), products.shape), atol=1e-5)
  np.testing.assert_allclose(np.einsum("sik,sjk->ij", drawn, drawn) / 300, np.eye(6), atol=0.35)


def test_no_more_numbers_than_parameters(theta):
  whole = Projection(theta, 10_000, "factored", KEY)
  assert whole.dimension == whole.size == cost.language_model_parameters(MODEL, VOCAB)


def test_one_key_one_map(theta):
  a, b, other = (Projection(theta, 16, "factored", key) for key in (KEY, KEY, jax.random.key(6)))
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, a.size)), jnp.float32)
  np.testing.assert_array_equal(a.mix(x), b.mix(x))
  assert not np.allclose(a.mix(x), other.mix(x))
  np.testing.assert_array_equal(a.factors["query 1"][0], b.factors["query 1"][0])
  first, second = (np.asarray(a.factors[name][0]) for name in ("query 0", "query 1"))
  assert not np.allclose(first, second)


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 1e6))
def test_a_matrix_keeps_about_as_many_numbers_as_wanted(rows, columns, wanted):
  kept = projection._kept((rows, columns), wanted)
  assert 1 <= kept[0] <= rows
  assert 1 <= kept[1] <= columns
  target = min(max(wanted, 1), rows * columns)
  assert target / 2 <= kept[0] * kept[1] <= 2 * target
