"""A run's folder: its config, refused when it differs, and a lock against two runs at once."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from datarater.config_io import differences, from_json, to_json
from datarater.errors import InputError
from datarater.runtime.atomic import explained, read_json, write_json
from datarater.runtime.places import Place

CONFIG = "config.json"


@contextlib.contextmanager
def run_folder(
  folder: Path, config: Any, extendable: Sequence[str] = (), free: Sequence[str] = ()
) -> Iterator[Path]:
  """Yields `folder`, made and locked, with `config` written to it.

  A folder that holds another config is refused with the fields that differ; a field that an earlier
  version did not have counts as its default. Fields in `extendable` (dotted names of numbers) may
  grow: that is the same run, continued. Those in `free`, and what is inside them, may be anything:
  the run's result does not depend on them.
  """
  with locked(folder):
    _settle(folder, config, extendable, free)
    yield folder


@contextlib.contextmanager
def locked(folder: Place) -> Iterator[None]:
  """Makes `folder` and holds it against other processes; InputError if one is at work in it."""
  with explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  try:
    with _lock(folder / ".lock", timeout=0):
      yield
  except filelock.Timeout as error:
    raise InputError(
      f"folder {str(folder)!r} is in use by another process; wait for it or name another"
    ) from error


@contextlib.contextmanager
def exclusively(path: Place) -> Iterator[None]:
  """Waits until no other process is in here with this path, a file that is made for it.

  What a killed process held is free at once.
  """
  with explained(path):
    path.parent.mkdir(parents=True, exist_ok=True)
  with _lock(path, timeout=-1):
    yield


@contextlib.contextmanager
def _lock(path: Place, timeout: float) -> Iterator[None]:
  if not isinstance(path, Path):  # no lock of the store's: this machine's processes exclude others
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:24]
    path = Path(tempfile.gettempdir()) / f"datarater-{digest}.lock"
  lock = filelock.FileLock(path)
  with explained(path):
    lock.acquire(timeout=timeout)
  try:
    yield
  finally:
    lock.release()


def _settle(folder: Place, config: Any, extendable: Sequence[str], free: Sequence[str]) -> None:
  path, new = folder / CONFIG, to_json(config)
  if path.exists():
    old = read_json(path, "run config")
    with contextlib.suppress(InputError):  # of a later version: compared as it is
      old = to_json(from_json(type(config), old))
    changed = differences(old, new)
    refused = [line for line in changed if not _is_allowed(line, old, new, extendable, free)]
    if refused:
      raise InputError(
        f"run folder {str(folder)!r} holds a run with another config ({'; '.join(refused)}); "
        "name another folder, or give the config that it was started with"
      )
    if not changed:
      return
  write_json(path, new)


def _is_allowed(
  line: str, old: dict, new: dict, extendable: Sequence[str], free: Sequence[str]
) -> bool:
  name = line.split(":", 1)[0]
  if any(name == field or name.startswith(field + ".") for field in free):
    return True
  return name in extendable and _value(new, name) > _value(old, name)


def _value(values: Any, name: str) -> Any:
  for part in name.split("."):
    values = values[part]
  return values
