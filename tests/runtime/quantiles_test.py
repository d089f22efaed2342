"""The CDF of ratings: rising, within a thousandth of the empirical one, ties at their middle."""

import dataclasses

import numpy as np
import pytest

from datarater.config_io import from_json, to_json
from datarater.runtime.quantiles import RatingsCdf

DISTRIBUTIONS = {
  "normal": lambda rng: rng.normal(size=20_000),
  "heavy tail": lambda rng: -rng.pareto(0.7, size=20_000),
  "two far apart": lambda rng: rng.normal(size=10_000) + 1e6 * (np.arange(10_000) % 2),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_is_within_a_thousandth_of_the_empirical_one(name):
  values = DISTRIBUTIONS[name](np.random.default_rng(0))
  cdf = RatingsCdf.of(values)
  found = cdf(values)
  ranks = np.argsort(np.argsort(values))
  empirical = ranks / (len(values) - 1)
  assert np.abs(found - empirical).max() <= 1e-3
  assert cdf.count == len(values)


def test_it_rises_from_0_to_1():
  values = np.random.default_rng(0).normal(size=500).round(1)  # many ties
  cdf = RatingsCdf.of(values)
  grid = np.linspace(-6, 6, 4001)
  found = cdf(grid)
  assert np.all(np.diff(found) >= 0)
  assert found[0] == 0
  assert found[-1] == 1
  np.testing.assert_array_equal(cdf(np.array([-np.inf, np.inf])), [0, 1])


def test_ties_are_at_their_middle():
  cdf = RatingsCdf.of([1.0] * 400 + [2.0] * 600)
  np.testing.assert_allclose(cdf(np.array([1.0, 2.0])), [0.2, 0.7], atol=1e-3)
  np.testing.assert_allclose(RatingsCdf.of([3.0] * 7)(np.array([2.9, 3.0, 3.1])), [0, 0.5, 1])


def test_what_is_not_finite_is_left_out():
  cdf = RatingsCdf.of([np.nan, 1.0, np.inf, 2.0, -np.inf])
  assert cdf.count == 2
  assert (cdf.quantiles[0], cdf.quantiles[-1]) == (1.0, 2.0)
  with pytest.raises(ValueError, match="no finite rating"):
    RatingsCdf.of([np.nan])


def test_json_carries_it_exactly():
  cdf = RatingsCdf.of(np.random.default_rng(0).normal(size=100).astype(np.float32))
  assert from_json(RatingsCdf, to_json(cdf)) == cdf
  assert from_json(RatingsCdf, dataclasses.asdict(cdf) | {"count": 100}) == cdf
