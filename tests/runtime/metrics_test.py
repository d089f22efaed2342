"""The metrics file after a crash is as if the run had never stopped."""

import pytest

from datarater.runtime.metrics import MetricsLog, read_metrics


def write(path, steps, start=0):
  with MetricsLog(path, start) as log:
    for step in steps:
      log.write({"step": step, "loss": step / 7})


def test_rows_come_back_in_order(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert read_metrics(path) == []
  write(path, [1, 2])
  assert read_metrics(path) == [{"step": 1, "loss": 1 / 7}, {"step": 2, "loss": 2 / 7}]


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
  path, whole = tmp_path / "metrics.jsonl", tmp_path / "whole.jsonl"
  write(path, [1, 2, 3, 4, 5])
  write(path, [4, 5, 6], start=3)
  write(whole, range(1, 7))
  assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kept", range(1, 25))
def test_a_last_line_cut_off_is_no_row(tmp_path, kept):
  path = tmp_path / "metrics.jsonl"
  write(path, [1, 2, 3])
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
  complete = kept >= len(lines[2])
  assert [row["step"] for row in read_metrics(path)] == [1, 2, 3][: 2 + complete]
  write(path, [3], start=2)
  assert path.read_bytes() == b"".join(lines)


def test_a_row_is_on_disk_when_write_returns(tmp_path):
  path = tmp_path / "metrics.jsonl"
  with MetricsLog(path, 0) as log:
    log.write({"step": 1})
    assert read_metrics(path) == [{"step": 1}]
