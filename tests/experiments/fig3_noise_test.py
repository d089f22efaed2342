"""The noise toy: its configs are valid, its measures right, and a small run goes through."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from datarater.config import ModelConfig
from experiments import fig3_noise
from experiments.experiment import Place
from experiments.scale import CPU


@pytest.mark.parametrize("preset", ["cpu", "gpu", "paper"])
def test_presets_are_valid(preset):
  assert fig3_noise.config(preset, 1).seed == 1


def test_relative_weights_average_to_one_and_follow_the_ratings():
  ratings = {str(level): [-3.0 * level] * 20 for level in fig3_noise.LEVELS}
  ratings["0.5"][3] = None
  weights = fig3_noise.relative_weights({"rating_by_level": ratings})
  table = np.array([weights[str(level)] for level in fig3_noise.LEVELS])
  np.testing.assert_allclose(table.mean(axis=0), 1.0)
  assert (np.diff(table, axis=0) < 0).all()


def test_a_small_run_writes_results_and_figure(tmp_path, monkeypatch):
  full = fig3_noise.config

  def small(preset, seed):
    config = full(preset, seed)
    model = ModelConfig(width=8, layers=1, heads=1, mlp_width=16)
    meta = dataclasses.replace(config.meta, steps=12, inner_batch=16, outer_batch=4)
    return dataclasses.replace(config, rater=model, inner=model, meta=meta, cdf_documents=4)

  monkeypatch.setattr(fig3_noise, "config", small)
  scale = dataclasses.replace(CPU, seeds=(0,))
  place = Place(scale, tmp_path / "runs", tmp_path / "out", workers=1)
  fig3_noise.EXPERIMENT.run(place)
  results = json.loads((tmp_path / "out" / "fig3_noise" / "cpu" / "results.json").read_text())
  assert len(results["spearman"]) == 1
  assert results["met"] == (max(results["spearman"]) <= fig3_noise.CRITERION)
  figure = tmp_path / "out" / "fig3_noise" / "cpu" / "figure.png"
  assert figure.read_bytes().startswith(b"\x89PNG")


def test_it_needs_no_corpus_but_the_bundled_one():
  assert fig3_noise.EXPERIMENT.dataset == fig3_noise.config("cpu", 0).data.dataset == "bundled"


def test_committed_results_draw_their_figure():
  committed = Path(fig3_noise.__file__).parent / "results" / "fig3_noise" / "cpu" / "results.json"
  figure = fig3_noise.draw(json.loads(committed.read_text()))
  assert len(figure.axes[0].lines) == len(fig3_noise.LEVELS) + 1
