"""Meta-training of a tiny rater on the bundled corpus: what it writes, resuming, divergence."""

import dataclasses
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_same_tree, tiny_run

from datarater.cli import BAD_INPUT, FAILED, main
from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.config_io import load_config_file, to_json
from datarater.errors import InputError
from datarater.meta import trainer
from datarater.runtime.artifact import read_rater
from datarater.runtime.atomic import write_json
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.metrics import TIMINGS, read_metrics
from datarater.scorers.rater import load_rater

CONFIG = tiny_run()


def with_meta(config, **changes):
  return dataclasses.replace(config, meta=dataclasses.replace(config.meta, **changes))


def checkpoint_of(folder, step, config=CONFIG):
  shapes = jax.eval_shape(trainer.build(config, 257)[0])
  state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  with Checkpoints(folder / trainer.CHECKPOINTS, 2) as checkpoints:
    assert checkpoints.latest() == step
    return checkpoints.restore(step, state)


def metrics_without_timings(folder):
  rows = read_metrics(folder / trainer.METRICS)
  return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """(folder of a run of six steps, how often its meta-step was compiled)."""
  folder = tmp_path_factory.mktemp("whole")
  traces = 0

  def counting_build(*args):
    init, step = build(*args)

    def counted(*args):
      nonlocal traces
      traces += 1
      return step(*args)

    return init, counted

  build = trainer.build
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trainer, "build", counting_build)
    trainer.meta_train(CONFIG, folder, progress=False)
  return folder, traces


def test_the_meta_step_compiles_once(whole):
  assert whole[1] == 1


def test_the_trained_rater_is_saved(whole):
  """Not the initial one, and not nothing: a failure of public re-implementations."""
  folder, _ = whole
  state, _ = checkpoint_of(folder, 6)
  files = read_rater(folder / trainer.RATER)
  assert_same_tree(files.eta, jax.tree.map(np.asarray, state.eta))
  initial = jax.jit(trainer.build(CONFIG, 257)[0])().eta
  assert np.all(np.asarray(initial["head"]["kernel"]) == 0)
  assert np.any(files.eta["head"]["kernel"] != 0)
  assert files.config.steps == 6
  assert files.cdf.count == CONFIG.cdf_documents
  assert "`speeches`" in (folder / trainer.RATER / "card.md").read_text()
  ratings = load_rater(folder / trainer.RATER).rate(["Some text.", "{};"])
  assert np.all(np.isfinite(ratings))
  assert ratings[0] != ratings[1]


def test_metrics(whole):
  rows = read_metrics(whole[0] / trainer.METRICS)
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
  # Two members with lifetime 4: the second starts anew after two steps.
  assert [row["age"] for row in rows] == [[0, 0], [1, 1], [2, 0], [3, 1], [0, 2], [1, 3]]
  for row in rows:
    assert len(row["outer_loss"]) == len(row["meta_gradient_norm"]) == len(row["update_norm"]) == 2
    assert all(5 < loss < 9 for loss in row["outer_loss"])
    assert row["skipped"] == row["skipped_in_row"] == 0
    assert 1 < row["effective_sample_size"] <= row["datapoints_per_batch"] + 1e-3
    assert 0 < row["weight_entropy"] <= np.log(row["datapoints_per_batch"]) + 1e-3
    assert row["seconds"] > 0
    np.testing.assert_allclose(row["tokens_per_second"], row["tokens"] / row["seconds"], rtol=1e-6)
  np.testing.assert_allclose([row["learning_rate"] for row in rows], [5e-4] + [1e-3] * 5)
  assert rows[0]["rating_std"] == 0, "ratings start equal"
  assert rows[5]["rating_std"] > 0
  assert len(rows[5]["rating_by_domain"]) > 1


