"""`datarater tasks` and `data build eval-suite`: what is printed, and one line for bad input."""

import json
import shutil
from pathlib import Path

import pytest
from language_runs import train_tiny

from datarater import cli
from datarater.data import suite
from datarater.data.suite import Item


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
  return train_tiny(tmp_path_factory.mktemp("runs") / "lm")


@pytest.fixture
def tasks(tmp_path) -> Path:
  items = [Item(str(i), f"{i} is", (" odd", " even"), (i + 1) % 2) for i in range(9)]
  folder = tmp_path / "suite"
  folder.mkdir()
  suite.write_suite(folder, {"parity": ("choice", items), "other": ("choice", items)}, {})
  return folder


def refused(capsys, *arguments) -> str:
  """Runs the command line, expects exit code 2 and one line; returns it."""
  assert cli.main([str(a) for a in arguments]) == cli.BAD_INPUT
  err = capsys.readouterr().err.strip()
  assert err.startswith("datarater: ")
  assert len(err.splitlines()) == 1, err
  return err


def test_tables_and_json(run, tasks, tmp_path, capsys):
  output = tmp_path / "out" / "tasks.json"
  command = ["tasks", run, "--suite", tasks, "--tasks", "parity", "--limit", "4"]
  assert cli.main([str(a) for a in [*command, "--output", output]]) == cli.DONE
  printed = capsys.readouterr().out
  for words in ("Accuracy", "Bits per byte", "parity", "50.0%", "lm"):
    assert words in printed
  assert "other" not in printed
  row = json.loads(output.read_text())["runs"][str(run)]["tasks"]["parity"]
  assert (row["items"], row["chance"]) == (4, 0.5)
  assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]


def test_bad_input_is_one_line(run, tasks, tmp_path, capsys):
  assert "no suite.json" in refused(capsys, "tasks", run, "--suite", tmp_path)
  assert "['poetry'] are not in the suite; choose from parity, other" in refused(
    capsys, "tasks", run, "--suite", tasks, "--tasks", "poetry"
  )
  assert "limit is -3" in refused(capsys, "tasks", run, "--suite", tasks, "--limit", "-3")
  assert "has no result.json" in refused(capsys, "tasks", tmp_path, "--suite", tasks)
  (tasks / "parity.jsonl").write_text("")
  assert "has no items" in refused(capsys, "tasks", run, "--suite", tasks)
  (tasks / "suite.json").write_text("{")
  assert "not JSON" in refused(capsys, "tasks", run, "--suite", tasks)


def test_a_run_without_its_checkpoint(run, tasks, tmp_path, capsys):
  shutil.copytree(run, tmp_path / "lm", ignore=shutil.ignore_patterns("checkpoints"))
  line = refused(capsys, "tasks", tmp_path / "lm", "--suite", tasks)
  assert "no checkpoint in checkpoints/" in line


def test_a_suite_is_not_built_over_something_else(tasks, tmp_path, capsys):
  line = refused(capsys, "data", "build", "eval-suite", "--out", tmp_path)
  assert "is no suite" in line
  line = refused(capsys, "data", "build", "eval-suite", "--out", tasks)
  assert "from elsewhere" in line
