"""A language model learns, and a run that was stopped ends as one that was not."""

import dataclasses

import numpy as np
import pytest

from datarater.config import ModelConfig, OptimizerConfig, TrainConfig
from datarater.data.loader import evaluation_batches, train_loader
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.errors import DivergedError
from datarater.training import lm
from datarater.training.held_out import HeldOut

CONFIG = TrainConfig(
  data=DataConfig(length=32, target_domain="speeches", test="test[:5%]"),
  model=ModelConfig(width=16, layers=1, heads=2, mlp_width=32),
  optimizer=OptimizerConfig(name="adam", learning_rate=1e-2, schedule="cosine", warmup_steps=2),
  steps=12,
  batch=8,
  evaluations=3,
  checkpoint_every=5,
)


class StoppedError(Exception):
  pass


class Loader:
  """A real loader that stops the run after `limit` batches."""

  def __init__(self, limit=None):
    source, tokenizer = open_source(CONFIG.data, "lm"), load_tokenizer(CONFIG.data.tokenizer)
    self._inner, self._left = train_loader(source, tokenizer, CONFIG.data, 8, seed=1), limit

  def __next__(self):
    if self._left == 0:
      raise StoppedError
    self._left = None if self._left is None else self._left - 1
    return next(self._inner)

  def get_state(self):
    return self._inner.get_state()

  def set_state(self, state):
    self._inner.set_state(state)


def train(folder, limit=None, config=CONFIG):
  source = open_source(config.data, "test")
  tokenizer = load_tokenizer(config.data.tokenizer)
  held_out = HeldOut(list(evaluation_batches(source, tokenizer, config.data, 8)), source.domains)
  loader = Loader(limit)
  try:
    return lm.train_language_model(config, loader, {"target": held_out}, 257, folder, False)
  finally:
    loader._inner.close()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
  optimizer = OptimizerConfig(name="sgd", learning_rate=1e30)
  with pytest.raises(DivergedError, match=r"loss on target is .* at step 4; lower optimizer"):
    train(tmp_path, config=dataclasses.replace(CONFIG, optimizer=optimizer))


def test_points_of_the_curve():
  assert lm.evaluation_steps(CONFIG) == [4, 8, 12]
  assert lm.evaluation_steps(dataclasses.replace(CONFIG, steps=2)) == [1, 2]


def test_loss_falls_and_a_stopped_run_ends_the_same(tmp_path):
  curve = train(tmp_path / "whole")
  losses = [point["target"]["bits_per_byte"] for point in curve]
  assert losses[0] > losses[1] > losses[2]
  flops = [point["training_flops"] for point in curve]
  assert flops == pytest.approx([flops[2] / 3, flops[2] * 2 / 3, flops[2]])
  with pytest.raises(StoppedError):
    train(tmp_path / "stopped", limit=9)
  assert train(tmp_path / "stopped") == curve
  a, b = (
    lm.load_language_model(CONFIG, 257, tmp_path / name)["transformer"]["embedding"]
    for name in ("whole", "stopped")
  )
  np.testing.assert_array_equal(a, b)
  assert train(tmp_path / "whole") == curve  # finished: nothing is done again
