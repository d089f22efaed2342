"""JSON lines, plain or compressed: decompressed in a stream, cut at newlines, a document a line."""

import contextlib
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import zstandard

from datarater.data.formats.records import (
  BadRecord,
  DamagedError,
  Reading,
  Record,
  Row,
  parse_json,
)
from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place, open_binary

Progress = Callable[[int], object]
"""Told how many more bytes of the file on disk were read."""

CHUNK = 1 << 20
_ZST_CHUNK = 1 << 16
"""Compressed bytes taken at once: all that they hold comes out at once, so memory goes by this."""

_ZST_WINDOW = 1 << 31
"""Files made with `zstd --long=31` need the largest window."""

_GZIP_LEVEL = 6
_BOM = b"\xef\xbb\xbf"


def read_jsonl(path: Place, reading: Reading) -> Iterator[Record]:
  """One record a line, rows counted from 0. Blank lines are bad records too, so counts add up."""
  for number, line in enumerate(_lines(path, reading.progress)):
    if isinstance(line, DamagedLine):
      yield BadRecord(number, line.error.reason, line.error.detail, line.raw, rest=True)
      return
    skip = len(_BOM) if number == 0 and line.startswith(_BOM) else 0
    yield parse_json(number, line, reading, skip)


class DamagedLine:
  """Where reading ended: why, and the beginning of a line that has no end."""

  def __init__(self, error: DamagedError, raw: bytes):
    self.error, self.raw = error, raw


def _lines(path: Place, progress: Progress | None) -> Iterator[bytes | DamagedLine]:
  """Lines without their newline; a line longer than a chunk is gathered and joined once."""
  gathered: list[bytes] = []
  chunks = decompressed(path, progress)
  while True:
    try:
      chunk = next(chunks, b"")
    except DamagedError as error:
      yield DamagedLine(error, b"".join(gathered))
      return
    if not chunk:
      break
    first, *others = chunk.split(b"\n")
    gathered.append(first)
    if others:
      yield b"".join(gathered)
      yield from others[:-1]
      gathered = [others[-1]]
  if last := b"".join(gathered):
    yield last


def decompressed(path: Place, progress: Progress | None = None) -> Iterator[bytes]:
  """Content in chunks, none empty. DamagedError where it is broken; OSError where the disk is."""
  with open_binary(path) as file:
    compressed = path.suffix in (".gz", ".zst", ".xz")
    # Some decompressors take a file without bytes for a whole one.
    if compressed and not cast(io.BufferedReader, file).peek(1):
      raise DamagedError(f"broken {path.suffix[1:]}", "the file has no bytes")
    if path.suffix == ".zst":
      yield from _read_zst(file, progress)
    elif path.suffix == ".gz":
      yield from _read_through(gzip.GzipFile(fileobj=file), file, path, progress)
    elif path.suffix == ".xz":
      yield from _read_through(lzma.LZMAFile(file), file, path, progress)  # noqa: SIM115
    else:
      yield from _read_through(file, file, path, progress)


def _read_through(
  stream: Any, file: BinaryIO, path: Place, progress: Progress | None
) -> Iterator[bytes]:
  """read1 makes one read of what lies below, so nothing is lost that came before damage."""
  position = 0
  while True:
    try:
      chunk = stream.read1(CHUNK)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
      raise DamagedError(f"broken {path.suffix[1:]}", error) from error
    if progress:
      progress(file.tell() - position)
      position = file.tell()
    if not chunk:
      return
    yield chunk


def _read_zst(file: BinaryIO, progress: Progress | None) -> Iterator[bytes]:
  """Frame after frame. `zstandard`'s own stream reader takes a truncated file for a whole one."""
  decompressor = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW)
  frame = None
  while compressed := file.read(_ZST_CHUNK):
    if progress:
      progress(len(compressed))
    while compressed:
      frame = frame or decompressor.decompressobj()
      try:
        chunk = frame.decompress(compressed)
      except zstandard.ZstdError as error:
        raise DamagedError("broken zst", error) from error
      compressed = b""
      if frame.eof:
        compressed, frame = frame.unused_data, None
      if chunk:
        yield chunk
  if frame is not None:
    raise DamagedError("broken zst", "file ends within a frame")


class JsonlWriter:
  """Lines as they were; with `reasons`, each with a last field `rejected_reason` put in."""

  def __init__(self, file: Any, reasons: bool):
    self._file, self._reasons = file, reasons

  def write(self, record: Record, reason: str = "") -> None:
    if isinstance(record, BadRecord):
      values = record.as_json()
      values["rejected_reason"] = values.pop("reason")
      line = json.dumps(values, ensure_ascii=False).encode()
    else:
      line = _with_reason(record, reason) if self._reasons else record.source
    self._file.write(line + b"\n")


def _with_reason(row: Row, reason: str) -> bytes:
  body = row.source.rstrip(b" \t\r\n").removesuffix(b"}")
  return body + b', "rejected_reason": ' + json.dumps(reason, ensure_ascii=False).encode() + b"}"


@contextlib.contextmanager
def open_jsonl(path: Place, reasons: bool) -> Iterator[JsonlWriter]:
  """Writes JSON lines, compressed by `path`'s extension; the same lines give the same bytes."""
  with open_stream(path) as stream:
    yield JsonlWriter(stream, reasons)


@contextlib.contextmanager
def open_stream(path: Place) -> Iterator[Any]:
  """A stream of bytes, compressed by `path`'s extension, into a file that appears at the end."""
  with atomic_file(path) as file, _compressing(file, path.suffix) as stream:
    yield stream


def _compressing(file: BinaryIO, suffix: str) -> Any:
  if suffix == ".gz":  # no name and no time in the header: the bytes depend on the content alone
    return gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)
  if suffix == ".zst":
    return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
  if suffix == ".xz":
    return lzma.LZMAFile(file, "wb")
  return contextlib.nullcontext(file)
