"""Paths, URLs and globs to files; `**` follows links, but never in a circle."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from upath import UPath

from datarater.errors import InputError, require
from datarater.runtime.places import Place, place


def expand(pattern: str | Place) -> list[Place]:
  """The files that a path, URL or glob means, sorted; none raises InputError.

  So do folders, and links that lead nowhere or back to where they are.
  """
  where = place(pattern)
  found = _local(str(where)) if isinstance(where, Path) else _remote(where)
  files = sorted({path for path in found if path.is_file()}, key=str)
  name = str(pattern)
  if not files and any(path.is_dir() for path in found):
    example = name.rstrip("/") + "/*.jsonl"
    raise InputError(f"input {name!r} is a folder; give a glob of its files such as {example!r}")
  require(bool(files), f"input {name!r} matches no file; check the path and the glob")
  return files


def _local(pattern: str) -> list[Place]:
  # What exists by that very name comes first: names may hold `[` and `*`.
  paths = [pattern] if os.path.lexists(pattern) else list(_expanded(pattern))
  for path in paths:
    require(
      os.path.exists(path) or not os.path.islink(path),
      f"input {path!r} is a symbolic link that leads nowhere or back to itself; remove it",
    )
  return [Path(path) for path in paths]


def _expanded(pattern: str) -> Iterator[str]:
  """As glob.glob, whose own `**` goes round in circles of links until their names are too long."""
  parts = Path(pattern).parts
  if "**" not in parts:
    yield from glob.glob(pattern)
    return
  at = parts.index("**")
  tail = os.path.join(*(parts[at + 1 :] or ["*"]))
  for start in glob.glob(os.path.join(*parts[:at])) if at else [""]:
    for folder in _folders(start) if os.path.isdir(start or ".") else []:
      yield from _expanded(os.path.join(glob.escape(folder), tail))


def _folders(start: str, above: tuple[str, ...] = ()) -> Iterator[str]:
  """The folder and all below it that are not hidden, links followed."""
  real = os.path.realpath(start)
  require(
    real not in above,
    f"input folder {start!r} is a symbolic link that leads back to {real!r}, above it; remove it, "
    "or give a glob without '**'",
  )
  yield start
  try:
    names = sorted(name for name in os.listdir(start or ".") if name[0] != ".")
  except OSError as error:
    raise InputError(
      f"input folder {start!r} cannot be listed: {error.strerror}; check your rights"
    ) from error
  for name in names:
    if os.path.isdir(os.path.join(start, name)):
      yield from _folders(os.path.join(start, name), (*above, real))


def _remote(url: UPath) -> Sequence[Place]:
  try:
    if url.exists() or not glob.has_magic(url.path):
      return [url]
    found = url.fs.glob(url.path)
    paths = found if isinstance(found, list) else list(found)
    return [UPath(str(p), protocol=url.protocol, **url.storage_options) for p in paths]
  except Exception as error:  # each store has its own errors
    raise InputError(
      f"input {str(url)!r} cannot be listed: {type(error).__name__}: {error}; check the URL and "
      "your rights"
    ) from error
