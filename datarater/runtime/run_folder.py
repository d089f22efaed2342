"""A run's folder: its config, refused when it differs, and a lock against two runs at once."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from datarater.config import InputError
from datarater.config_io import differences, to_json
from datarater.runtime.atomic import explained, read_json, write_json

CONFIG = "config.json"


@contextlib.contextmanager
def run_folder(folder: Path, config: Any, extendable: Sequence[str] = ()) -> Iterator[Path]:
  """Yields `folder`, made and locked, with `config` written to it.

  A folder that holds another config is refused with the fields that differ. Fields in `extendable`
  (dotted names of numbers) may grow: that is the same run, continued.
  """
  with locked(folder):
    _settle(folder, to_json(config), extendable)
    yield folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
  """Makes `folder` and holds it against other processes; InputError if one is at work in it."""
  with explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(folder / ".lock")
  try:
    with explained(folder):
      lock.acquire(timeout=0)
  except filelock.Timeout as error:
    raise InputError(
      f"folder {str(folder)!r} is in use by another process; wait for it or name another"
    ) from error
  try:
    yield
  finally:
    lock.release()


def _settle(folder: Path, new: dict[str, Any], extendable: Sequence[str]) -> None:
  path = folder / CONFIG
  if path.exists():
    old = read_json(path, "run config")
    changed = differences(old, new)
    grown = [line for line in changed if _is_growth(line, old, new, extendable)]
    refused = [line for line in changed if line not in grown]
    if refused:
      raise InputError(
        f"run folder {str(folder)!r} holds a run with another config ({'; '.join(refused)}); "
        "name another folder, or give the config that it was started with"
      )
    if not grown:
      return
  write_json(path, new)


def _is_growth(line: str, old: dict, new: dict, extendable: Sequence[str]) -> bool:
  name = line.split(":", 1)[0]
  return name in extendable and _value(new, name) > _value(old, name)


def _value(values: Any, name: str) -> Any:
  for part in name.split("."):
    values = values[part]
  return values
