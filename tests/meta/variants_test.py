"""Runs whose raters rate something else than documents: from the config to ratings of text."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from problems import MODEL, tiny_run

from datarater.config import SelectionConfig, TrainConfig
from datarater.curation.ratings import FLAG_NOT_A_NUMBER
from datarater.curation.score import score
from datarater.data.sources import Record, open_source, source_of
from datarater.data.tokenizers import load_tokenizer
from datarater.errors import InputError
from datarater.evaluation.pool import open_pool, rate_pool
from datarater.meta import trainer, workload
from datarater.models import cost, rater
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


@pytest.fixture(scope="module")
def mixture_run(tmp_path_factory):
  return run_of(tmp_path_factory.mktemp("mixture"), rater_kind="mixture")


def test_a_mixture_is_saved_with_its_domains(mixture_run):
  config, folder = mixture_run
  files = read_rater(folder)
  domains = open_source(DATA, "inner").domains
  assert (files.config.kind, files.config.domains) == ("mixture", domains)
  assert files.eta["logits"].shape == (len(domains),)
  assert np.ptp(files.eta["logits"]) > 0
  assert files.cdf.count == config.cdf_documents
  assert files.cdf.quantiles[0] >= files.eta["logits"].min()
  assert files.cdf.quantiles[-1] <= files.eta["logits"].max()
  card = (folder / "card.md").read_text()
  assert f"one logit for each of {len(domains)} domains: code, " in card
  rows = read_metrics(folder.parent / trainer.METRICS)
  assert all(spread["rating_std"] == 0 for spread in rows[-1]["rating_by_domain"].values())
  trainer.meta_train(config, folder.parent, progress=False)  # its domains are no difference


def test_a_mixture_of_other_domains_than_the_pools_is_refused(tmp_path):
  with pytest.raises(InputError, match=r"rater_domains is \('a', 'b'\), but the domains of the"):
    run_of(tmp_path / "run", rater_kind="mixture", rater_domains=("a", "b"))
  assert not (tmp_path / "run").exists()


def test_a_mixture_scores_a_corpus_by_its_domains(mixture_run, tmp_path):
  _, folder = mixture_run
  corpus = tmp_path / "corpus.jsonl"
  records = [{"text": "abc", "domain": d} for d in ("code", "speeches", "nowhere", None)]
  corpus.write_text("".join(json.dumps(record) + "\n" for record in records))
  scorer = load_rater(folder)
  score(scorer, str(corpus), tmp_path / "ratings", quiet=True)
  (file,) = (tmp_path / "ratings").rglob("*.parquet")
  table = pq.read_table(file)
  logits = scorer.logits
  expected = np.array([logits["code"], logits["speeches"], np.nan, np.nan], np.float32)
  np.testing.assert_array_equal(np.array(table["rating"], np.float32), expected)
  assert table["tokens"].to_pylist() == [3] * 4
  flags = table["flags"].to_pylist()
  assert [FLAG_NOT_A_NUMBER in each for each in flags] == [False, False, True, True]


def test_a_mixture_selects_a_pool_offline_alone(mixture_run):
  config, folder = mixture_run
  scorer, source = load_rater(folder), open_source(DATA, "lm")
  rated = rate_pool(scorer, source, progress=False)
  first = [scorer.logits[source[i].domain] for i in range(5)]
  np.testing.assert_array_equal(rated.ratings[:5], np.array(first, np.float32))
  assert rated.flops == 0
  other = source_of([Record("x", "id", "elsewhere")])
  with pytest.raises(InputError, match=r"domains \['elsewhere'\] are unknown to the rater"):
    rate_pool(scorer, other, progress=False)
  selection = SelectionConfig("rater", "online", discard_fraction=0.5, rater=str(folder))
  train = TrainConfig(data=config.data, selection=selection, batch=4)
  with pytest.raises(InputError, match=r"is a mixture.*use selection\.mode 'offline'"):
    open_pool(train, load_tokenizer(DATA.tokenizer), 0)
  with pytest.raises(InputError, match="use score_domains"):
    scorer.rate(["abc"])


def test_a_mixture_costs_no_ratings_in_a_plan():
  config = dataclasses.replace(TINY, rater_kind="mixture")
  step = cost.meta_step_flops(
    MODEL, None, 257, 32, unroll_length=2, inner_rows=4, outer_rows=4, datapoints=2
  )
  rated = cost.meta_step_flops(
    MODEL, MODEL, 257, 32, unroll_length=2, inner_rows=4, outer_rows=4, datapoints=2
  )
  assert rated - step == 3 * 8 * cost.rating_flops(MODEL, 32, 2)
  assert workload.meta_step_flops(config, 257) == 2 * step
  assert workload.rating_flops(config, 1e6) == 0
