"""Shards of documents in and out: JSON lines (plain, gzip, zstd, xz), Parquet, ArrayRecord, text.

for shard in find_shards("corpus/*.jsonl.zst"):
  for record in read_records(shard.path):
    ...                      # a Row, or a BadRecord: what cannot be read is never fatal, never lost
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from datarater.config import InputError
from datarater.data.formats.array_record import read_array_record
from datarater.data.formats.lines import open_jsonl, read_jsonl
from datarater.data.formats.parquet import open_parquet, read_parquet
from datarater.data.formats.records import (
  MAX_RECORD_BYTES,
  BadRecord,
  Keys,
  Numbering,
  Reading,
  Record,
  Row,
  id_base,
)
from datarater.data.formats.shards import (
  Shard,
  default_domain,
  find_shards,
  fingerprint,
  format_of,
  input_places,
  require_apart,
  unreadable,
)
from datarater.data.formats.text import open_text, read_text
from datarater.runtime.places import Place, place

__all__ = [
  "MAX_RECORD_BYTES",
  "BadRecord",
  "Keys",
  "Numbering",
  "Record",
  "Row",
  "Shard",
  "default_domain",
  "find_shards",
  "fingerprint",
  "format_of",
  "id_base",
  "input_places",
  "open_writer",
  "read_records",
  "require_apart",
  "require_text_key",
]

_LOOK_AT = 100
_HAS_TEXT = ("empty text", "NUL in text", "text is not Unicode")


class Writer(Protocol):
  """Writes records read from a shard of the same format; reason: why one is rejected."""

  def write(self, record: Record, reason: str = "") -> None: ...


def read_records(
  path: str | Place,
  text_key: str = "text",
  id_key: str = "id",
  domain_key: str = "domain",
  *,
  extra_keys: tuple[str, ...] = (),
  numbering: Numbering | None = None,
  paragraphs: bool = False,
  whole: bool = True,
  limit: int | None = None,
  max_record_bytes: int = MAX_RECORD_BYTES,
  progress: Callable[[int], object] | None = None,
) -> Iterator[Record]:
  """Streams a shard: a `Row` for each document, a `BadRecord` for whatever cannot be one.

  path: a local file, or a URL. text_key, id_key, domain_key: fields; dots lead into nested objects.
    extra_keys: further ones wanted.
  numbering: makes ids unique among all that is read with it; without one, ids may repeat: a
    document has the id that its field gives, or `<hash of its text>-0`, and nothing is remembered.
  paragraphs: plain text is cut at blank lines. whole: rows can be written again (else Parquet reads
    only the columns named here). limit: most records. max_record_bytes: a longer line, record or
    text is a BadRecord. progress: called with bytes of the file read since.
  Raises InputError where the file cannot be read for reasons outside it, and for an unknown
  extension.
  """
  keys = Keys(text_key, id_key, domain_key, extra_keys)
  reading = Reading(keys, numbering, max_record_bytes, progress, whole, paragraphs)
  path = place(path)
  records = _READERS[format_of(path)](path, reading)
  try:
    yield from itertools.islice(records, limit)
  except OSError as error:
    raise unreadable(path, error) from error


_READERS: dict[str, Callable[[Place, Reading], Iterator[Record]]] = {
  "jsonl": read_jsonl,
  "parquet": read_parquet,
  "array_record": read_array_record,
  "text": read_text,
}


def open_writer(path: Place, like: Place, reasons: bool = False) -> AbstractContextManager[Any]:
  """A `Writer` to `path`, in the format of the shard `like`; the file appears when the context ends
  well.

  reasons: each record gets a last field or column `rejected_reason`, and bad records are taken too.
  """
  kind = format_of(place(like))
  if kind == "parquet":
    return open_parquet(place(path), place(like), reasons)
  if kind == "text":
    return open_text(place(path))
  return open_jsonl(place(path), reasons)


def require_text_key(shards: Sequence[Shard], text_key: str) -> None:
  """Raises InputError where none of the first readable records of the corpus has the text field.

  A record without it is set aside; a corpus without it is a wrong key, and must not cost a run.
  """
  fields, looked = "", 0
  for shard in shards:
    for record in read_records(shard.path, text_key, "", "", limit=_LOOK_AT):
      if isinstance(record, Row) or record.reason in _HAS_TEXT:
        return
      if record.reason in ("text missing", "text is not a string"):
        fields, looked = record.detail or fields, looked + 1
      if looked >= _LOOK_AT:
        break
    if looked >= _LOOK_AT:
      break
  if looked:
    raise InputError(
      f"text key {text_key!r} is a string in none of the first {looked} records from "
      f"{shards[0].name!r} on ({fields}); name the field that holds the text"
    )
