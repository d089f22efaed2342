"""Plain text: a file is one document, or, where asked, each of its paragraphs is."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from datarater.data.formats.records import BadRecord, Keys, Numbering, Record, make_row
from datarater.runtime.atomic import atomic_file

_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n\s*")


def read_text(
  path: Path,
  keys: Keys,
  numbering: Numbering,
  progress: Callable[[int], object] | None = None,
  paragraphs: bool = False,
) -> Iterator[Record]:
  """The document is the file's content, read at once. Its domain is left open: see
  `default_domain`.

  An empty file has no record, as an empty file of lines has none.
  """
  del keys  # plain text has no fields
  content = path.read_bytes()
  if progress:
    progress(len(content))
  pieces = _BLANK_LINES.split(content.strip()) if paragraphs else [content]
  for number, piece in enumerate(pieces if content else []):
    try:
      text = piece.decode()
    except UnicodeDecodeError as error:
      yield BadRecord(number, "invalid UTF-8", str(error.reason), piece, piece)
      continue
    yield make_row(number, {"text": text}, Keys(), numbering, piece, piece)


class TextWriter:
  """The file's bytes as they were. It has no place for a reason; a decision's side file has one."""

  def __init__(self, path: Path):
    self._path = path

  def write(self, record: Record, reason: str = "") -> None:
    del reason
    with atomic_file(self._path) as file:
      file.write(record.source)


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextWriter]:
  """Writes one document as a file; without a document there is no file."""
  yield TextWriter(path)
