"""A curation run's folder: what it was begun with, what it is compared with, and its bar.

`run.json` names what decides the output. The same call again goes on; any other is refused, and the
message names the difference.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datarater.config_io import differences
from datarater.data.formats import Shard, fingerprint
from datarater.errors import InputError, require
from datarater.runtime.atomic import explained, read_json, write_json
from datarater.runtime.places import Place
from datarater.runtime.run_folder import exclusively

RUN = "run.json"
PROGRESS = "progress"
"""Folder of what unfinished shards have come to; gone when the run is done."""

LOG = "log.jsonl"
"""What happened when, a line each: the one file of a run that two runs do not share."""

_POLL_SECONDS = 0.5
_MOST_DIFFERENCES = 5


def check_run(output: Place, run: dict[str, Any], beside: Collection[str] = ()) -> None:
  """Raises InputError unless `output` is absent, empty, or of a run with the same settings.

  beside: names of what may be there before a run is.
  """
  if not output.exists():
    return
  require(output.is_dir(), f"output {str(output)!r} is a file; name a folder")
  if not (output / RUN).exists():
    require(
      all(path.name.startswith(".") or path.name in beside for path in output.iterdir()),
      f"output {str(output)!r} holds other files and no {RUN}; name a new folder",
    )
    return
  changed = differences(read_json(output / RUN, "run file"), json.loads(json.dumps(run)))
  require(
    not changed,
    f"output {str(output)!r} was begun otherwise ({shortened(changed)}); "
    "give the same settings and inputs, or name a new folder",
  )


@contextlib.contextmanager
def begun(output: Place, run: dict[str, Any], verb: str) -> Iterator[None]:
  """Work in a locked folder, after `check_run`: `run.json` is there, the log says how it went."""
  if not (output / RUN).exists():
    write_json(output / RUN, run)
  version = importlib.metadata.version("datarater")
  log(output, "started", work=verb, version=version, process=os.getpid())
  try:
    yield
  except BaseException as error:
    with contextlib.suppress(InputError):  # the disk may be full
      log(output, "stopped", work=verb, error=f"{type(error).__name__}: {error}")
    raise
  log(output, "finished", work=verb)


def log(output: Place, event: str, **values: Any) -> None:
  """Appends to the run's log. A store where nothing can be appended keeps none."""
  if isinstance(output, Path):
    now = datetime.datetime.now(datetime.UTC).isoformat("T", "milliseconds")
    line = json.dumps({"time": now, "event": event, **values}, ensure_ascii=False)
    with explained(output), (output / LOG).open("a", encoding="utf-8") as file:
      file.write(f"{line}\n")


def require_same_inputs(folder: Place, scored: dict[str, Any], shards: Sequence[Shard]) -> None:
  """Raises InputError unless these shards are those whose ratings are in `folder`.

  scored: the `run.json` there.
  """
  changed = differences(scored["inputs"], {shard.name: fingerprint(shard.path) for shard in shards})
  if changed:
    raise InputError(
      f"input and ratings {str(folder)!r} do not belong together ({shortened(changed)}); "
      "give the files that were scored, or score these"
    )


def shortened(changed: Sequence[str]) -> str:
  """The first few differences in one line, and how many more there are."""
  more = len(changed) - _MOST_DIFFERENCES
  return "; ".join(changed[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def shard_lock(output: Place, shard: str) -> AbstractContextManager[None]:
  """Held by whoever works on a shard: a worker of a killed run may still be at it."""
  return exclusively(output / PROGRESS / f"{shard}.lock")


def read_mark(output: Place, shard: str) -> Place:
  """A file that says how many bytes of an unfinished shard were read, by whichever process."""
  return output / PROGRESS / f"{shard}.read"


def remove_tree(folder: Place) -> None:
  """Removes a folder, if it is there, as far as possible."""
  if isinstance(folder, Path):
    shutil.rmtree(folder, ignore_errors=True)
  elif folder.exists():
    folder.rmdir(recursive=True)


def with_bar(
  results: Iterable[tuple[Shard, dict[str, Any]]],
  shards: Sequence[Shard],
  verb: str,
  quiet: bool,
  output: Place | None = None,
) -> Iterator[tuple[Shard, dict[str, Any]]]:
  """Results as they come, and a bar of the shards' bytes.

  output: the run's folder, whose read marks move the bar within shards.
  """
  sizes = {shard.name: shard.size for shard in shards}
  done = 0
  with (
    tqdm(
      total=sum(sizes.values()), desc=verb, unit="B", unit_scale=True, disable=quiet or None
    ) as bar,
    _polled(bar, output, lambda: done, sizes),
  ):
    for shard, stats in results:
      done += sizes.pop(shard.name)
      if output is not None:
        log(output, "shard done", work=verb, shard=shard.name, records=stats.get("records"))
      yield shard, stats


@contextlib.contextmanager
def _polled(
  bar: tqdm, output: Place | None, done: Callable[[], int], unfinished: Mapping[str, int]
) -> Iterator[None]:
  """Moves the bar from a thread, to what is done and what the read marks say."""
  stopped = threading.Event()

  def move() -> None:
    while not stopped.wait(_POLL_SECONDS):
      bar.update(min(bar.total, done() + _read(output, dict(unfinished))) - bar.n)

  thread = threading.Thread(target=move, name="bar", daemon=True)
  if not bar.disable:
    thread.start()
  try:
    yield
  finally:
    stopped.set()
    if not bar.disable:
      thread.join()
      bar.update(done() - bar.n)


def _read(output: Place | None, unfinished: Mapping[str, int]) -> int:
  """Bytes of unfinished shards that were read, by their marks."""
  total = 0
  if output is None or not (folder := output / PROGRESS).exists():
    return 0
  for mark in folder.rglob("*.read"):
    name = "/".join(mark.parts[len(folder.parts) :]).removesuffix(".read")
    with contextlib.suppress(OSError, ValueError):  # it may go, or be half written
      total += min(unfinished.get(name, 0), int(mark.read_text()))
  return total
