"""What is committed in experiments/results is whole, of today's settings, and in the report."""

import json
from pathlib import Path

import pytest

from experiments.experiment import FIGURE, OUTPUT, RESULTS, is_of
from experiments.report import results_text
from experiments.scale import SCALES
from experiments.suite import EXPERIMENTS

ROOT = Path(__file__).parents[2]
OWN_SETTINGS = ("fig3_noise",)
"""A toy whose sizes are its own."""


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_has_its_results(experiment):
  folder = ROOT / OUTPUT / experiment.name / "cpu"
  results = json.loads((folder / RESULTS).read_text())
  assert results["finding"]
  assert results["paper"] == experiment.paper
  assert (folder / FIGURE).is_file()
  if experiment.name not in OWN_SETTINGS:
    assert is_of(results, SCALES["cpu"])


def test_the_report_is_of_these_results():
  path = ROOT / OUTPUT.parent / "RESULTS.md"
  assert path.read_text() == results_text(EXPERIMENTS, ROOT / OUTPUT, path)
