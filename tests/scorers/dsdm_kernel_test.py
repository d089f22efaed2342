"""Scores from gradients, against their formulas."""

import numpy as np
import pytest
from numpy.linalg import inv

from datarater.errors import InputError
from datarater.scorers.dsdm.kernel import (
  Moments,
  attribute,
  gradient_products,
  require_numbers,
  similarities,
  solve,
)

RANDOM = np.random.default_rng(0)
X, T = RANDOM.normal(size=(30, 6)) + 0.5, RANDOM.normal(size=(4, 6))


def moments_of(*blocks):
  moments = Moments(6)
  for block in blocks:
    moments.add(block)
  return moments


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 10.0])
def test_scores_are_those_of_the_formula(ridge):
  damping = ridge * np.trace(X.T @ X) / 6
  expected = T @ inv(X.T @ X + damping * np.eye(6)) @ X.T
  np.testing.assert_allclose(attribute(X, T, ridge), expected, rtol=1e-9)
  dual = np.linalg.solve(X @ X.T + damping * np.eye(30), X @ T.T).T  # the same, by documents
  np.testing.assert_allclose(attribute(X, T, ridge), dual, rtol=1e-6)


def test_blocks_and_scales_do_not_matter():
  whole, parts = moments_of(X), moments_of(X[:7], X[7:7], X[7:])
  np.testing.assert_allclose(solve(whole, T.T, 0.1), solve(parts, T.T, 0.1), rtol=1e-12)
  np.testing.assert_allclose(attribute(10 * X, 10 * T, 0.1), attribute(X, T, 0.1), rtol=1e-9)
  assert moments_of(X).deviation(T[0]) == pytest.approx(np.std(X @ T[0]))
  assert parts.number == 30


def test_a_large_ridge_leaves_the_products_of_gradients():
  attributed, products = attribute(X, T, 1e9), gradient_products(X, T)
  np.testing.assert_allclose(products, T @ X.T)
  ratio = attributed / products
  np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


def test_similarities_are_cosines():
  got = similarities(X, T)
  expected = T[1] @ X[2] / np.linalg.norm(T[1]) / np.linalg.norm(X[2])
  assert got.shape == (4, 30)
  assert got[1, 2] == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_gradients_that_say_nothing_are_refused(value):
  bad = np.full((3, 6), value)
  with pytest.raises(InputError, match="give a proxy"), np.errstate(invalid="ignore"):
    require_numbers(moments_of(bad), T[0])
  with pytest.raises(InputError, match="give a proxy"):
    require_numbers(moments_of(X), np.full(6, np.nan))
