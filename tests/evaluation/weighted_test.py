"""Weights of documents in a batch, and what a model in training makes of them."""

import dataclasses

import jax
import numpy as np
import pytest
from problems import MODEL

from datarater.config import SelectionConfig, TrainConfig
from datarater.data.loader import train_loader
from datarater.data.sources import Record, open_source, source_of
from datarater.data.tokenizers import ByteTokenizer
from datarater.data_config import DataConfig
from datarater.evaluation.arm import train_lm
from datarater.evaluation.pool import RatedPool
from datarater.evaluation.weighted import WeightedLoader
from datarater.models.language_model import init_language_model
from datarater.training.lm import batch_loss_fn
from datarater.types import WeightedBatch

DATA = DataConfig(datapoint="sequence", length=32, segments=4)
RECORDS = [Record("ab" * (3 + i), f"id{i}", "d") for i in range(12)]


def weighted(ratings, batches=1):
  inner = train_loader(source_of(RECORDS), ByteTokenizer(), DATA, rows=4, seed=0)
  loader = WeightedLoader(inner, np.asarray(ratings, np.float32))
  found = [next(loader) for _ in range(batches)]
  loader.close()
  return found


def test_equal_ratings_are_plain_training():
  (item,) = weighted(np.full(12, 3.0))
  theta = init_language_model(MODEL, 257, jax.random.key(0), DATA.length)
  loss = batch_loss_fn(MODEL, 257)
  plain, mine = loss(theta, item.batch), loss(theta, item)
  assert float(mine) == pytest.approx(float(plain), rel=1e-6)
  gradients = [jax.grad(loss)(theta, x) for x in (item.batch, item)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *gradients)


def test_weights_are_the_softmax_of_rating_and_tokens():
  ratings = np.linspace(-1, 1, 12)
  ratings[5] = np.nan
  for item in weighted(ratings, batches=3):
    batch = jax.tree.map(np.asarray, item.batch)
    expected = np.zeros(batch.document_ids_BxS.shape)
    for (row, k), document in np.ndenumerate(batch.document_ids_BxS):
      if document >= 0 and document != 5:
        tokens = np.sum((batch.segment_ids_BxL[row] == k + 1) & batch.loss_mask_BxL[row])
        expected[row, k] = np.exp(ratings[document]) * tokens
    np.testing.assert_allclose(item.weights_BxS, expected / expected.sum(), rtol=1e-5)


def test_a_weighted_run_pays_for_all_it_reads_and_resumes(tmp_path):
  source = open_source(DATA, "lm")
  tokens = np.array([len(source[i].text.encode()) for i in range(len(source))], np.int32)
  rated = RatedPool(-tokens.astype(np.float32) / 4000, flops=1e9, tokens=tokens)
  path = tmp_path / "ratings"
  rated.save(path, source)
  selection = SelectionConfig(kind="ratings", mode="weighted", ratings=str(path), charge="drawn")
  config = TrainConfig(
    data=DATA, model=MODEL, selection=selection, steps=4, batch=4, evaluations=2, evaluation_rows=1
  )
  result = train_lm(config, tmp_path / "run", progress=False)
  assert result["documents_kept"] == len(source)
  a_pass = tokens.sum() / (4 * 31)
  assert result["rating_flops"] == pytest.approx(1e9 * 4 / a_pass)
  plain = dataclasses.replace(config, selection=SelectionConfig())
  other = train_lm(plain, tmp_path / "plain", progress=False)
  assert result["bits_per_byte"] != other["bits_per_byte"]


def test_a_weighted_batch_is_one_tree():
  (item,) = weighted(np.zeros(12))
  assert isinstance(item, WeightedBatch)
  assert len(jax.tree.leaves(item)) == 7
