"""Rules: closed forms first, then properties, then simulation of the batch rule they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarater.curation.candidates import Candidates
from datarater.curation.ranks import perturbed
from datarater.curation.rule_options import rule_from_options
from datarater.curation.rules import (
  PerDomain,
  Pointwise,
  Temperature,
  Threshold,
  TokenBudget,
  TopFraction,
  batch_top_k,
  empirical_cdf,
  kept_of_batch,
  pointwise,
  pointwise_probability,
  threshold,
  top_fraction,
)
from datarater.errors import InputError
from datarater.runtime.quantiles import QuantileSketch

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


RULES = {
  "top": lambda seed: TopFraction(0.4, seed),
  "threshold": lambda seed: Threshold(2.0),
  "pointwise": lambda seed: Pointwise(0.4, 10, seed),
  "per domain": lambda seed: PerDomain(0.4, {"d0": 0.8}, seed),
  "tokens": lambda seed: TokenBudget(300, seed),
  "temperature": lambda seed: Temperature(2.0, TopFraction(0.4), seed),
  "temperature, tokens": lambda seed: Temperature(2.0, TokenBudget(300), seed),
}


def corpus(ratings, order=None):
  """Candidates of three domains (one has no name) and tokens of their own, in any order."""
  order = np.arange(len(ratings)) if order is None else np.asarray(order)
  names_, domains = names(len(ratings)), ["d0", "d1", None]
  return Candidates.of(
    np.asarray(ratings, np.float32)[order],
    [names_[i] for i in order],
    [7 * int(i) % 40 for i in order],
    [domains[i % 3] for i in order],
  )


@given(st.permutations(range(30)), st.integers(0, 3), st.sampled_from(sorted(RULES)))
def test_no_rule_depends_on_the_order(order, seed, name):
  ratings = [np.nan if i == 11 else i // 7 for i in range(30)]
  rule = RULES[name](seed)
  keep = rule.keep(corpus(ratings))
  assert keep.any()
  assert not keep.all()
  assert not keep[11]
  np.testing.assert_array_equal(rule.keep(corpus(ratings, order)), keep[np.array(order)])


@given(st.lists(st.floats(-5, 5, width=32), max_size=30), st.integers(0, 9))
def test_what_is_drawn_by_itself_does_not_depend_on_company(values, gone):
  rule = Pointwise(0.5, 8, cdf=np.array([-1.0, 0.0, 1.0]))
  keep = rule.keep(corpus(values))
  rest = np.arange(len(values)) != gone
  np.testing.assert_array_equal(rule.keep(corpus(values).only(rest)), keep & rest)


@given(RATINGS, st.floats(0, 0.99), st.dictionaries(st.sampled_from("ab"), st.floats(0, 0.99)))
def test_each_domain_loses_its_own_fraction(values, fraction, fractions):
  domains = [("a", "b", "c")[i * i % 3] for i in range(len(values))]
  ratings = np.array(values, np.float32)
  candidates = Candidates.of(ratings, names(len(values)), None, domains)
  fractions = {name: f for name, f in fractions.items() if name in domains}
  keep = PerDomain(fraction, fractions).keep(candidates)
  for name in set(domains):
    own = np.array([d == name for d in domains])
    rho = fractions.get(name, fraction)
    alone = Candidates.of(ratings[own], list(np.array(names(len(values)))[own]))
    np.testing.assert_array_equal(keep[own], TopFraction(rho).keep(alone))
    assert keep[own].sum() == round((1 - rho) * (~np.isnan(ratings[own])).sum())


@given(RATINGS, st.integers(1, 900), st.data())
def test_a_token_budget_takes_the_best_until_the_next_exceeds_it(values, budget, data):
  ratings = np.array(values, np.float32)
  size = st.lists(st.integers(0, 100), min_size=len(values), max_size=len(values))
  tokens = np.array(data.draw(size), int)
  keep = TokenBudget(budget).keep(Candidates.of(ratings, names(len(values)), tokens))
  assert tokens[keep].sum() <= budget
  left = ~np.isnan(ratings) & ~keep
  if left.any():
    best = ratings[left].max()
    assert not keep.any() or ratings[keep].min() >= best
    next_ones = left & (ratings == best)
    assert tokens[keep].sum() + tokens[next_ones].max() > budget


def test_a_token_budget_by_hand():
  candidates = Candidates.of(np.array([3, 1, 2, 4], np.float32), names(4), [10, 1, 5, 10])
  for budget, kept in ((9, []), (10, [3]), (24, [0, 3]), (25, [0, 2, 3]), (99, [0, 1, 2, 3])):
    assert np.flatnonzero(TokenBudget(budget).keep(candidates)).tolist() == kept


def test_a_token_budget_needs_tokens():
  with pytest.raises(InputError, match=r"token budget is 5, but 2 documents have no token count"):
    TokenBudget(5).keep(Candidates.of(np.array([1, 2, np.nan], np.float32), names(3)))


def test_gumbel_draws_one_after_the_other_by_softmax():
  """Three documents, two drawn: the chances of each pair by hand, over many seeds."""
  ratings, temperature, trials = np.array([0.0, 1.0, 2.5], np.float32), 1.5, 6000
  candidates = Candidates.of(ratings, names(3))
  found = np.zeros(3)
  for seed in range(trials):
    keep = Temperature(temperature, TopFraction(1 / 3), seed).keep(candidates)
    found[np.flatnonzero(~keep)] += 1 / trials
  weight = np.exp(ratings / temperature)

  def left_out(i):
    j, k = (n for n in range(3) if n != i)
    total = weight.sum()
    first_j = weight[j] / total * weight[k] / (total - weight[j])
    first_k = weight[k] / total * weight[j] / (total - weight[k])
    return first_j + first_k

  np.testing.assert_allclose(found, [left_out(i) for i in range(3)], atol=0.02)


def test_a_draw_of_zero_makes_no_nan():
  ratings = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)
  values = perturbed(ratings, 2.0, lambda at: np.zeros(len(at)))
  assert np.isfinite(values[0])
  assert values[1:3].tolist() == [np.inf, -np.inf]
  assert np.isnan(values[3])


def test_temperature_goes_from_the_best_to_a_uniform_sample():
  ratings = np.random.default_rng(0).normal(size=3000).astype(np.float32)
  candidates = Candidates.of(ratings, names(3000))
  top = TopFraction(0.7).keep(candidates)
  shared = [
    (top & Temperature(t, TopFraction(0.7)).keep(candidates)).sum() / top.sum()
    for t in (1e-6, 0.3, 3.0, 1e6)
  ]
  assert shared[0] == 1
  assert shared == sorted(shared, reverse=True)
  assert shared[-1] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("name", ["top", "threshold", "pointwise", "per domain"])
def test_from_a_sketch_that_keeps_everything_the_same_is_kept(name):
  ratings = np.random.default_rng(0).permutation(300).astype(np.float32)
  candidates, rule = corpus(ratings), RULES[name](0)
  sketches = {None: QuantileSketch()}
  if getattr(rule, "by_domain", False):
    sketches = {domain: QuantileSketch() for domain in candidates.domains}
  for domain, sketch in sketches.items():
    own = np.array([domain in (None, candidates.domains[code]) for code in candidates.domain])
    sketch.add(ratings[own])
  np.testing.assert_array_equal(rule.approximate(sketches).keep(candidates), rule.keep(candidates))


def test_from_a_sketch_the_share_kept_is_within_its_error_even_among_ties():
  random = np.random.default_rng(0)
  for ratings in (random.normal(size=60_000), random.integers(0, 4, 60_000)):
    ratings = ratings.astype(np.float32)
    sketch = QuantileSketch(64)
    sketch.add(ratings)
    assert sketch.error > 0.01
    candidates = Candidates.of(ratings, names(len(ratings)))
    for fraction in (0.1, 0.5, 0.93):
      keep = TopFraction(fraction).approximate({None: sketch}).keep(candidates)
      # Ties are drawn one by one: another three standard errors of that.
      assert abs(keep.mean() - (1 - fraction)) <= sketch.error + 1.5 / np.sqrt(len(ratings))


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
  for name, make in RULES.items():
    if name != "per domain":
      assert make(0).keep(Candidates.of(empty, [])).shape == (0,)
  assert PerDomain(0.5).keep(Candidates.of(empty, [])).shape == (0,)
  nan = Candidates.of(np.full(3, np.nan, np.float32), names(3), [1, 2, 3], ["d0"] * 3)
  for make in RULES.values():
    assert not make(0).keep(nan).any()


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
    (lambda: TokenBudget(0), "token budget is 0; give 1 or more"),
    (lambda: Temperature(0.0, TopFraction(0.5)), "temperature is 0.0; give a number above 0"),
    (lambda: Temperature(float("nan"), TopFraction(0.5)), "temperature is nan"),
    (lambda: PerDomain(0.5, {"a": 1.0}), "discard fraction of domain 'a' is 1.0; give a number"),
    (
      lambda: PerDomain(0.5, {"cod": 0.1}).keep(corpus([1.0, 2.0, 3.0])),
      r"domain 'cod' is given a fraction, .* there are: '\(none\)', 'd0', 'd1'",
    ),
    (lambda: rule_from_options(), "no rule is given; give one of discard fraction, threshold, tok"),
    (lambda: rule_from_options(0.5, 0.6), "discard fraction 0.5 and threshold 0.6 is given; give"),
    (lambda: rule_from_options(0.5, token_budget=9), "0.5 and token budget 9 is given; give one"),
    (lambda: rule_from_options(0.5, pointwise=True), "pointwise rule without batch size; give"),
    (lambda: rule_from_options(0.5, batch_size=5), "without the pointwise rule"),
    (lambda: rule_from_options(0.5, cdf=np.zeros(1)), "CDF is given without the pointwise rule"),
    (
      lambda: rule_from_options(threshold=1.0, pointwise=True, batch_size=4),
      "threshold 1.0 does not go with pointwise; give a discard fraction",
    ),
    (
      lambda: rule_from_options(token_budget=8, by_domain=True),
      "token budget 8 does not go with by domain; give a discard fraction",
    ),
    (
      lambda: rule_from_options(threshold=1.0, temperature=2.0),
      "threshold 1.0 does not go with temperature; give a discard fraction",
    ),
    (
      lambda: rule_from_options(0.5, by_domain=True, temperature=2.0),
      "by domain and temperature exclude each other; give one",
    ),
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
  assert rule_from_options(token_budget=7, seed=3) == TokenBudget(7, 3)
  assert rule_from_options(fraction, by_domain=True) == PerDomain(fraction)
  groups = {"web": 0.2}
  assert rule_from_options(fraction, group_fractions=groups) == PerDomain(fraction, groups)
  top = Temperature(2.0, TopFraction(fraction, 1), 1)
  assert rule_from_options(fraction, temperature=2.0, seed=1) == top
  tokens = Temperature(2.0, TokenBudget(7))
  assert rule_from_options(token_budget=7, temperature=2.0) == tokens
