"""Correlations and intervals that figures share, by closed form."""

import numpy as np
import pytest

from datarater.evaluation.compare import paired_difference
from experiments.statistics import compared, over_seeds, pearson, spearman, standardised, told

X = np.array([3.0, 1.0, 2.0, 5.0])


def test_spearman_sees_order_alone():
  assert spearman(X, X**3) == pytest.approx(1.0)
  assert spearman(X, -X) == pytest.approx(-1.0)


def test_pearson_sees_lines():
  assert pearson(X, 2 * X + 1) == pytest.approx(1.0)
  assert pearson(X, X**3) < 0.99


def test_what_is_not_finite_is_left_out():
  assert pearson(np.append(X, np.nan), np.append(X, 7.0)) == pytest.approx(1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("of", [pearson, spearman])
def test_a_constant_has_no_correlation(of):
  assert of(X, np.ones(4)) is None
  assert of(X[:1], X[:1]) is None


def test_standardised():
  np.testing.assert_allclose(standardised([1.0, 3.0, np.nan]), [-1.0, 1.0, np.nan])
  np.testing.assert_array_equal(standardised([2.0, 2.0]), [0.0, 0.0])


def test_the_interval_over_seeds_is_students():
  found = over_seeds([1.0, 2.0, 3.0])
  assert found["mean"] == 2.0
  assert found["half_width"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
  assert told(found) == "2.00 ± 2.48"


@pytest.mark.parametrize(
  ("losses", "expected"),
  [
    ([1.0, 1.1, 1.2], "better than"),
    ([4.0, 4.1, 4.2], "worse than"),
    ([2.0, 4.0, 3.0], "no different from"),
  ],
)
def test_differences_have_a_direction(losses, expected):
  assert compared(paired_difference(losses, [3.0, 3.1, 3.2])) == expected


def test_seeds_without_a_value():
  assert over_seeds([None, 1.0]) == {"by_seed": [None, 1.0], "mean": 1.0, "half_width": None}
  assert told(over_seeds([None, None])) == "undefined"
