"""What an arm trains on: random and rated shares of equal size, the top by rating, its FLOPs."""

import dataclasses

import jax
import numpy as np
import pytest
from problems import MODEL

from datarater.config import SelectionConfig, TrainConfig
from datarater.data.packing import cut
from datarater.data.sources import Record, open_source, source_of
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.evaluation import results
from datarater.evaluation.arm import arm_result
from datarater.evaluation.pool import (
  Pool,
  RatedPool,
  kept_by_rating,
  open_pool,
  random_subset,
  rate_pool,
)
from datarater.models import cost
from datarater.models.rater import init_rater
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.scorers.rater import load_rater

DATA = DataConfig(target_domain="speeches", datapoint="document", length=32)


@pytest.fixture(scope="module")
def source():
  return open_source(DATA, "lm")


def rated_by_length(source):
  lengths = [len(source[i].text) for i in range(len(source))]
  return RatedPool(np.array(lengths, np.float32), flops=7.0)


def test_random_and_rated_shares_are_of_one_size(source):
  rated = rated_by_length(source)
  selection = SelectionConfig(kind="rater", discard_fraction=0.75, rater="r")
  kept = kept_by_rating(source, rated, selection)
  thinned = random_subset(source, 0.75, seed=3)
  assert len(kept) == len(thinned) == round(0.25 * len(source))
  assert rated.ratings[kept].min() >= np.delete(rated.ratings, kept).max()
  np.testing.assert_array_equal(thinned, random_subset(source, 0.75, seed=3))
  assert set(thinned) != set(random_subset(source, 0.75, seed=4))


def test_equal_ratings_leave_another_share_to_each_seed(source, tmp_path):
  rated = RatedPool(np.zeros(len(source), np.float32), 1.0, np.full(len(source), 9, np.int32))
  path = tmp_path / "ratings.safetensors"
  rated.save(path, source)
  selection = SelectionConfig(kind="ratings", discard_fraction=0.9, ratings=str(path))
  kept = []
  for seed in (0, 1):
    config = TrainConfig(data=DATA, selection=selection, batch=8)
    pool = open_pool(config, load_tokenizer(DATA.tokenizer), seed)
    pool.loader.close()
    kept.append(set(pool.kept))
  assert len(kept[0]) == len(kept[1])
  assert len(kept[0] & kept[1]) < 0.5 * len(kept[0])


def test_all_discarded_is_refused(source):
  few = source.subset([0])
  rated = RatedPool(np.array([1.0], np.float32), 0.0)
  with pytest.raises(InputError, match=r"discard_fraction is 0\.75"):
    kept_by_rating(few, rated, SelectionConfig(kind="rater", discard_fraction=0.75, rater="r"))


def test_offline_pool_serves_only_what_is_kept(source):
  selection = SelectionConfig(kind="rater", discard_fraction=0.9, rater="r")
  config = TrainConfig(data=DATA, selection=selection, batch=8)
  pool = open_pool(config, load_tokenizer(DATA.tokenizer), 0, rated_by_length(source))
  kept = source.subset(pool.kept)
  texts = {kept[i].text.encode() for i in range(len(kept))}
  for _ in range(5):
    batch = next(pool.loader)
    for row, ids in zip(batch.tokens_BxL, batch.segment_ids_BxL, strict=True):
      chunk = bytes(int(t) for t in row[ids == 1] if t < 256)
      assert any(chunk in text for text in texts)
  pool.loader.close()
  assert pool.rating_flops == 7.0


@pytest.fixture(scope="module")
def rater_folder(tmp_path_factory):
  """A rater that knows nothing, of documents in rows of 32 bytes."""
  tokenizer = load_tokenizer(DATA.tokenizer)
  eta = init_rater(MODEL, tokenizer.vocab_size, jax.random.key(0), DATA.length)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (MODEL.width, 1))
  config = artifact.RaterConfig(
    MODEL, DATA.tokenizer, tokenizer.fingerprint, 257, "document", DATA.length, steps=0, seed=0
  )
  folder = tmp_path_factory.mktemp("run") / "rater"
  artifact.write_rater(folder, config, eta, RatingsCdf.of([0.0, 1.0]), "card", tokenizer.save)
  return folder


@pytest.mark.parametrize(("size", "rows"), [(0, 0), (1, 1), (30, 1), (31, 1), (32, 2), (62, 2)])
def test_rating_the_pool_costs_a_row_a_chunk(rater_folder, size, rows):
  rated = rate_pool(
    load_rater(rater_folder), source_of([Record("x" * size, "id", "domain")]), progress=False
  )
  assert np.isnan(rated.ratings[0]) == (size == 0)
  assert rated.flops == rows * cost.rating_flops(MODEL, DATA.length)
  assert rows == len(cut(np.zeros(size, np.int32), 256, DATA.length, size))