def test_stopped_and_extended_is_as_if_never_stopped(whole, tmp_path):
  """Bit for bit: parameters, moments, population, positions of the loaders, metrics, rater."""
  folder, _ = whole
  trainer.meta_train(with_meta(CONFIG, steps=4), tmp_path, progress=False)
  trainer.meta_train(CONFIG, tmp_path, progress=False)
  assert metrics_without_timings(tmp_path) == metrics_without_timings(folder)
  (state, position), (expected, expected_position) = (
    checkpoint_of(f, 6) for f in (tmp_path, folder)
  )
  assert_same_tree(state, expected)
  assert position == expected_position
  for file in sorted((folder / trainer.RATER).iterdir()):
    assert (tmp_path / trainer.RATER / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_run_whose_rate_falls_to_its_end_is_not_made_longer(tmp_path):
  falling = with_meta(CONFIG, schedule="cosine")
  write_json(tmp_path / "config.json", to_json(with_meta(falling, steps=4)))
  with pytest.raises(InputError, match=r"meta\.steps: 4 -> 6"):
    trainer.meta_train(falling, tmp_path, progress=False)


def test_another_config_in_the_same_folder_is_refused(whole):
  folder, _ = whole
  before = (folder / "config.json").read_bytes()
  changed = with_meta(dataclasses.replace(CONFIG, seed=1), unroll_length=3)
  with pytest.raises(InputError, match=r"meta\.unroll_length: 2 -> 3; seed: 0 -> 1"):
    trainer.meta_train(changed, folder, progress=False)
  with pytest.raises(InputError, match=r"meta\.steps: 6 -> 5"):
    trainer.meta_train(with_meta(CONFIG, steps=5), folder, progress=False)
  assert (folder / "config.json").read_bytes() == before


def test_seeds_differ():
  states = [jax.jit(trainer.build(dataclasses.replace(CONFIG, seed=s), 257)[0])() for s in (0, 1)]
  embeddings = [s.members.theta["transformer"]["embedding"] for s in states]
  assert not np.array_equal(*embeddings)
  assert not np.array_equal(embeddings[0][0], embeddings[0][1]), "members differ"


DIVERGING = """
from problems import tiny_run, DataConfig, MetaConfig, OptimizerConfig

def config():
  return tiny_run(
    inner_optimizer=OptimizerConfig(name="sgd", learning_rate={rate}),
    meta=MetaConfig(
      steps=60, population=1, lifetime=100, inner_batch=2, outer_batch=2, objective="target",
      warmup_steps=0,
    ),
    checkpoint_every=7,
  )
"""


def test_a_run_that_diverges_stops_and_names_the_last_good_checkpoint(tmp_path, capsys):
  config = tmp_path / "absurd.py"
  config.write_text(DIVERGING.format(rate="1e30"))
  run = tmp_path / "run"
  code = main(["meta-train", str(config), "--run-dir", str(run), "--quiet"])
  error = capsys.readouterr().err
  assert code == FAILED
  assert "Traceback" not in error
  assert "not finite for 20 meta-steps in a row" in error
  rows = read_metrics(run / trainer.METRICS)
  assert [row["skipped_in_row"] for row in rows[-20:]] == list(range(1, 21))
  assert rows[-1]["skipped"] == len(rows)
  named = re.search(r"checkpoint is '([^']+)'", error)
  assert named, error
  assert named[1] == str((run / trainer.CHECKPOINTS / "14").absolute())
  assert not (run / trainer.RATER).exists()
  state, _ = checkpoint_of(run, 14, load_config_file(config, MetaTrainConfig))
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_bad_configs_exit_with_2(tmp_path, capsys):
  config = tmp_path / "config.py"
  config.write_text(DIVERGING.format(rate="-1.0"))
  arguments = ["meta-train", str(config), "--run-dir", str(tmp_path / "run"), "--quiet"]
  assert main(arguments) == BAD_INPUT
  error = capsys.readouterr().err
  assert "learning_rate is -1.0" in error
  assert "Traceback" not in error
  with pytest.raises(InputError, match="unroll_length is 0"):
    MetaConfig(unroll_length=0)
  with pytest.raises(InputError, match="clip_norm is -1"):
    OptimizerConfig(clip_norm=-1)


def test_a_damaged_checkpoint_is_named(whole, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(whole[0], folder)
  arrays = folder / trainer.CHECKPOINTS / "6" / "state"
  assert arrays.is_dir()
  shutil.rmtree(arrays)
  with pytest.raises(InputError, match="6' cannot be read"):
    trainer.meta_train(with_meta(CONFIG, steps=7), folder, progress=False)
