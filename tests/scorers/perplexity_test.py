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
from datarater.scorer_config import PerplexityConfig
from datarater.scorers.fitted import Fitting, load_scorer
from datarater.scorers.perplexity import PerplexityScorer
from datarater.scorers.proxy import load_proxy

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


@pytest.fixture(scope="module")
def fit(run):
  """keep, pool → the scorer."""
  fitting = Fitting((load_proxy(run[1]),))
  return lambda keep="low", pool=(): PerplexityScorer.fit(pool, [], PerplexityConfig(keep), fitting)


def test_low_prefers_what_the_model_expects(fit):
  ratings = fit().score(["the people of the United States", "\x01\x02ÿþ\x03\x04"])
  assert ratings[0] > ratings[1]


def test_it_is_the_mean_nats_of_the_documents_tokens(fit, texts):
  nll, tokens = fit().proxy.nll(texts)
  assert (tokens == [len(text.encode()) for text in texts]).all()
  assert 0 < nll.min() <= nll.max() < 2 * np.log(257)
  np.testing.assert_array_equal(fit("high").score(texts), nll)
  np.testing.assert_array_equal(fit("low").score(texts), -nll)


def test_the_middle_is_the_pools(fit, texts):
  fitted = fit("middle", texts)
  nll = fitted.proxy.nll(texts)[0]
  ratings = fitted.score(texts)
  order = np.argsort(nll)
  assert set(np.argsort(ratings)[-3:]) <= set(order[len(order) // 2 - 3 : len(order) // 2 + 3])
  assert fitted.fingerprint != fit("middle", texts[:5]).fingerprint
  assert fitted.fit_flops == fitted.score_flops(fitted.proxy.nll(texts)[1])


def test_the_middle_of_one_document_is_refused(fit):
  with pytest.raises(InputError, match="pool of 1 document; give at least two"):
    fit("middle", ["a word"])


@pytest.mark.parametrize("keep", ["low", "middle"])
def test_it_comes_back_from_disk_and_from_a_pickle(fit, texts, keep, tmp_path):
  scorer = fit(keep, texts)
  scorer.save(tmp_path / "scorer")
  for other in (load_scorer(tmp_path / "scorer"), pickle.loads(pickle.dumps(scorer))):
    assert other.fingerprint == scorer.fingerprint
    np.testing.assert_array_equal(other.score(texts), scorer.score(texts))


def test_an_empty_text_has_no_rating(fit, texts):
  for keep in ("low", "high", "middle"):
    assert np.isnan(fit(keep, texts).score(["", "a word"])).tolist() == [True, False]


def test_cost_is_a_forward_pass_a_row(run, fit):
  row = cost.training_flops(run[0].model, 257, DATA.length) / 3
  assert fit().score_flops(np.array([1, DATA.length - 1, DATA.length])) == pytest.approx(4 * row)


def test_what_is_no_model_is_refused(tmp_path, run):
  with pytest.raises(InputError, match="--proxy RUN"):
    PerplexityScorer.fit([], [], PerplexityConfig())
  with pytest.raises(InputError, match="run config"):
    load_proxy(tmp_path)
  (tmp_path / "config.json").write_text((run[1] / "config.json").read_text())
  with pytest.raises(InputError, match="datarater train"):
    load_proxy(tmp_path)