def test_online_selection_pays_for_every_row_drawn(rater_folder):
  selection = SelectionConfig("rater", "online", discard_fraction=0.75, rater=str(rater_folder))
  config = TrainConfig(data=DATA, selection=selection, batch=4)
  pool = open_pool(config, load_tokenizer(DATA.tokenizer), 0)
  batch = next(pool.loader)
  pool.loader.close()
  assert batch.tokens_BxL.shape == (4, DATA.length)
  assert (pool.kept, pool.rating_flops) == (None, 0.0)
  row = cost.rating_flops(MODEL, DATA.length, DATA.segments)
  assert pool.rating_flops_a_step == 16 * row


def test_an_unfiltered_pool_costs_nothing():
  pool = open_pool(TrainConfig(data=DATA, batch=4), load_tokenizer(DATA.tokenizer), 0)
  pool.loader.close()
  assert (pool.kept, pool.rating_flops, pool.rating_flops_a_step) == (None, 0.0, 0.0)


def test_flops_of_an_arm_count_rating_before_and_during_training():
  curve = [
    {
      "step": step,
      "training_flops": 100.0 * step,
      "target": {"bits_per_byte": 3.0 / step, "nats_per_token": 2.0, "by_domain": {"a": 1.0}},
    }
    for step in (1, 2)
  ]
  pool = Pool(None, kept=np.arange(3), rating_flops=5.0, rating_flops_a_step=10.0)
  result = arm_result(TrainConfig(), pool, curve)
  assert result["curve"] == [[115.0, 3.0], [225.0, 1.5]]
  assert (result["flops"], result["training_flops"], result["rating_flops"]) == (225.0, 200.0, 25.0)
  assert result["documents_kept"] == 3
  assert result["by_domain"] == {"a": [1.0, 1.0]}


def test_parts_of_results(source):
  rated = rated_by_length(source)
  table = results.rating_by_domain(source, rated.ratings)
  assert set(table) == set(source.domains)
  assert sum(row["n"] for row in table.values()) == len(source)
  shares = results.mixture(source, np.flatnonzero(rated.ratings > 0))
  assert shares["before"] == pytest.approx(shares["after"])
  lists = results.excerpts(source, rated.ratings)
  ratings = [e["rating"] for e in lists["best"]]
  assert ratings == sorted(ratings, reverse=True)
  for chosen in lists.values():
    domains = [e["domain"] for e in chosen]
    assert max(map(domains.count, domains)) <= results.EXCERPTS_A_DOMAIN
  only = dataclasses.replace(rated, ratings=np.full(len(source), np.nan, np.float32))
  assert results.excerpts(source, only.ratings) == {"best": [], "worst": []}


def test_ratings_kept_in_a_file_choose_as_they_did(source, tmp_path):
  rated = dataclasses.replace(rated_by_length(source), tokens=np.full(len(source), 9, np.int32))
  path = tmp_path / "deep" / "ratings.safetensors"
  rated.save(path, source)
  again = RatedPool.load(path, source)
  np.testing.assert_array_equal(again.ratings, rated.ratings)
  np.testing.assert_array_equal(again.tokens, rated.tokens)
  assert again.flops == rated.flops
  selection = SelectionConfig(kind="ratings", discard_fraction=0.9, ratings=str(path))
  config = TrainConfig(data=DATA, selection=selection, batch=8)
  pool = open_pool(config, load_tokenizer(DATA.tokenizer), 0)
  pool.loader.close()
  np.testing.assert_array_equal(pool.kept, kept_by_rating(source, rated, selection))


def test_ratings_of_other_documents_are_refused(source, tmp_path):
  path = tmp_path / "ratings.safetensors"
  rated_by_length(source).save(path, source)
  with pytest.raises(InputError, match="rates other documents"):
    RatedPool.load(path, source.subset(np.arange(len(source))[::-1]))
  path.write_bytes(b"rubbish")
  with pytest.raises(InputError, match="cannot be read"):
    RatedPool.load(path, source)
  with pytest.raises(InputError, match="cannot be read"):
    RatedPool.load(tmp_path / "none", source)
  with pytest.raises(InputError, match="name a file of ratings"):
    SelectionConfig(kind="ratings")


def test_ratings_are_charged_as_the_pool_is_drawn(source):
  tokens = np.array([len(source[i].text.encode()) for i in range(len(source))])
  rated = dataclasses.replace(rated_by_length(source), tokens=tokens)
  selection = SelectionConfig(kind="rater", discard_fraction=0.5, rater="r", charge="drawn")
  config = TrainConfig(data=DATA, selection=selection, batch=8)
  pool = open_pool(config, load_tokenizer(DATA.tokenizer), 0, rated)
  pool.loader.close()
  a_pass = tokens[pool.kept].sum() / (8 * (DATA.length - 1))
  assert pool.rating_flops_until(0) == 0
  assert pool.rating_flops_until(round(a_pass / 2)) == pytest.approx(rated.flops / 2, rel=0.01)
  assert pool.rating_flops_until(round(3 * a_pass)) == rated.flops
