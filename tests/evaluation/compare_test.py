"""Net compute gain in closed form, intervals against scipy, pairing by seed."""

import numpy as np
import pytest
import scipy.stats

from datarater.errors import InputError
from datarater.evaluation import compare

BASELINE = [[1.0, 4.0], [2.0, 3.0], [4.0, 2.0]]


@pytest.mark.parametrize(
  ("curve", "gain"),
  [
    (BASELINE, 0.0),
    ([[1.0, 2.0], [4.0, 1.0]], 0.75),  # at the first point
    ([[1.0, 3.0], [3.0, 1.0]], 0.5),  # halfway between two points
    ([[1.0, 4.0], [2.0, 1.0], [4.0, 3.0]], 1 - (1 + 2 / 3) / 4),  # the first crossing counts
    ([[2.0, 3.0], [8.0, 1.0]], 1 - 5 / 4),  # reached later than by the baseline: a loss
    ([[1.0, 4.0], [4.0, 2.1]], None),  # never
  ],
)
def test_net_compute_gain(curve, gain):
  found = compare.net_compute_gain(curve, BASELINE)
  assert found is None if gain is None else found == pytest.approx(gain)


def result(seed, losses, rating=0.0):
  training = [1.0, 2.0, 4.0]
  return {
    "seed": seed,
    "bits_per_byte": losses[-1],
    "curve_training_flops": training,
    "curve": [[f + rating, loss] for f, loss in zip(training, losses, strict=True)],
  }


def test_rating_counts_on_the_arm_alone():
  arm = [result(0, [3.0, 2.0, 1.0], rating=1.0)]
  found = compare.compare_arms(arm, [result(0, [4.0, 3.0, 2.0])])
  assert found["gain_without_rating"] == [0.5]
  assert found["net_compute_gain"] == [0.25]
  assert found["difference"] is None  # one seed has no interval


def test_paired_difference_is_the_t_interval():
  a, b = [1.0, 1.2, 0.7], [1.5, 1.5, 1.5]
  found = compare.paired_difference(a, b)
  low, high = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
  assert found["mean"] - found["half_width"] == pytest.approx(low)
  assert found["mean"] + found["half_width"] == pytest.approx(high)
  assert found["beyond_interval"] == (high < 0)
  assert not compare.paired_difference([1.0, 2.0], [1.5, 1.5])["beyond_interval"]
  with pytest.raises(InputError, match="two seeds or more"):
    compare.paired_difference([1.0], [2.0])


def test_seeds_are_paired_by_number():
  arm = [result(1, [3.0, 2.0, 1.0]), result(0, [3.0, 2.0, 1.5])]
  baseline = [result(0, [4.0, 3.0, 2.5]), result(1, [4.0, 3.0, 2.0])]
  differences = compare.compare_arms(arm, baseline)["difference"]["differences"]
  np.testing.assert_allclose(differences, [-1.0, -1.0])
  with pytest.raises(InputError, match=r"seeds \[1\] are in one arm only"):
    compare.compare_arms(arm, baseline[:1])
