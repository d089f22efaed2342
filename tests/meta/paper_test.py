"""The paper's settings as configs, against its numbers written out (arXiv 2505.17895)."""

import types
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from datarater.config import MetaTrainConfig, SelectionConfig
from datarater.config_io import from_json, load_config_file, to_json
from datarater.data import datasets
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.meta.paper import lm_config
from datarater.models import cost

CONFIGS = Path(__file__).parents[2] / "configs"
DATASETS = {
  "paper_pile": "data/pile",
  "paper_c4": "c4/en:3.1.0",
  "paper_c4_noclean": "c4/en.noclean:3.1.0",
}
VOCAB = 32_001


def load(name):
  return load_config_file(CONFIGS / f"{name}.py", MetaTrainConfig)


@pytest.mark.parametrize("name", DATASETS)
def test_configs_carry_the_published_settings(name):
  config = load(name)
  meta = config.meta
  assert (config.name, config.data.dataset) == (name, DATASETS[name])
  assert (meta.unroll_length, meta.population, meta.steps) == (2, 8, 8_000)
  assert (meta.inner_batch, meta.outer_batch, config.data.length) == (128, 128, 2_048)
  assert (meta.weight_decay, meta.warmup_steps, meta.clip_norm) == (0.1, 100, 0.01)
  assert (meta.objective, meta.estimator, meta.outer_loss) == ("heldout", "mixed", "nll")
  assert config.data.datapoint == "sequence"
  for model in (config.inner, config.rater):
    assert (model.dtype, model.remat) == ("bfloat16", True)
  assert cost.rater_parameters(config.rater, VOCAB) == pytest.approx(50e6, rel=0.1)
  assert cost.language_model_parameters(config.inner, VOCAB) == pytest.approx(400e6, rel=0.1)
  assert (config.mesh.member, config.mesh.data, config.mesh.model) == (8, 8, 1)
  assert from_json(MetaTrainConfig, to_json(config)) == config


@pytest.mark.parametrize("name", ["paper_c4", "paper_c4_noclean"])
def test_splits_of_c4_are_disjoint(monkeypatch, name):
  splits = {
    split: tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=0)
    for split, count in (("train", 1_000_003), ("validation", 1_001))
  }
  info = types.SimpleNamespace(splits=splits, full_name="c4")
  builder = types.SimpleNamespace(info=info, data_path="c4")
  monkeypatch.setattr(datasets, "open_dataset", lambda name: builder)
  datasets.check_splits(load(name).data)


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_tokenizer_is_asked_for(name):
  with pytest.raises(InputError, match=r"sentencepiece tokenizer and give its file as data\.token"):
    load_tokenizer(load(name).data.tokenizer)


@pytest.mark.parametrize(
  ("size", "parameters", "steps", "batch", "learning_rate"),
  [
    ("50m", 50e6, 5_000, 128, 1e-3),
    ("150m", 150e6, 12_000, 128, 1e-3),
    ("400m", 400e6, 30_000, 128, 1e-3),
    ("1b", 1e9, 48_000, 256, 2e-4),
  ],
)
def test_final_models_carry_the_published_schedules(size, parameters, steps, batch, learning_rate):
  data = DataConfig(length=2_048)
  selection = SelectionConfig(kind="random", discard_fraction=0.75)
  config = lm_config(size, data, selection, seed=3)
  assert (config.steps, config.batch, config.optimizer.learning_rate) == (
    steps,
    batch,
    learning_rate,
  )
  assert (config.optimizer.name, config.optimizer.schedule) == ("adam", "cosine")
  assert (config.seed, config.data, config.selection) == (3, data, selection)
  found = cost.language_model_parameters(config.model, VOCAB)
  assert found == pytest.approx(parameters, rel=0.1)


def test_other_sizes_are_refused():
  with pytest.raises(InputError, match="'70b' is none of the paper's; give one of 50m, 150m"):
    lm_config("70b", DataConfig())
