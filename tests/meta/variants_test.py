"""Runs whose raters rate something else than documents: from the config to ratings of text."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from frozen_runs import write_run
from problems import MODEL, assert_same_tree, random_batch, tiny_run

from datarater.cli import BAD_INPUT, main
from datarater.config import MetaTrainConfig, SelectionConfig, TrainConfig
from datarater.config_io import load_config_file
from datarater.curation.ratings import FLAG_NOT_A_NUMBER
from datarater.curation.score import score
from datarater.data.loader import train_loader
from datarater.data.online import keep_segments
from datarater.data.sources import Record, open_source, source_of
from datarater.data.tokenizers import load_tokenizer
from datarater.errors import InputError
from datarater.evaluation.arm import train_lm
from datarater.evaluation.pool import open_pool, rate_pool
from datarater.meta import trainer, workload
from datarater.meta.build import inner_parts
from datarater.meta.paper import paper_model
from datarater.models import cost, lora, rater
from datarater.models.language_model import init_language_model, losses_fn
from datarater.runtime.artifact import read_rater
from datarater.runtime.metrics import read_metrics
from datarater.scorers.rater import load_rater
from datarater.training import lm
from datarater.training.frozen import fingerprint
from datarater.training.lm import load_language_model
from datarater.variant_config import FrozenConfig, LoraConfig

ROOT = Path(__file__).parents[2]
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


def lora_of(run):
  return LoraConfig(rank=2, base=FrozenConfig(str(run)))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """(run folder of a language model, its parameters)."""
  folder = tmp_path_factory.mktemp("models") / "base"
  return folder, write_run(folder)


@pytest.fixture(scope="module")
def online_run(tmp_path_factory, base):
  changes = {"rater_kind": "online", "rater_reference": FrozenConfig(str(base[0]))}
  return run_of(tmp_path_factory.mktemp("online"), **changes)


def test_an_online_rater_is_saved_with_its_reference(online_run, base):
  config, folder = online_run
  files = read_rater(folder)
  assert (files.config.kind, files.config.reference) == ("online", config.inner)
  assert_same_tree(files.eta["reference"], base[1])
  assert np.ptp(files.eta["head"]["kernel"], axis=0).min() > 0, "intercept and slopes have moved"
  assert files.cdf.quantiles[0] < files.cdf.quantiles[-1]
  card = (folder / "card.md").read_text()
  assert "the loss and its excess over a reference model's of the model in training" in card
  row = read_metrics(folder.parent / trainer.METRICS)[-1]
  assert row["rating_std"] > 0
  assert len(row["rating_by_domain"]) > 1


def test_an_online_rater_does_not_rate_texts(online_run, tmp_path, capsys):
  _, folder = online_run
  with pytest.raises(InputError, match=r"sees the loss .* selection\.mode 'online'"):
    load_rater(folder).rate(["text"])
  corpus = tmp_path / "corpus.jsonl"
  corpus.write_text('{"text": "abc"}\n')
  output = tmp_path / "ratings"
  arguments = ["score", "--rater", folder, "--input", corpus, "--output", output]
  assert main([str(each) for each in arguments]) == BAD_INPUT
  assert "cannot rate texts beforehand" in capsys.readouterr().err
  assert not output.exists()


def lm_config(config, folder):
  selection = SelectionConfig("rater", "online", discard_fraction=0.5, rater=str(folder))
  return TrainConfig(
    data=config.data,
    model=MODEL,
    selection=selection,
    steps=4,
    batch=4,
    evaluations=1,
    evaluation_rows=1,
    evaluation_target_rows=1,
    checkpoint_every=2,
  )


def test_an_online_rater_rates_for_the_model_in_training(online_run):
  config, folder = online_run
  scorer, train = load_rater(folder), lm_config(config, folder)
  tokenizer = load_tokenizer(DATA.tokenizer)
  pool = open_pool(train, tokenizer, 0)
  loader = train_loader(open_source(DATA, "lm"), tokenizer, DATA, rows=8, seed=0)
  drawn = next(loader)
  loader.close()
  thetas = [init_language_model(MODEL, 257, jax.random.key(seed), 32) for seed in (0, 1)]
  ratings = [np.asarray(scorer.rate_for(MODEL)(drawn, theta)) for theta in thetas]
  assert np.abs(ratings[0] - ratings[1]).max() > 0
  kept = pool.loader.next_for(thetas[0])
  pool.loader.close()
  assert_same_tree(kept, keep_segments(drawn, ratings[0], 4))
  with pytest.raises(TypeError, match="next_for"):
    next(pool.loader)
  seen = 2 * cost.language_model_flops(MODEL, 257, 32)
  assert pool.rating_flops_a_step == 8 * (cost.rating_flops(MODEL, 32, 2) + seen)


def test_training_with_an_online_rater_resumes_bit_for_bit(online_run, tmp_path, monkeypatch):
  config, folder = online_run
  train = lm_config(config, folder)
  train_lm(train, tmp_path / "whole", progress=False)
  stopped = RuntimeError("stopped")

  def stop(*args):
    raise stopped

  with monkeypatch.context() as patch:
    patch.setattr(lm, "held_out_loss", stop)
    with pytest.raises(RuntimeError, match="stopped"):
      train_lm(train, tmp_path / "parts", progress=False)
  train_lm(train, tmp_path / "parts", progress=False)
  states = []
  for run in ("whole", "parts"):
    states.append(load_language_model(train, 257, tmp_path / run))
  assert_same_tree(*states)


def test_an_online_run_resumes_bit_for_bit(online_run, tmp_path):
  config, folder = online_run
  whole = dataclasses.replace(config, meta=dataclasses.replace(config.meta, steps=2))
  short = dataclasses.replace(config, meta=dataclasses.replace(config.meta, steps=1))
  trainer.meta_train(short, tmp_path, progress=False)
  again = trainer.meta_train(whole, tmp_path, progress=False)
  assert_same_tree(read_rater(again).eta, read_rater(folder).eta)


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory, base):
  return run_of(tmp_path_factory.mktemp("lora"), lora=lora_of(base[0]))


def test_adapters_start_as_their_base(lora_run, base):
  config, _ = lora_run
  inner = inner_parts(config, 257, {"base": base[1]})
  theta = inner.init(jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(theta)) == cost.adapter_parameters(MODEL, config.lora)
  batch = random_batch(0)
  plain = losses_fn(MODEL, 257, "document")(base[1], batch)
  np.testing.assert_array_equal(inner.losses("document")(theta, batch), plain)
  moved = jax.tree.map(lambda x: x + 0.1, theta)
  assert np.abs(inner.losses("document")(moved, batch) - plain).max() > 0.01


def test_a_change_is_alpha_over_rank_times_the_product(base):
  config = LoraConfig(rank=2, alpha=6.0, projections=("mlp_in",), base=FrozenConfig("run"))
  theta = {"mlp_in": lora.init_adapters(MODEL, config, jax.random.key(0))["mlp_in"]}
  theta["mlp_in"]["b"] = jax.random.normal(jax.random.key(1), theta["mlp_in"]["b"].shape)
  blocks = lora.merged(base[1], theta, config)["transformer"]["blocks"]
  before = base[1]["transformer"]["blocks"]
  for layer in range(MODEL.layers):
    a, b = (np.asarray(theta["mlp_in"][name][layer], np.float64) for name in "ab")
    kernel = np.asarray(before["mlp_in"]["kernel"][layer], np.float64)
    np.testing.assert_allclose(blocks["mlp_in"]["kernel"][layer], kernel + 3 * a @ b, rtol=1e-5)
  assert blocks["query"] is before["query"]


def test_a_run_of_adapters_records_its_base_and_keeps_it_out_of_checkpoints(lora_run, base):
  _, folder = lora_run
  run = folder.parent
  found = json.loads((run / "config.json").read_text())["lora"]["base"]
  assert found == {"run": str(base[0]), "fingerprint": fingerprint(base[1])}
  assert fingerprint(base[1]) in (folder / "card.md").read_text()
  checkpoint = next((run / trainer.CHECKPOINTS).glob("2"))
  names = (checkpoint / "state" / "_METADATA").read_text()
  assert "('members', 'theta', 'query', 'a')" in names
  assert "frozen" not in names
  assert np.all(np.isfinite(load_rater(folder).rate(["Some text."])))


def test_another_base_is_refused(lora_run, base, tmp_path):
  config, folder = lora_run
  moved = tmp_path / "base"
  write_run(moved, seed=1)
  trained = tmp_path / "run"
  shutil.copytree(folder.parent, trained)
  shutil.copytree(base[0], tmp_path / "same")
  other = dataclasses.replace(config, lora=lora_of(moved))
  with pytest.raises(InputError, match=r"lora\.base\.fingerprint: '.*' -> '"):
    trainer.meta_train(other, trained, progress=False)
  pinned = dataclasses.replace(
    other, lora=dataclasses.replace(other.lora, base=FrozenConfig(str(moved), fingerprint(base[1])))
  )
  with pytest.raises(InputError, match=r"holds another model than lora\.base\.fingerprint says"):
    trainer.meta_train(pinned, tmp_path / "new", progress=False)


def test_bad_bases_are_refused(base, tmp_path):
  def refusal(**changes):
    with pytest.raises(InputError) as caught:
      run_of(tmp_path / "run", **changes)
    return str(caught.value)

  assert "lora.base.run 'nowhere' is no run folder" in refusal(lora=lora_of("nowhere"))
  wider = dataclasses.replace(MODEL, mlp_width=24)
  message = refusal(lora=lora_of(base[0]), inner=wider)
  assert "is of another architecture than inner: mlp_width 16 and not 24" in message
  empty = tmp_path / "empty"
  shutil.copytree(base[0], empty)
  shutil.rmtree(empty / "checkpoints")
  assert "holds no checkpoint; finish its" in refusal(lora=lora_of(empty))
  assert not (tmp_path / "run").exists()


def test_a_plan_charges_final_models_for_what_an_online_rater_sees():
  online = dataclasses.replace(TINY, rater_kind="online")
  more = dataclasses.replace(online, rater_reference=FrozenConfig("run"))
  plain, seen, both = (
    workload.final_model_flops(c, "50m", 257, discard_fraction=0.5) for c in (TINY, online, more)
  )
  rows = 2 * 5_000 * 128
  final = cost.language_model_flops(paper_model("50m"), 257, 2048)
  assert seen - plain == pytest.approx(rows * final)
  assert both - seen == pytest.approx(rows * cost.language_model_flops(MODEL, 257, 2048), rel=1e-4)


def test_the_recipe_for_accuracy_runs(tmp_path):
  config = load_config_file(ROOT / "configs" / "evolution_accuracy.py", MetaTrainConfig)
  assert (config.meta.estimator, config.meta.outer_loss) == ("evolution", "error_rate")
  meta = dataclasses.replace(
    config.meta, steps=2, inner_batch=2, outer_batch=2, population=1, evolution_pairs=1
  )
  config = dataclasses.replace(
    config, data=DATA, rater=MODEL, inner=MODEL, meta=meta, cdf_documents=4
  )
  folder = trainer.meta_train(config, tmp_path, progress=False)
  rows = read_metrics(tmp_path / trainer.METRICS)
  assert all(0 < row["outer_loss"][0] <= 1 for row in rows)
  assert np.all(np.isfinite(load_rater(folder).rate(["Some text."])))
