"""Metrics as JSON lines, one a step. After a resume the file is as if the run had never stopped."""

import json
from pathlib import Path
from typing import Any

from datarater.runtime.atomic import atomic_file, explained

TIMINGS = ("seconds", "tokens_per_second")
"""Fields that differ from run to run; all others are the same bits for the same seed."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
  """The rows of a metrics file; a last line cut off by a crash is left out."""
  if not path.exists():
    return []
  rows = []
  for line in path.read_bytes().splitlines(keepends=True):
    if line.endswith(b"\n"):
      rows.append(json.loads(line))
  return rows


class MetricsLog:
  """Appends rows to `path`. Opening drops the rows of steps after `step`, which will come again."""

  def __init__(self, path: Path, step: int):
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    with atomic_file(path) as file:
      file.writelines(_line(row) for row in kept)
    self._path = path
    self._file = path.open("ab")

  def write(self, row: dict[str, Any]) -> None:
    """Appends one row and hands it to the system, so that a killed process loses none."""
    with explained(self._path):
      self._file.write(_line(row))
      self._file.flush()

  def __enter__(self) -> "MetricsLog":
    return self

  def __exit__(self, *exception: Any) -> None:
    self._file.close()


def _line(row: dict[str, Any]) -> bytes:
  return json.dumps(row).encode() + b"\n"
