"""Plain text: a file is one document, or, where asked, each of its paragraphs is."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator

from datarater.data.formats.records import BadRecord, Keys, Reading, Record, make_row
from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place, open_binary

_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n\s*")


def read_text(path: Place, reading: Reading) -> Iterator[Record]:
  """The document is the file's content, read at once. Its domain is left open: see
  `default_domain`.

  An empty file has no record, as an empty file of lines has none.
  """
  reading = dataclasses.replace(reading, keys=Keys(extra=reading.keys.extra))  # it has no fields
  with open_binary(path) as file:
    content = file.read()
  if reading.progress:
    reading.progress(len(content))
  pieces = _BLANK_LINES.split(content.strip()) if reading.paragraphs else [content]
  for number, piece in enumerate(pieces if content else []):
    if len(piece) > reading.max_bytes:
      yield BadRecord.too_long(number, len(piece), reading.max_bytes, piece, piece)
      continue
    try:
      values = {"text": piece.decode()}
    except UnicodeDecodeError as error:
      yield BadRecord(number, "invalid UTF-8", str(error.reason), piece, piece)
      continue
    yield make_row(number, values, reading, piece, functools.partial(dict, values), piece)


class TextWriter:
  """The file's bytes as they were. It has no place for a reason; a decision's side file has one."""

  def __init__(self, path: Place):
    self._path = path

  def write(self, record: Record, reason: str = "") -> None:
    del reason
    with atomic_file(self._path) as file:
      file.write(record.source)


@contextlib.contextmanager
def open_text(path: Place) -> Iterator[TextWriter]:
  """Writes one document as a file; without a document there is no file."""
  yield TextWriter(path)
