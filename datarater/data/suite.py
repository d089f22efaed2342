"""A suite of tasks on disk: what a language model is asked, and what it should answer.

    suite.json    kind, file, items and chance of each task; where they come from
    NAME.jsonl    an item a line: {"id", "context", "choices", "gold"}

A choice is the text that continues the context, its leading space included. A task of kind `choice`
asks which of two or more; one of kind `completion` has a single choice, the text to be predicted.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from datarater.errors import InputError, require
from datarater.runtime.atomic import read_json, write_json

SUITE = "suite.json"
FORMAT = 1
MAKE = "make it with `datarater data build eval-suite`"

Kind = Literal["choice", "completion"]

_FIELDS = {"id": str, "context": str, "choices": list, "gold": int}
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclasses.dataclass(frozen=True)
class Item:
  """One question. choices: continuations of the context. gold: index of the right one."""

  id: str
  context: str
  choices: tuple[str, ...]
  gold: int


@dataclasses.dataclass(frozen=True)
class Task:
  """A task of a suite. sha256: of its file, hex; `read_items` checks it."""

  name: str
  kind: Kind
  path: Path
  sha256: str


def chance(items: Sequence[Item]) -> float:
  """Accuracy of a guess among the choices; 0 for completions, which offer none."""
  return float(np.mean([1.0 / len(i.choices) if len(i.choices) > 1 else 0.0 for i in items]))


def write_suite(
  folder: Path, tasks: Mapping[str, tuple[Kind, Sequence[Item]]], about: Mapping[str, Any]
) -> dict[str, Any]:
  """Writes tasks into an empty folder and returns `suite.json`, into which `about` goes first.

  `about["tasks"]` may say more of a task, by name. Raises InputError for an item that `read_items`
  would refuse.
  """
  described: dict[str, Any] = {}
  for name, (kind, items) in tasks.items():
    lines = [json.dumps(dataclasses.asdict(item), ensure_ascii=False) for item in items]
    content = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
    parse_items(content, kind, f"task {name!r}")
    file = f"{name}.jsonl"
    (folder / file).write_bytes(content)
    described[name] = {
      "kind": kind,
      "file": file,
      "sha256": hashlib.sha256(content).hexdigest(),
      "items": len(items),
      "chance": chance(items),
      **about.get("tasks", {}).get(name, {}),
    }
  suite = {"format": FORMAT, **about, "tasks": described}
  write_json(folder / SUITE, suite)
  return suite


def read_suite(folder: str | Path) -> dict[str, Task]:
  """The tasks of a suite by name, in its order. InputError: no suite, broken, of another format."""
  folder = Path(folder)
  require((folder / SUITE).is_file(), f"folder {str(folder)!r} has no {SUITE}; {MAKE}")
  values = read_json(folder / SUITE, "suite")
  tasks = values.get("tasks") if isinstance(values, dict) else None
  if not isinstance(tasks, dict) or not tasks or values.get("format") != FORMAT:
    raise InputError(f"suite {str(folder)!r} is not of format {FORMAT} or has no tasks; {MAKE}")
  return {name: _task(folder, name, entry) for name, entry in tasks.items()}


def choose_tasks(suite: Mapping[str, Task], names: Sequence[str]) -> list[Task]:
  """The named tasks in the suite's order, all if none is named; InputError for an unknown name."""
  unknown = [name for name in names if name not in suite]
  require(not unknown, f"tasks {unknown} are not in the suite; choose from {', '.join(suite)}")
  return [task for name, task in suite.items() if not names or name in names]


def read_items(task: Task) -> list[Item]:
  """All items of a task. InputError names file and line of what is missing, empty or broken."""
  try:
    content = task.path.read_bytes()
  except OSError as error:
    raise InputError(
      f"task file {str(task.path)!r} cannot be read: {error.strerror}; {MAKE} again"
    ) from error
  items = parse_items(content, task.kind, f"task file {str(task.path)!r}")
  require(
    hashlib.sha256(content).hexdigest() == task.sha256,
    f"task file {str(task.path)!r} has another sha256 than {SUITE} says; {MAKE} again",
  )
  return items


def sample_items(items: Sequence[Item], name: str, limit: int) -> list[Item]:
  """At most `limit` items (0: all) in their order, drawn by the task's name: alike in every run."""
  if not 0 < limit < len(items):
    return list(items)
  seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
  chosen = np.random.default_rng(seed).choice(len(items), limit, replace=False)
  return [items[i] for i in np.sort(chosen)]


def parse_items(content: bytes, kind: Kind, what: str) -> list[Item]:
  """Items of JSON lines; `what` names their origin in an InputError."""
  # Not splitlines: it also cuts at separators that JSON leaves inside a string.
  lines = content.split(b"\n")
  items = [
    _item(line, kind, f"{what}, line {number}") for number, line in enumerate(lines, 1) if line
  ]
  require(bool(items), f"{what} has no items; {MAKE} again, or leave the task out")
  return items


def _task(folder: Path, name: str, entry: Any) -> Task:
  keys = ("kind", "file", "sha256")
  good = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys)
  require(
    good and entry["kind"] in get_args(Kind) and _NAME.fullmatch(entry["file"]) is not None,
    f"suite {str(folder)!r}: task {name!r} needs a kind ({', '.join(get_args(Kind))}), the name of "
    f"a file beside {SUITE} and its sha256; {MAKE} again",
  )
  return Task(name, entry["kind"], folder / entry["file"], entry["sha256"])


def _item(line: bytes, kind: Kind, where: str) -> Item:
  try:
    values = json.loads(line)
  except ValueError as error:
    raise InputError(f"{where}: not JSON ({error}); {MAKE} again") from error
  for key, type_ in _FIELDS.items():
    value = values.get(key) if isinstance(values, dict) else None
    require(
      isinstance(value, type_) and not isinstance(value, bool),
      f"{where}: {key!r} is {value!r}; give a {type_.__name__}",
    )
  choices, gold = values["choices"], values["gold"]
  require(
    all(isinstance(choice, str) and choice.strip() for choice in choices),
    f"{where}: a choice of {choices!r} is empty; give text to every choice",
  )
  require(
    len(choices) == 1 if kind == "completion" else len(choices) > 1,
    f"{where}: {len(choices)} choices in a task of kind {kind!r}; give one to a completion, two or "
    "more to a choice",
  )
  require(
    0 <= gold < len(choices),
    f"{where}: gold is {gold} of {len(choices)} choices; give an index from 0",
  )
  return Item(values["id"], values["context"], tuple(choices), gold)


def pairs_of(items: Iterable[Item]) -> list[tuple[str, str]]:
  """(context, continuation) of every choice of every item."""
  return [(item.context, choice) for item in items for choice in item.choices]
