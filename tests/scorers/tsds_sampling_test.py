"""Draws from a distribution: their frequencies, seeds, and what is refused."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from datarater.errors import InputError
from datarater.scorers.tsds import draw

P = np.array([0.5, 0.0, 0.3, 0.15, 0.05])


def test_with_replacement_counts_follow_the_probabilities():
  counts = draw(P, 20_000, seed=0, replacement=True)
  assert counts.dtype == np.int64
  assert counts.sum() == 20_000
  assert counts[1] == 0
  assert chisquare(counts[P > 0], 20_000 * P[P > 0]).pvalue > 1e-3


def test_without_replacement_each_draw_is_in_proportion_to_what_is_left():
  drawn = [draw(P, 2, seed, replacement=False) for seed in range(4000)]
  assert all(counts.max() == 1 and counts.sum() == 2 for counts in drawn)
  pairs = list(itertools.combinations(np.flatnonzero(P), 2))
  expected = [P[i] * P[j] / (1 - P[i]) + P[j] * P[i] / (1 - P[j]) for i, j in pairs]
  observed = [sum(bool(c[i] and c[j]) for c in drawn) for i, j in pairs]
  assert chisquare(observed, 4000 * np.array(expected)).pvalue > 1e-3


@pytest.mark.parametrize("replacement", [True, False])
def test_a_seed_gives_one_draw(replacement):
  p = np.full(1000, 1e-3)
  first = draw(p, 100, 7, replacement)
  np.testing.assert_array_equal(first, draw(p, 100, 7, replacement))
  assert (first != draw(p, 100, 8, replacement)).any()


def test_all_and_none_can_be_drawn():
  assert draw(P, 4, 0, replacement=False).tolist() == [1, 0, 1, 1, 1]
  assert not draw(P, 0, 0, replacement=False).any()
  assert not draw(P, 0, 0, replacement=True).any()


@pytest.mark.parametrize(
  ("p", "size", "message"),
  [
    (P, 5, "size is 5, but 4 of 5 documents have a probability above 0"),
    (P, -1, "size is -1; give a number of at least 0"),
    (P / 2, 1, "probabilities sum to 0.5"),
    (np.array([1.5, -0.5]), 1, "give none below 0"),
    (np.array([np.nan, 1.0]), 1, "probabilities sum to nan"),
  ],
)
def test_what_cannot_be_drawn_is_refused(p, size, message):
  with pytest.raises(InputError, match=message):
    draw(p, size, 0, replacement=False)
