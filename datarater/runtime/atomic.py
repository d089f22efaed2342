"""Files and folders that are whole or absent: written beside their place, then moved there.

A file may also be a URL (`runtime.places`): it is written here, then uploaded whole.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from datarater.errors import InputError
from datarater.runtime.places import Place, open_binary, upload


@contextlib.contextmanager
def atomic_path(path: Place) -> Iterator[Path]:
  """Yields a temporary path beside `path`, which replaces it at the end; an exception leaves
  nothing.

  The temporary name is fixed, so that what a killed process left is written over, not gathered.
  For a URL the temporary path is local. Raises InputError where the folder or the file cannot be
  made.
  """
  if not isinstance(path, Path):
    with tempfile.TemporaryDirectory(prefix="datarater.") as folder:
      partial = Path(folder) / path.name
      yield partial
      upload(partial, path)
    return
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
def atomic_file(path: Place) -> Iterator[BinaryIO]:
  """`atomic_path`, open for writing bytes."""
  with atomic_path(path) as partial:
    with explained(path):
      file = partial.open("wb")
    with explained(path), file:
      yield file


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
  """Yields an empty folder, which replaces `path` at the end; an exception leaves nothing.

  Where `path` exists, a crash between the two renames leaves it absent, never half written.
  """
  partial, old = (path.with_name(f".{path.name}.{kind}") for kind in ("partial", "old"))
  with explained(path):
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
  try:
    with explained(path):
      yield partial
      if path.exists():
        path.rename(old)
      partial.rename(path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Place, values: Any) -> None:
  """Writes JSON for people and programs: indented, keys in the order given, NaN refused."""
  text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
  with atomic_file(path) as file:
    file.write(text.encode() + b"\n")


def read_json(path: Place, what: str) -> Any:
  """Reads JSON; a missing or broken file raises InputError that calls it `what`."""
  try:
    with open_binary(path) as file:
      return json.loads(file.read())
  except OSError as error:
    raise InputError(
      f"{what} {str(path)!r} cannot be read: {error.strerror}; name another folder"
    ) from error
  except ValueError as error:
    raise InputError(
      f"{what} {str(path)!r} is not JSON ({error}); delete its folder and make it again"
    ) from error


@contextlib.contextmanager
def explained(path: Place) -> Iterator[None]:
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
