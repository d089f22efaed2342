"""Files that are whole or absent: written beside their place, moved there when complete."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from datarater.config import InputError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
  """Yields a temporary path beside `path`, which replaces it at the end; an exception leaves
  nothing.

  The temporary name is fixed, so that what a killed process left is written over, not gathered.
  Raises InputError where the folder or the file cannot be made.
  """
  partial = path.with_name(f".{path.name}.partial")
  with explained(path):
    path.parent.mkdir(parents=True, exist_ok=True)
  try:
    yield partial
    with explained(path):
      with partial.open("rb+") as file:
        os.fsync(file.fileno())
      os.replace(partial, path)
  except BaseException:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
  """`atomic_path`, open for writing bytes."""
  with atomic_path(path) as partial:
    with explained(path):
      file = partial.open("wb")
    with explained(path), file:
      yield file


def write_json(path: Path, values: Any) -> None:
  """Writes JSON for people and programs: indented, keys in the order given, NaN refused."""
  text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
  with atomic_file(path) as file:
    file.write(text.encode() + b"\n")


def read_json(path: Path, what: str) -> Any:
  """Reads JSON; a missing or broken file raises InputError that calls it `what`."""
  try:
    return json.loads(path.read_bytes())
  except OSError as error:
    raise InputError(
      f"{what} {str(path)!r} cannot be read: {error.strerror}; name another folder"
    ) from error
  except ValueError as error:
    raise InputError(
      f"{what} {str(path)!r} is not JSON ({error}); delete its folder and make it again"
    ) from error


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
  """Turns what the system says about a file (disk full, read-only) into InputError."""
  try:
    yield
  except OSError as error:
    if error.errno is None:
      raise
    raise InputError(
      f"{str(path)!r} cannot be written: {error.strerror}; free space or name another "
      "place, and start the same command again"
    ) from error
