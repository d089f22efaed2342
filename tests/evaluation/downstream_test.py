"""Accuracies, intervals and bits per byte by hand; runs on a suite; kill and again."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from language_runs import train_tiny

from datarater.data import suite
from datarater.data.suite import Item, Task
from datarater.errors import InputError
from datarater.evaluation import downstream, trained
from datarater.evaluation.downstream import bits_per_byte, evaluate_runs, normalised, share
from datarater.evaluation.likelihood import Likelihoods

CHOICE = Task("t", "choice", Path("t"), "digest")
COMPLETION = Task("t", "completion", Path("t"), "digest")


def likelihoods(log, greedy=None) -> Likelihoods:
  none = np.zeros(len(log), bool)
  return Likelihoods(np.array(log), none if greedy is None else np.array(greedy), none, none)


def test_normalisation_by_hand():
  assert normalised(" abcd", -8.0) == -2.0
  assert normalised("abcd", -8.0) == -2.0
  assert normalised("  abc", -8.0) == -2.0  # one space alone separates
  assert normalised(" é字", -10.0) == -2.0  # bytes, not characters


def test_the_longer_answer_wins_by_length_alone():
  items = [Item("a", "c", (" ab", " abcdefgh"), 1), Item("b", "c", (" x", " yz", " é"), 0)]
  # By hand: -4/2 = -2 against -8/8 = -1; then -1, -1, -1.5: a tie, the first counts.
  found = likelihoods([-4.0, -8.0, -1.0, -2.0, -3.0])
  result = downstream.task_result(CHOICE, items, found)
  assert result["accuracy"]["value"] == 0.5
  assert result["accuracy_normalised"]["value"] == 1.0
  assert result["ties"] == 1
  assert result["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
  # Gold: 8 nats on 9 bytes and 1 nat on 2.
  assert result["bits_per_byte"]["value"] == pytest.approx(9 / math.log(2) / 11)
  assert (result["items"], result["answers"]) == (2, 5)


def test_of_equal_answers_the_first_is_chosen():
  items = [Item("a", "c", (" b", " b"), gold) for gold in (0, 1)]
  result = downstream.task_result(CHOICE, items, likelihoods([-1.0] * 4))
  assert result["accuracy"]["value"] == result["accuracy_normalised"]["value"] == 0.5
  assert result["ties"] == 2


def test_a_completion_is_right_where_decoding_gives_it():
  items = [Item(str(i), "c", (" word",), 0) for i in range(4)]
  found = likelihoods([-5.0] * 4, [True, False, False, False])
  result = downstream.task_result(COMPLETION, items, found)
  assert result["accuracy"] == share(np.array([True, False, False, False]))
  assert result["chance"] == 0.0
  assert "accuracy_normalised" not in result
  assert result["bits_per_byte"] == {
    key: pytest.approx(1 / math.log(2)) for key in ("value", "low", "high")
  }


def test_intervals_by_hand():
  # Wilson: p = 0.5, n = 4, z = 1.96: centre 0.5, half width z sqrt(1/16 + z²/64) / (1 + z²/4).
  z = 1.959963984540054
  half = z * math.sqrt(1 / 16 + z**2 / 64) / (1 + z**2 / 4)
  assert share(np.array([True, False] * 2)) == pytest.approx(
    {"value": 0.5, "low": 0.5 - half, "high": 0.5 + half}
  )
  assert share(np.zeros(10, bool))["low"] == 0.0
  assert share(np.ones(10, bool))["high"] == pytest.approx(1.0)
  # Nats 1, 3 on 1, 1 bytes: ratio 2, residuals -1, 1, so s² = 2 and the error is sqrt(2·2) / 2.
  bits = bits_per_byte(np.array([1.0, 3.0]), np.array([1, 1]))
  assert bits["value"] == pytest.approx(2 / math.log(2))
  assert bits["high"] - bits["value"] == pytest.approx(z * 1.0 / math.log(2))
  assert bits_per_byte(np.array([1.0]), np.array([2]))["low"] is None


def test_the_interval_of_bits_covers_the_truth():
  rng = np.random.default_rng(0)
  covered = 0
  for _ in range(400):
    sizes = rng.integers(1, 30, 60)
    nats = 1.5 * sizes + rng.normal(0, 3, 60)
    bits = bits_per_byte(nats, sizes)
    covered += bits["low"] <= 1.5 / math.log(2) <= bits["high"]
  assert 0.91 <= covered / 400 <= 0.98


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
  """Two finished runs of a few steps, of two seeds."""
  folder = tmp_path_factory.mktemp("runs")
  return [train_tiny(folder / str(seed), seed=seed) for seed in (0, 1)]


@pytest.fixture
def tasks(tmp_path) -> Path:
  """A suite of two tasks."""
  pick = [Item(str(i), f"Number {i} is", (" odd", " even"), (i + 1) % 2) for i in range(30)]
  last = [Item(str(i), f"{i} and {i} is", (f" {2 * i}",), 0) for i in range(20)]
  folder = tmp_path / "suite"
  folder.mkdir()
  suite.write_suite(folder, {"pick": ("choice", pick), "end": ("completion", last)}, {})
  return folder


def test_every_run_is_asked_the_same(runs, tasks):
  result = evaluate_runs(runs, tasks, limit=7, progress=False)
  first, second = result["runs"].values()
  assert list(first["tasks"]) == ["pick", "end"]
  assert first["tasks"]["pick"]["items"] == 7
  assert first["tasks"]["pick"]["answers"] == 14
  bits = [run["tasks"]["end"]["bits_per_byte"]["value"] for run in (first, second)]
  assert bits[0] != bits[1]
  assert (first["seed"], second["seed"], first["step"]) == (0, 1, 2)
  assert evaluate_runs(runs, tasks, limit=7, progress=False) == result


def test_a_killed_evaluation_goes_on(runs, tasks, tmp_path, monkeypatch):
  whole = evaluate_runs(runs, tasks, output=tmp_path / "whole.json", progress=False)
  assert json.loads((tmp_path / "whole.json").read_text()) == whole
  asked = []
  ask = downstream.continuation_likelihoods

  def stops_at_the_third(model, pairs, advance):
    asked.append(model.name)
    if len(asked) == 3:
      raise KeyboardInterrupt
    return ask(model, pairs, advance)

  monkeypatch.setattr(downstream, "continuation_likelihoods", stops_at_the_third)
  with pytest.raises(KeyboardInterrupt):
    evaluate_runs(runs, tasks, output=tmp_path / "killed.json", progress=False)
  assert evaluate_runs(runs, tasks, output=tmp_path / "killed.json", progress=False) == whole
  assert asked == [str(runs[0])] * 2 + [str(runs[1])] * 3
  assert (tmp_path / "killed.json").read_text() == (tmp_path / "whole.json").read_text()
  # With nothing to do, no model is loaded; another limit is another question.
  monkeypatch.setattr(downstream, "load_trained", None)
  assert evaluate_runs(runs, tasks, output=tmp_path / "whole.json", progress=False) == whole
  with pytest.raises(TypeError):
    evaluate_runs(runs, tasks, limit=3, output=tmp_path / "whole.json", progress=False)


def test_bad_input_is_refused_before_a_model_is_loaded(runs, tasks, tmp_path, monkeypatch):
  monkeypatch.setattr(downstream, "load_trained", None)
  with pytest.raises(InputError, match="limit is -1"):
    evaluate_runs(runs, tasks, limit=-1)
  with pytest.raises(InputError, match="no run is named"):
    evaluate_runs([], tasks)
  with pytest.raises(InputError, match="hold one twice"):
    evaluate_runs([runs[0], runs[0]], tasks)
  with pytest.raises(InputError, match=r"\['pock'\] are not in the suite"):
    evaluate_runs(runs, tasks, ["pock"])
  with pytest.raises(InputError, match=r"has no result\.json"):
    evaluate_runs([runs[0], tmp_path], tasks)


def test_a_run_without_a_checkpoint(runs, tmp_path):
  for name in ("config.json", "result.json"):
    (tmp_path / name).write_bytes((runs[0] / name).read_bytes())
  with pytest.raises(InputError, match=r"no checkpoint in checkpoints/; train it again"):
    trained.load_trained(tmp_path)
