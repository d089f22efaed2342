"""Rules: closed forms first, then properties, then simulation of the batch rule they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarater.config import InputError
from datarater.curation.rules import (
  Pointwise,
  Threshold,
  TopFraction,
  batch_top_k,
  empirical_cdf,
  kept_of_batch,
  pointwise,
  pointwise_probability,
  rule_from_options,
  threshold,
  top_fraction,
)

RATINGS = st.lists(
  st.sampled_from([0.0, 1.0, 2.5, -3.0, np.inf, -np.inf, np.nan]) | st.floats(width=32), max_size=60
)


def names(number):
  return [f"id {i}" for i in range(number)]


def test_pointwise_probability_by_hand():
  # B = 3, K = 1: kept if both others are worse, p²; K = 2: if not both are better.
  p = np.array([0.0, 0.25, 0.5, 1.0])
  np.testing.assert_allclose(pointwise_probability(p, 3, 1), p**2)
  np.testing.assert_allclose(pointwise_probability(p, 3, 2), 1 - (1 - p) ** 2)
  np.testing.assert_allclose(pointwise_probability(p, 3, 3), 1.0)


@given(st.integers(1, 200).flatmap(lambda b: st.tuples(st.just(b), st.integers(1, b))))
def test_pointwise_mean_over_uniform_ranks_is_k_over_b(size):
  batch, keep = size
  # Gauss-Legendre with n nodes is exact for polynomials up to degree 2n - 1; this one has B - 1.
  nodes, weights = np.polynomial.legendre.leggauss(batch // 2 + 1)
  mean = weights @ pointwise_probability((nodes + 1) / 2, batch, keep) / 2
  assert mean == pytest.approx(keep / batch, rel=1e-10)


@given(RATINGS, st.floats(0, 0.99), st.integers(0, 5))
def test_top_fraction_keeps_the_exact_number_of_the_best(values, fraction, seed):
  ratings = np.array(values, np.float32)
  keep = top_fraction(ratings, names(len(ratings)), fraction, seed)
  rated = ~np.isnan(ratings)
  assert keep.sum() == round((1 - fraction) * rated.sum())
  assert not keep[~rated].any()
  if keep.any() and (rated & ~keep).any():
    assert ratings[keep].min() >= ratings[rated & ~keep].max()


@given(st.permutations(range(30)), st.integers(0, 3))
def test_no_rule_depends_on_the_order(order, seed):
  order = np.array(order)
  ratings = np.array([i // 7 for i in range(30)], np.float32)
  ids = np.array(names(30), object)
  for rule in (TopFraction(0.4, seed), Pointwise(0.4, 10, seed), Threshold(2.0)):
    keep = rule.keep(ratings, ids)
    np.testing.assert_array_equal(rule.keep(ratings[order], ids[order]), keep[order])


def test_ties_go_by_the_seed():
  ratings = np.zeros(1000, np.float32)
  first, again, other = (top_fraction(ratings, names(1000), 0.5, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert 200 < (first & other).sum() < 300
  assert first[:500].sum() != 500


def test_threshold_compares_as_the_ratings_are_stored():
  ratings = np.array([0.7, np.nan, 0.69, np.inf, -np.inf], np.float32)
  assert threshold(ratings, 0.7).tolist() == [True, False, False, True, False]


def test_mid_ranks_share_ties():
  ratings = np.array([5, 1, 1, 3, np.nan], np.float32)
  np.testing.assert_allclose(empirical_cdf(ratings, ratings), [7 / 8, 2 / 8, 2 / 8, 5 / 8, np.nan])
  np.testing.assert_allclose(empirical_cdf(np.array([0.0, 9.0]), ratings), [0, 1])


def test_batch_top_k_takes_the_best_of_each_row_and_never_nan():
  ratings = np.array([[1, 3, 2, 3], [np.nan, -np.inf, np.nan, np.nan]], np.float32)
  expected = [[False, True, False, True], [False, True, False, False]]
  assert batch_top_k(ratings, 2).tolist() == expected
  assert batch_top_k(ratings[0], 1).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("batch", "fraction"), [(4, 0.5), (16, 0.75), (10, 0.1)])
def test_batches_and_the_pointwise_rule_keep_each_document_equally_often(batch, fraction):
  """Each document among random others, top K, against the rule's draw by itself."""
  documents, trials = 40, 3000
  random = np.random.default_rng(0)
  ratings = random.normal(size=documents).astype(np.float32)
  keep = kept_of_batch(fraction, batch)
  # Column 0 is the document in question, its company drawn from the corpus; ties broken at random.
  company = random.integers(documents, size=(documents, trials, batch - 1))
  drawn = np.concatenate([np.tile(np.arange(documents)[:, None, None], (1, trials, 1)), company], 2)
  values = ratings[drawn].astype(np.float64) + 1e-9 * random.random(drawn.shape)
  of_batches = batch_top_k(values, keep)[:, :, 0].mean(axis=1)
  seeds = range(trials // 10)
  of_rule = np.mean(
    [pointwise(ratings, names(documents), fraction, batch, seed=seed) for seed in seeds], axis=0
  )
  # Documents share a rank with a 40th of their company; mid-ranks meet that up to second order.
  chance = pointwise_probability(empirical_cdf(ratings, ratings), batch, keep)
  assert np.abs(of_batches - chance).max() < 0.05
  assert np.abs(of_rule - chance).max() < 0.13  # 300 draws: 4.5 standard errors
  assert abs(of_rule.mean() - of_batches.mean()) < 0.02
  assert of_batches.mean() == pytest.approx(keep / batch, abs=0.01)


def test_offline_selection_is_the_limit_of_large_batches():
  ratings = np.random.default_rng(1).normal(size=4000).astype(np.float32)
  ids = names(len(ratings))
  offline = top_fraction(ratings, ids, 0.7)
  differing = []
  for batch in (10, 100, 1000, 100_000):
    keep = pointwise(ratings, ids, 0.7, batch)
    assert keep.mean() == pytest.approx(0.3, abs=0.03)  # the same share, whatever the batch
    differing.append(int((keep != offline).sum()))
  assert differing == sorted(differing, reverse=True)
  assert differing[0] > 400
  assert differing[-1] < 20


def test_the_reference_distribution_decides_where_a_document_stands():
  ratings = np.full(2000, 1.0, np.float32)
  better, worse = np.full(9, 2.0), np.full(9, 0.0)
  assert not pointwise(ratings, names(2000), 0.5, 20, better).any()
  assert pointwise(ratings, names(2000), 0.5, 20, worse).all()
  assert pointwise(ratings, names(2000), 0.5, 20).mean() == pytest.approx(0.5, abs=0.05)


def test_nothing_to_select_from():
  empty = np.zeros(0, np.float32)
  for rule in (TopFraction(0.5), Pointwise(0.5, 4), Threshold(0.0)):
    assert rule.keep(empty, []).shape == (0,)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: TopFraction(1.0), "discard fraction is 1.0; give a number from 0"),
    (lambda: TopFraction(float("nan")), "discard fraction is nan"),
    (lambda: Threshold(float("nan")), "threshold is nan"),
    (lambda: Pointwise(0.9, 4), "batch size 4 at discard fraction 0.9 keeps 0 .* larger batch"),
    (lambda: Pointwise(0.5, 0), "batch size is 0"),
    (lambda: pointwise_probability(np.zeros(1), 4, 5), "K is 5 of a batch of 4"),
    (lambda: batch_top_k(np.zeros(4), 0), "K is 0 of a batch of 4"),
    (lambda: rule_from_options(), "discard fraction is None and threshold None; give one"),
    (lambda: rule_from_options(0.5, 0.5), "give one of the two"),
    (lambda: rule_from_options(0.5, pointwise=True), "batch size None; give both"),
    (lambda: rule_from_options(0.5, batch_size=5), "without the pointwise rule"),
    (lambda: rule_from_options(threshold=1.0, pointwise=True), "give both"),
    (lambda: pointwise(np.full(1, np.nan), ["a"], 0.5, 4), "CDF of ratings is empty"),
  ],
)
def test_impossible_rules_say_thing_value_and_remedy(make, message):
  with pytest.raises(InputError, match=message):
    make()


@settings(max_examples=20)
@given(st.floats(0, 0.9))
def test_options_name_the_rule(fraction):
  assert rule_from_options(fraction) == TopFraction(fraction)
  assert rule_from_options(fraction, pointwise=True, batch_size=100) == Pointwise(fraction, 100)
  assert rule_from_options(threshold=fraction) == Threshold(fraction)
