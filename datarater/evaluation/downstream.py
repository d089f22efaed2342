"""Language models on tasks: accuracy, and bits per byte of the right answer.

A question is answered by the choice with the largest log-likelihood given the context (`accuracy`),
or the largest a UTF-8 byte of the choice without the space in front of it (`accuracy_normalised`);
of equals the first. A completion is right where greedy decoding gives it (`accuracy`). Models too
small to answer still differ in `bits_per_byte`: nats of the right answers / (ln 2 · their bytes,
that space included). Intervals are of 95%: Wilson's for shares, a linearised ratio's for bits.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from tqdm import tqdm

from datarater.data.suite import (
  Item,
  Kind,
  Task,
  chance,
  choose_tasks,
  pairs_of,
  read_items,
  read_suite,
  sample_items,
)
from datarater.errors import require
from datarater.evaluation.arm import read_result
from datarater.evaluation.likelihood import Advance, Likelihoods, continuation_likelihoods
from datarater.evaluation.trained import TrainedModel, fingerprint, load_trained, newest_step
from datarater.runtime.atomic import read_json, write_json

METHOD = {
  "accuracy": "largest log-likelihood; of a completion: greedy decoding gives it",
  "accuracy_normalised": "largest log-likelihood a UTF-8 byte of the choice without leading space",
  "bits_per_byte": "nats of the right answers / (ln 2 x their UTF-8 bytes)",
  "interval": "95%: Wilson for accuracies, linearised ratio of sums for bits per byte",
}
_Z = float(scipy.stats.norm.ppf(0.975))

Chosen = Sequence[tuple[Task, Sequence[Item]]]


def evaluate_runs(
  run_dirs: Sequence[str | Path],
  suite: str | Path,
  tasks: Sequence[str] = (),
  limit: int = 0,
  output: Path | None = None,
  progress: bool = True,
) -> dict[str, Any]:
  """Asks each finished run every chosen task; `runs` of the result holds `task_result` by name.

  tasks: names, none for all. limit: items a task, the same for all models; 0 for all. output: where
  the result is written after each task; what it holds already of the same model and the same items
  is not computed again.
  Raises InputError, before any work, for a suite, task, run or checkpoint that cannot be used.
  """
  require(limit >= 0, f"limit is {limit}; give 0 for all items, or more")
  names = [str(run) for run in run_dirs]
  require(len(names) > 0, "no run is named; give folders of finished `datarater train`")
  require(len(set(names)) == len(names), f"runs {names} hold one twice; name each once")
  chosen = [
    (task, sample_items(read_items(task), task.name, limit))
    for task in choose_tasks(read_suite(suite), tasks)
  ]
  result: dict[str, Any] = {"suite": str(suite), "limit": limit, "method": METHOD, "runs": {}}
  for name in names:
    config, _ = read_result(name)
    about = {"fingerprint": fingerprint(name), "seed": config.seed, "step": newest_step(name)}
    result["runs"][name] = {**about, "tasks": {}}
  if output is not None and output.exists():
    _reuse(result, read_json(output, "result"), chosen)
  with tqdm(
    total=len(names) * sum(len(pairs_of(items)) for _, items in chosen),
    unit=" answers",
    disable=not progress,
    leave=False,
  ) as bar:
    for name, run in result["runs"].items():
      bar.set_description(Path(name).name)
      _evaluate_run(name, run["tasks"], chosen, bar.update, lambda: _write(output, result))
  return result


def task_result(task: Task, items: Sequence[Item], found: Likelihoods) -> dict[str, Any]:
  """What a model makes of a task's items; see `METHOD`. found: of `pairs_of(items)`.

  items: their number. chance: accuracy of a guess. contexts_cut, continuations_split: of so many of
  the answers. ties: items in which another choice is as good as the one chosen.
  """
  sizes = np.array([len(choice.encode("utf-8", "replace")) for _, choice in pairs_of(items)])
  firsts = np.cumsum([0, *(len(item.choices) for item in items[:-1])])
  golds = firsts + np.array([item.gold for item in items], np.int64)
  return {
    "kind": task.kind,
    "sha256": task.sha256,
    "items": len(items),
    "chance": chance(items),
    **_accuracies(task.kind, items, found, firsts[1:]),
    "bits_per_byte": bits_per_byte(-found.log[golds], sizes[golds]),
    "answers": len(sizes),
    "contexts_cut": int(found.cut.sum()),
    "continuations_split": int(found.split.sum()),
  }


def normalised(choice: str, log_likelihood: float) -> float:
  """Nats a UTF-8 byte of the choice, one leading space left out."""
  return log_likelihood / len(choice.removeprefix(" ").encode("utf-8", "replace"))


def share(right: np.ndarray) -> dict[str, float]:
  """value, low, high: a share and its 95% interval (Wilson 1927).

  >>> {k: round(v, 4) for k, v in share(np.array([True] * 3 + [False])).items()}
  {'value': 0.75, 'low': 0.3006, 'high': 0.9544}
  """
  count, value = len(right), float(np.mean(right))
  middle = (value + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
  spread = math.sqrt(value * (1 - value) / count + _Z**2 / (4 * count**2))
  half = _Z * spread / (1 + _Z**2 / count)
  return {"value": value, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def bits_per_byte(nats: np.ndarray, sizes: np.ndarray) -> dict[str, float | None]:
  """value, low, high: Σ nats / (ln 2 · Σ bytes), with the 95% interval of a ratio of sums.

  Its variance is that of nats - ratio · bytes (Cochran 1977, section 2.11). One item has no
  interval.
  """
  count, size = len(nats), float(sizes.sum())
  ratio = float(nats.sum()) / size
  value = ratio / math.log(2)
  if count < 2:
    return {"value": value, "low": None, "high": None}
  deviation = math.sqrt(float(np.sum((nats - ratio * sizes) ** 2)) * count / (count - 1))
  half = _Z * deviation / size / math.log(2)
  return {"value": value, "low": value - half, "high": value + half}


def _accuracies(
  kind: Kind, items: Sequence[Item], found: Likelihoods, bounds: np.ndarray
) -> dict[str, Any]:
  if kind == "completion":
    return {"accuracy": share(found.greedy)}
  gold = np.array([item.gold for item in items])
  plain = np.split(found.log, bounds)
  scores = [
    np.array([normalised(c, log) for c, log in zip(item.choices, logs, strict=True)])
    for item, logs in zip(items, plain, strict=True)
  ]
  return {
    "accuracy": share(gold == [logs.argmax() for logs in plain]),
    "accuracy_normalised": share(gold == [score.argmax() for score in scores]),
    "ties": sum(int(np.sum(score == score.max()) > 1) for score in scores),
  }


def _evaluate_run(
  name: str, done: dict[str, Any], chosen: Chosen, advance: Advance, write: Any
) -> None:
  """Fills `done` with the tasks that it lacks; a model that has nothing to do is not loaded."""
  model: TrainedModel | None = None
  for task, items in chosen:
    pairs = pairs_of(items)
    if task.name in done:
      advance(len(pairs))
      continue
    model = model or load_trained(name)
    done[task.name] = task_result(task, items, continuation_likelihoods(model, pairs, advance))
    write()


def _write(output: Path | None, result: dict[str, Any]) -> None:
  if output is not None:
    write_json(output, result)


def _reuse(result: dict[str, Any], old: Any, chosen: Chosen) -> None:
  """Takes over what an earlier result says of the same models, the same items, the same way."""
  if not isinstance(old, dict) or any(old.get(k) != result[k] for k in ("limit", "method")):
    return
  for name, run in result["runs"].items():
    before = (old.get("runs") or {}).get(name) or {}
    if before.get("fingerprint") == run["fingerprint"]:
      for task, _ in chosen:
        row = (before.get("tasks") or {}).get(task.name) or {}
        if row.get("sha256") == task.sha256:
          run["tasks"][task.name] = row
