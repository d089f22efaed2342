"""Heuristics of rows packed by hand; linear models that must find what made the ratings."""

import sys

import numpy as np
import pytest

from datarater.data.packing import assemble, cut
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError
from experiments import fig14_heuristics
from experiments.heuristics import HEURISTICS, heuristics, lasso, least_squares, varying

BYTES = load_tokenizer(TokenizerConfig())


def test_heuristics_of_a_row_are_of_its_documents_together():
  texts = ("One two.", "THREE")
  chunks = [chunk for t in texts for chunk in cut(BYTES.encode(t), BYTES.separator_id, 32, len(t))]
  batch = assemble([chunks], rows=1, length=32, segments=4)
  (row,) = heuristics([batch], BYTES)
  found = dict(zip(HEURISTICS, row, strict=True))
  assert len(found) == 23
  assert found["packed_documents"] == 2
  assert found["packing_density"] == (8 + 5 + 4) / 32  # a separator before and behind each
  assert (found["characters"], found["words"]) == (14, 3)
  assert found["uppercase_fraction"] == pytest.approx(6 / 14)


def made_up(rows=400):
  random = np.random.default_rng(0)
  table = random.normal(size=(rows, 5)) * [1, 10, 100, 1, 1] + 7
  noise = 0.1 * random.normal(size=rows)
  return table, 3 * (table[:, 0] - 7) - 0.02 * table[:, 2] + noise


def test_both_models_find_what_made_the_ratings():
  table, ratings = made_up()
  full, few = least_squares(table, ratings), lasso(table, ratings)
  assert full.r2 > few.r2 > 0.98
  assert full.r2_validated == pytest.approx(full.r2, abs=0.01)
  assert np.flatnonzero(few.coefficients).tolist() == [0, 2]
  assert full.coefficients[0] > 0 > full.coefficients[2]
  # Standardised: 3 and 2 are the shares of the deviation, whatever the columns' units.
  assert full.coefficients[0] / full.coefficients[2] == pytest.approx(-1.5, rel=0.1)


def test_noise_is_not_explained_beyond_the_rows_it_was_fitted_on():
  table, _ = made_up()
  ratings = np.random.default_rng(1).normal(size=len(table))
  full = least_squares(table, ratings)
  assert full.r2 > 0 > full.r2_validated
  assert np.count_nonzero(lasso(table, ratings).coefficients) == 0


def test_columns_that_never_vary():
  assert varying(np.array([[1.0, 2.0], [1.0, 3.0]])).tolist() == [False, True]


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn", None)
  with pytest.raises(InputError, match=r"datarater\[experiments\]"):
    least_squares(*made_up())


def test_a_small_pool(place, monkeypatch):
  monkeypatch.setitem(fig14_heuristics.ROWS, "cpu", 256)
  results = fig14_heuristics.EXPERIMENT.run(place)
  assert results["rows"] == 256
  for found in results["objectives"].values():
    assert set(found["pearson"]) == set(HEURISTICS)
    assert set(found["lasso"]["coefficients"]) == set(HEURISTICS) - set(results["constant"])
    for full, few in zip(
      found["least_squares"]["r2"]["by_seed"], found["lasso"]["r2"]["by_seed"], strict=True
    ):
      assert 1 > full >= few
  assert (place.folder("fig14_heuristics") / "figure.png").read_bytes().startswith(b"\x89PNG")
