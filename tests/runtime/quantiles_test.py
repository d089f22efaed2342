"""The sketch: never further off than it says. The CDF: rising, within a thousandth, ties shared."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarater.config_io import from_json, to_json
from datarater.runtime.quantiles import CAPACITY, POINTS, QuantileSketch, RatingsCdf, worst_error

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


def test_artefacts_from_before_the_error_was_stated_load():
  old = {"quantiles": [0.0, 1.0], "count": 2}
  assert from_json(RatingsCdf, old) == RatingsCdf((0.0, 1.0), 2, 0.0)


def test_the_cdf_of_what_a_sketch_keeps_whole_is_exact_and_else_says_its_error():
  values = np.random.default_rng(0).normal(size=3 * CAPACITY)
  few = values[:CAPACITY]
  cdf = RatingsCdf.of(few)
  assert cdf.quantiles == tuple(np.quantile(few, np.linspace(0, 1, POINTS)).tolist())
  assert cdf.rank_error == 0
  cdf = RatingsCdf.of(values)
  assert 0 < cdf.rank_error <= worst_error(len(values))
  sketch = QuantileSketch()
  for part in np.split(values, 8):
    sketch.add(part)
  assert RatingsCdf.of_sketch(sketch) == cdf
  assert (cdf.quantiles[0], cdf.quantiles[-1]) == (values.min(), values.max())


VALUES = st.lists(
  st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan]) | st.floats(-9, 9, width=32),
  max_size=120,
)
ORDERS = {"as drawn": list, "rising": sorted, "falling": lambda v: sorted(v, reverse=True)}
TREES = st.recursive(VALUES, lambda kids: st.lists(kids, min_size=2, max_size=4), max_leaves=6)


def grown(tree, capacity, order):
  """(sketch, values) of a tree of merges whose leaves are streams."""
  sketch = QuantileSketch(capacity)
  if not tree or not isinstance(tree[0], list):
    sketch.add(ORDERS[order](tree))
    return sketch, list(tree)
  values = []
  for branch in tree:
    other, more = grown(branch, capacity, order)
    sketch.merge(other)
    values += more
  return sketch, values


@settings(max_examples=300, deadline=None)
@given(TREES, st.integers(2, 12), st.sampled_from(sorted(ORDERS)))
def test_no_rank_is_further_off_than_the_sketch_says(tree, capacity, order):
  sketch, values = grown(tree, capacity, order)
  values = np.sort(np.array([v for v in values if not np.isnan(v)], np.float64))
  assert sketch.count == len(values)
  assert sketch.error <= worst_error(len(values), capacity)
  assert (sketch.error == 0) or len(values) > capacity
  slack = sketch.error * len(values)
  asked = np.unique(np.concatenate([values, [-np.inf, -1.0, 0.0, 0.5, np.inf]]))
  for side in ("left", "right"):
    true = np.searchsorted(values, asked, side)
    assert np.abs(sketch.rank(asked, side) - true).max() <= slack + 1e-9
  if len(values):
    true = sum(np.searchsorted(values, asked, side) for side in ("left", "right")) / 2 / len(values)
    assert np.abs(sketch.cdf(asked) - true).max() <= sketch.error + 1e-12
    p = np.linspace(0, 1, 21)
    found = sketch.quantile(p)
    assert (found[0], found[-1]) == (values[0], values[-1])
    places = p * (len(values) - 1)
    # Between its neighbours in rank, one more on each side for the interpolation.
    assert np.all(np.searchsorted(values, found, "left") <= places + slack + 1)
    assert np.all(np.searchsorted(values, found, "right") >= places - slack - 1e-9)


@given(VALUES, st.integers(2, 9), st.lists(st.integers(0, 120), max_size=5))
def test_how_values_are_cut_into_calls_does_not_matter_and_json_carries_every_bit(
  values, capacity, cuts
):
  whole, parts = QuantileSketch(capacity), QuantileSketch(capacity)
  whole.add(values)
  for part in np.split(np.array(values, np.float64), sorted(cuts)):
    parts.add(part)
  assert parts.as_json() == whole.as_json()
  again = QuantileSketch.from_json(json.loads(json.dumps(whole.as_json())))
  assert again.as_json() == whole.as_json()
  more = np.arange(5 * capacity)
  again.add(more)
  whole.add(more)
  assert again.as_json() == whole.as_json()


def test_signs_of_zero_leave_no_trace():
  one, other = QuantileSketch(4), QuantileSketch(4)
  one.add([0.0, -0.0] * 20)
  other.add([-0.0, 0.0] * 20)
  assert one.as_json() == other.as_json()


@pytest.mark.parametrize("order", ["random", "rising", "falling", "two far apart", "few values"])
def test_a_million_values_in_adverse_orders_stay_within_the_error(order):
  values = np.random.default_rng(0).normal(size=1_000_000)
  if order == "few values":
    values = values.round(1)
  elif order == "two far apart":
    values = values + 1e6 * (np.arange(len(values)) % 2)
  elif order != "random":
    values = np.sort(values)[:: 1 if order == "rising" else -1]
  sketch = QuantileSketch()
  sketch.add(values)
  ordered = np.sort(values)
  asked = ordered[::97]
  off = np.abs(sketch.rank(asked) - np.searchsorted(ordered, asked, "right")).max() / len(values)
  assert off <= sketch.error <= worst_error(len(values)) / 2 + 1e-4
  assert sketch.error > 0
  size = sum(len(level) for level in sketch._levels)
  assert size <= CAPACITY * len(sketch._levels) <= CAPACITY * 8


def test_the_error_at_a_thousand_million_values_is_below_half_a_percent():
  """Counted on a sketch of as many: one million, merged with a copy of itself ten times."""
  sketch = QuantileSketch()
  sketch.add(np.random.default_rng(0).normal(size=1_000_000))
  while sketch.count < 1_000_000_000:
    sketch.merge(QuantileSketch.from_json(sketch.as_json()))
  assert sketch.error <= worst_error(sketch.count) < 0.005
  half = sketch.rank([0.0])[0] / sketch.count
  assert abs(half - 0.5) < sketch.error + 0.002  # and the sample's own share below zero


def test_shards_merged_are_as_good_as_the_bound_for_any_tree():
  values = np.random.default_rng(1).normal(size=400_000)
  total = QuantileSketch()
  for part in np.split(values, 100):
    shard = QuantileSketch()
    shard.add(part)
    total.merge(shard)
  ordered = np.sort(values)
  off = np.abs(total.rank(ordered) - np.arange(1, len(values) + 1)).max() / len(values)
  assert off <= total.error <= worst_error(len(values))


def test_what_cannot_be_is_refused():
  with pytest.raises(ValueError, match="empty"):
    QuantileSketch().quantile([0.5])
  with pytest.raises(ValueError, match="empty"):
    QuantileSketch().cdf([0.5])
  with pytest.raises(ValueError, match="capacities 4 and 6 differ"):
    QuantileSketch(4).merge(QuantileSketch(6))
  with pytest.raises(ValueError, match="at least 2"):
    QuantileSketch(1)
  values = QuantileSketch(4).as_json() | {"count": 3}
  with pytest.raises(ValueError, match="counts 3 values and holds 0"):
    QuantileSketch.from_json(values)
