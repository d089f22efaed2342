"""Run folders of language models that nobody trained: for tests of what uses one."""

from pathlib import Path

import jax
from problems import MODEL

from datarater.config import ModelConfig, TrainConfig
from datarater.config_io import to_json
from datarater.data_config import DataConfig
from datarater.runtime.atomic import write_json
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.run_folder import CONFIG
from datarater.training import lm


def write_run(folder: Path, seed: int = 0, model: ModelConfig = MODEL, vocab_size: int = 257):
  """A folder as `datarater train` leaves it, with a model as it starts; its parameters."""
  config = TrainConfig(seed=seed, data=DataConfig(length=32), model=model, steps=2)
  state = lm._compiled(model, config.optimizer, 2, vocab_size, 32)[0](jax.random.key(seed))
  folder.mkdir(parents=True)
  write_json(folder / CONFIG, to_json(config))
  with Checkpoints(folder / lm.CHECKPOINTS, 1) as checkpoints:
    checkpoints.save(2, state, {"train": {}})
  return state.theta
