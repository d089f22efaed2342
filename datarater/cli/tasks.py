"""The verb that asks trained language models questions."""

from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg


def tasks(
  run_dirs: Positional[tuple[Path, ...]],
  suite: Path,
  names: Annotated[tuple[str, ...], arg(name="tasks")] = (),
  limit: int = 0,
  output: Path | None = None,
  quiet: bool = False,
) -> None:
  """Asks trained language models the tasks of a suite, such as HellaSwag and LAMBADA.

  Prints accuracy, normalised by length, beside chance, and bits per byte of the right answer, each
  with its 95% interval: docs/evaluation.md says what they mean. With --output the same command
  again goes on where it was stopped.

  Args:
    run_dirs: Run folders of finished `datarater train`.
    suite: Folder of `datarater data build eval-suite`. Never train on it.
    names: Of its tasks; all if none is named.
    limit: Items a task, drawn once and the same for every model; 0 for all.
    output: Write all numbers there, as JSON.
    quiet: No progress bar, no tables.
  """
  from datarater.evaluation.downstream import evaluate_runs
  from datarater.report.tables import tasks as tables

  result = evaluate_runs(run_dirs, suite, names, limit, output, progress=not quiet)
  if not quiet:
    Console().print(*tables(result))
