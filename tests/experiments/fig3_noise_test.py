"""The noise toy: its configs are valid, its measures right, and a small run goes through."""

import dataclasses
import json

import numpy as np
import pytest

from datarater.config import ModelConfig
from experiments import fig3_noise


@pytest.mark.parametrize("preset", ["cpu", "gpu", "paper"])
def test_presets_are_valid(preset):
  assert fig3_noise.config(preset, 1).seed == 1


def test_spearman():
  values = np.array([3.0, 1.0, 2.0, 5.0])
  assert fig3_noise.spearman(values, values**3) == pytest.approx(1.0)
  assert fig3_noise.spearman(values, -values) == pytest.approx(-1.0)


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
  fig3_noise.main("cpu", (0, 1), tmp_path / "runs", tmp_path / "out")
  results = json.loads((tmp_path / "out" / "cpu" / "results.json").read_text())
  assert len(results["spearman"]) == 2
  assert results["met"] == (max(results["spearman"]) <= fig3_noise.CRITERION)
  assert (tmp_path / "out" / "cpu" / "figure.png").read_bytes().startswith(b"\x89PNG")
