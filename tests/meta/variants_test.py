"""Runs whose raters rate something else than documents: from the config to ratings of text."""

import dataclasses

import numpy as np
import pytest
from problems import tiny_run

from datarater.config import SelectionConfig, TrainConfig
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.evaluation.pool import open_pool, rate_pool
from datarater.meta import trainer
from datarater.models import rater
from datarater.runtime.artifact import read_rater
from datarater.runtime.metrics import read_metrics
from datarater.scorers.rater import load_rater

TINY = tiny_run()
DATA = TINY.data


def run_of(folder, **changes):
  """(config, rater's folder) after two meta-steps."""
  meta = dataclasses.replace(TINY.meta, steps=2, **changes.pop("meta", {}))
  config = dataclasses.replace(TINY, meta=meta, **changes)
  return config, trainer.meta_train(config, folder, progress=False)


@pytest.fixture(scope="module")
def token_run(tmp_path_factory):
  data = dataclasses.replace(DATA, datapoint="token")
  return run_of(tmp_path_factory.mktemp("token"), data=data)


def test_a_rater_of_tokens_rates_documents_by_their_mean(token_run):
  config, folder = token_run
  scorer = load_rater(folder)
  assert scorer.config.datapoint == "token"
  text = "Fellow citizens of the Senate and the House of Representatives."  # three chunks
  (batch,) = scorer.prepare([text]).batches
  rate_tokens = rater.rate_fn(config.rater, scorer.config.vocab_size, "token")
  by_token = np.asarray(rate_tokens(read_rater(folder).eta, batch), np.float64)
  predicted = by_token[batch.loss_mask_BxL]
  assert len(predicted) == len(text) + 1, "its end is predicted too"
  assert np.ptp(predicted) > 0
  np.testing.assert_allclose(scorer.rate([text]), predicted.mean(), rtol=1e-5)


def test_metrics_of_tokens_are_by_domain(token_run):
  config, folder = token_run
  row = read_metrics(folder.parent / trainer.METRICS)[-1]
  meta = config.meta
  most = meta.inner_batch * (DATA.length - 1)
  assert 0.5 * most < row["datapoints_per_batch"] <= most
  assert row["effective_sample_size"] <= row["datapoints_per_batch"] + 1e-2
  assert len(row["rating_by_domain"]) > 1


def test_the_card_says_how_a_rater_of_tokens_rates_documents(token_run):
  assert "mean over its predicted tokens" in (token_run[1] / "card.md").read_text()


def test_a_rater_of_tokens_selects_offline_and_online(token_run):
  config, folder = token_run
  rated = rate_pool(load_rater(folder), open_source(DATA, "lm").subset([0, 1]), progress=False)
  assert np.all(np.isfinite(rated.ratings))
  selection = SelectionConfig("rater", "online", discard_fraction=0.5, rater=str(folder))
  train = TrainConfig(data=config.data, selection=selection, batch=4)
  pool = open_pool(train, load_tokenizer(DATA.tokenizer), 0)
  batch = next(pool.loader)
  pool.loader.close()
  assert batch.tokens_BxL.shape == (4, DATA.length)
