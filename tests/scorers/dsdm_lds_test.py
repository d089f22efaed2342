"""The linear datamodelling score: against SciPy, its sign, its interval, what is refused."""

import numpy as np
import pytest
import scipy.stats

from datarater.errors import InputError
from datarater.scorers.dsdm.lds import lds, predicted_losses

RANDOM = np.random.default_rng(0)


def test_it_is_the_mean_of_spearmans_correlations():
  predicted, measured = RANDOM.normal(size=(2, 5, 20)).round(1)  # with ties
  found = lds(predicted, measured, draws=200)
  by_target = [
    np.asarray(scipy.stats.spearmanr(a, b))[0] for a, b in zip(predicted, measured, strict=True)
  ]
  np.testing.assert_allclose(found.by_target, by_target)
  assert found.mean == pytest.approx(np.mean(by_target))
  assert found.low < found.mean < found.high
  assert lds(predicted, measured, draws=200) == found
  assert lds(predicted, measured, seed=1, draws=200).low != found.low


def test_it_sees_order_alone_and_its_sign():
  measured = RANDOM.normal(size=(3, 12))
  assert lds(np.exp(measured), measured, draws=10).mean == pytest.approx(1)
  worst = lds(-measured, measured, draws=10)
  assert (worst.mean, worst.low, worst.high) == pytest.approx((-1, -1, -1))


def test_the_interval_covers_what_is_not_there():
  covered = 0
  for seed in range(20):
    predicted, measured = np.random.default_rng(seed).normal(size=(2, 4, 30))
    found = lds(predicted, measured, draws=100)
    covered += found.low <= 0 <= found.high
  assert covered >= 17


def test_a_documents_score_lowers_the_loss_of_subsets_that_hold_it():
  scores, members = np.array([[1.0, 2.0, 4.0]]), np.array([[1, 1, 0], [0, 0, 1]], bool)
  np.testing.assert_array_equal(predicted_losses(scores, members), [[-3.0, -4.0]])


def test_what_cannot_be_ranked_is_refused():
  good = RANDOM.normal(size=(2, 5))
  for bad, said in (
    (good[:, :4], "shape"),
    (good[0], "shape"),
    (np.zeros((2, 5)), "predicted"),
    (np.full((2, 5), np.nan), "predicted"),
  ):
    with pytest.raises(InputError, match=said):
      lds(bad, good)
  with pytest.raises(InputError, match="at least 3"):
    lds(good[:, :2], good[:, :2])
