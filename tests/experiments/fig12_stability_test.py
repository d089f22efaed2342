"""Norms and autocorrelations by closed form; a small run over planted snapshots."""

import numpy as np
import pytest

from experiments import fig12_stability
from experiments.fig12_stability import autocorrelations, snapshot_steps, update_norms


def rows(norms):
  return [{"step": i + 1, "update_norm": list(n), "skipped": 2} for i, n in enumerate(norms)]


def test_norms_are_summed_up_over_all_steps_and_thinned():
  table = np.ones((4 * fig12_stability.POINTS, 2))
  table[401, 1] = 50.0  # not among those that are kept
  table[-fig12_stability.POINTS :] = 3.0
  found = update_norms(rows(table))
  assert found["median"] == 1.0
  assert found["largest"] == 50.0
  assert found["late_over_early"] == pytest.approx(3 / (1 + 49 / 800))
  assert len(found["step"]) == len(found["update_norm"]) == fig12_stability.POINTS
  assert found["skipped"] == 2


def test_autocorrelations():
  a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
  found = autocorrelations([np.array([a, b, a])] * 2)
  assert [of["mean"] for of in found["with_previous"]] == pytest.approx([-1.0, -1.0])
  assert [of["mean"] for of in found["with_last"]] == pytest.approx([1.0, -1.0])


def test_a_small_run(place):
  results = fig12_stability.EXPERIMENT.run(place)
  assert results["snapshot_steps"] == [4, 8]
  assert [of["largest"] for of in results["norms"]] == [9.0] * 2
  first, last = results["with_previous"][0], results["with_last"][0]
  assert first == last
  assert len(first["by_seed"]) == 2
  assert "still move" in results["difference"]
  assert (place.folder("fig12_stability") / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_end_is_a_snapshot_whatever_the_steps(place):
  job = fig12_stability._raters(place)[0]
  assert snapshot_steps(job) == [4, 8]
