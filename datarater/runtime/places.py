"""Places: local paths and fsspec URLs (`s3://bucket/x`), both with the methods of pathlib.

    place("corpus/a.jsonl")       a pathlib Path, and so is place("file:///corpus/a.jsonl")
    place("s3://corpus/a.jsonl")  a UPath of universal_pathlib

Whatever a remote store raises becomes OSError when reading, InputError when writing, so that
callers need to know one kind of failure.
"""

import contextlib
import io
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from upath import UPath

from datarater.errors import InputError, require

Place = Path | UPath

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_BENT_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:$")
_LOCAL = ("file", "local")
_PUT_IS_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "hf"}
"""Stores where an object appears once its upload is complete, and never half of it."""

_BUFFER_BYTES = 1 << 20


def place(x: str | Path | UPath) -> Place:
  """A local path as a Path, `file://` too, and any other URL as a UPath.

  Raises InputError for a scheme that is unknown or whose package is missing, for `..` in a URL, and
  for a URL that went through pathlib (`s3:/bucket`), which has lost a slash.
  """
  if isinstance(x, UPath) and not isinstance(x, Path):
    return _checked(x)
  text = os.fspath(x) if isinstance(x, Path) else str(x)
  match = _URL.match(text)
  if match is None:
    first = text.split("/", 1)[0]
    bent = _BENT_URL.match(first) and first[:-1] in fsspec.available_protocols()
    require(
      not bent or Path(first).exists(),
      f"path {text!r} is a URL that was taken for a path; give it as a string, with two slashes",
    )
    require(
      "://" not in text or "::" not in text.split("://")[0],
      f"path {text!r} chains file systems; give a plain URL",
    )
    return Path(text)
  scheme = match.group(1).lower()
  if scheme in _LOCAL:
    return Path(cast(str, LocalFileSystem._strip_protocol(text)))
  try:
    fsspec.get_filesystem_class(scheme)
  except ImportError as error:
    raise InputError(f"{text!r} needs a package that is not here: {error}") from error
  except ValueError as error:
    raise InputError(
      f"{text!r} has the unknown scheme {scheme!r}; give s3://, gs://, ..."
    ) from error
  return _checked(UPath(text))


def _checked(url: UPath) -> UPath:
  # On an object store `..` is a name like any other, on a server it may lead upwards.
  require(".." not in url.parts, f"{str(url)!r} leads upwards; give a URL without '..'")
  return url


def identity(where: Place) -> tuple[str, ...]:
  """What tells places apart: the file system, then the parts of the resolved path."""
  if isinstance(where, Path):
    return ("", *_resolved(where).parts)
  protocol = where.fs.protocol
  first = protocol if isinstance(protocol, str) else protocol[0]
  return (first, *(part for part in posixpath.normpath(where.path).split("/") if part))


def canonical(where: Place) -> Place:
  """The place without links and `.`; a URL as it is."""
  return _resolved(where) if isinstance(where, Path) else where


def _resolved(path: Path) -> Path:
  try:
    return path.resolve()
  except (OSError, RuntimeError) as error:  # RuntimeError before Python 3.13
    raise InputError(
      f"{str(path)!r} is a symbolic link that leads back to itself; remove it"
    ) from error


def lies_in(where: Place, other: Place) -> bool:
  """Whether `where` is `other` or lies below it."""
  inner, outer = identity(where), identity(other)
  return inner[: len(outer)] == outer


def open_binary(where: Place) -> BinaryIO:
  """Opens for reading; buffered, seekable where the store is. Raises OSError."""
  if isinstance(where, Path):
    return where.open("rb")
  with _as_os_error(where):
    file = where.open("rb")
  return cast(BinaryIO, io.BufferedReader(_RemoteFile(file, where), _BUFFER_BYTES))


def size_of(where: Place) -> int:
  """Bytes of a file. Raises OSError."""
  with _as_os_error(where):
    return int(where.stat().st_size)


class _RemoteFile(io.RawIOBase):
  """A file of fsspec. All its errors are OSError with a number: the store's fault, no bad data."""

  def __init__(self, file: Any, where: Place):
    self._file, self._where = file, where

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return bool(self._file.seekable())

  def readinto(self, buffer: Any, /) -> int:
    with _as_os_error(self._where):
      content = self._file.read(len(buffer))
    buffer[: len(content)] = content
    return len(content)

  def seek(self, offset: int, whence: int = 0, /) -> int:
    with _as_os_error(self._where):
      return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    if not self.closed:
      with contextlib.suppress(Exception):
        self._file.close()
    super().close()


@contextlib.contextmanager
def _as_os_error(where: Place) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    if error.errno is not None:
      raise
    raise type(error)(*_numbered(error), str(where)) from error
  except Exception as error:  # each store has its own
    raise OSError(5, f"{type(error).__name__}: {error}", str(where)) from error


def _numbered(error: OSError) -> tuple[int, str]:
  """fsspec raises FileNotFoundError("path"), without a number."""
  if isinstance(error, FileNotFoundError):
    return 2, "No such file or directory"
  if isinstance(error, PermissionError):
    return 13, "Permission denied"
  return 5, str(error)


@contextlib.contextmanager
def local_copy(where: Place) -> Iterator[Path]:
  """The file itself, or a temporary copy of a remote one, for readers that need a local file."""
  if isinstance(where, Path):
    yield where
    return
  with tempfile.TemporaryDirectory(prefix="datarater.") as folder:
    path = Path(folder) / where.name
    with _as_os_error(where):
      where.fs.get_file(where.path, str(path))
    yield path


def upload(local: Path, target: UPath) -> None:
  """Puts a local file, whole: at once where the store shows only whole objects, else beside, then
  moved. Raises InputError.
  """
  fs = target.fs
  beside = target.with_name(f".{target.name}.partial")
  try:
    fs.makedirs(target.parent.path, exist_ok=True)  # of stores without folders: does nothing
    if _PUT_IS_ATOMIC & set([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
      fs.put_file(str(local), target.path)
    else:
      fs.put_file(str(local), beside.path)
      fs.mv(beside.path, target.path)
  except Exception as error:
    with contextlib.suppress(Exception):
      beside.unlink(missing_ok=True)
    raise InputError(
      f"{str(target)!r} cannot be written: {type(error).__name__}: {error}; check the place and "
      "your rights, and start the same command again"
    ) from error
