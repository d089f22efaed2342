"""Perplexity as a rating: its value, its three orders, fitting, and what is refused."""

import pickle

import numpy as np
import pytest

from datarater.config import ModelConfig, TrainConfig
from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.evaluation.arm import train_lm
from datarater.models import cost
from datarater.scorers.perplexity import PerplexityScorer

DATA = DataConfig(datapoint="document", length=64, segments=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A model that has seen a little English, and its folder."""
  folder = tmp_path_factory.mktemp("lm") / "run"
  model = ModelConfig(width=16, layers=1, heads=2, mlp_width=32)
  config = TrainConfig(data=DATA, model=model, steps=30, batch=8, evaluations=1, evaluation_rows=2)
  train_lm(config, folder, progress=False)
  return config, folder


@pytest.fixture(scope="module")
def texts():
  source = open_source(DATA, "validation")
  return [source[i].text[:300] for i in range(0, len(source), 7)]


def test_low_prefers_what_the_model_expects(run):
  scorer = PerplexityScorer(run[1])
  ratings = scorer.score(["the people of the United States", "\x01\x02ÿþ\x03\x04"])
  assert ratings[0] > ratings[1]


def test_it_is_the_mean_nats_of_the_documents_tokens(run, texts):
  nll, tokens = PerplexityScorer(run[1]).nll(texts)
  assert (tokens == [len(text.encode()) for text in texts]).all()
  assert 0 < nll.min() <= nll.max() < 2 * np.log(257)
  np.testing.assert_array_equal(PerplexityScorer(run[1], "high").score(texts), nll)
  np.testing.assert_array_equal(PerplexityScorer(run[1], "low").score(texts), -nll)


def test_the_middle_is_the_pools(run, texts):
  scorer = PerplexityScorer(run[1], "middle")
  with pytest.raises(ValueError, match="fit"):
    scorer.score(texts)
  fitted = scorer.fit(texts)
  nll = scorer.nll(texts)[0]
  ratings = fitted.score(texts)
  order = np.argsort(nll)
  assert set(np.argsort(ratings)[-3:]) <= set(order[len(order) // 2 - 3 : len(order) // 2 + 3])
  assert fitted.fingerprint != scorer.fingerprint
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score(texts), ratings)


def test_an_empty_text_has_no_rating(run, texts):
  for keep in ("low", "high", "middle"):
    ratings = PerplexityScorer(run[1], keep).fit(texts).score(["", "a word"])
    assert np.isnan(ratings).tolist() == [True, False]


def test_cost_is_a_forward_pass_a_row(run):
  config, folder = run
  row = cost.training_flops(config.model, 257, DATA.length) / 3
  flops = PerplexityScorer(folder).flops(np.array([1, DATA.length - 1, DATA.length]))
  assert flops == pytest.approx(4 * row)


def test_a_folder_without_a_model_is_refused(tmp_path, run):
  with pytest.raises(InputError, match="run config"):
    PerplexityScorer(tmp_path)
  (tmp_path / "config.json").write_text((run[1] / "config.json").read_text())
  with pytest.raises(InputError, match="datarater train"):
    PerplexityScorer(tmp_path)
