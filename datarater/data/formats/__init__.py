"""Shards of documents in and out: JSON lines (plain, gzip, zstd, xz), Parquet, plain text.

for shard in find_shards("corpus/*.jsonl.zst"):
  for record in read_records(shard.path):
    ...                      # a Row, or a BadRecord: what cannot be read is never fatal, never lost
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from datarater.config import InputError
from datarater.data.formats.lines import open_jsonl, read_jsonl
from datarater.data.formats.parquet import open_parquet, read_parquet
from datarater.data.formats.records import BadRecord, Keys, Numbering, Record, Row, id_base
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

__all__ = [
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
  path: Path,
  text_key: str = "text",
  id_key: str = "id",
  domain_key: str = "domain",
  *,
  extra_keys: tuple[str, ...] = (),
  numbering: Numbering | None = None,
  paragraphs: bool = False,
  whole: bool = True,
  limit: int | None = None,
  progress: Callable[[int], object] | None = None,
) -> Iterator[Record]:
  """Streams a shard: a `Row` for each document, a `BadRecord` for whatever cannot be one.

  text_key, id_key, domain_key: fields; dots lead into nested objects. extra_keys: further ones
  wanted. numbering: shared by shards whose ids must differ; by default ids are unique within the
  shard. paragraphs: plain text is cut at blank lines. whole: rows can be written again (else
  Parquet reads only the columns named here). limit: most records. progress: called with bytes of
  the file read since. Raises InputError where the file cannot be read for reasons outside it, and
  for an unknown extension.
  """
  keys = Keys(text_key, id_key, domain_key, extra_keys)
  numbering = Numbering() if numbering is None else numbering
  path, kind = Path(path), format_of(Path(path))
  if kind == "parquet":
    records = read_parquet(path, keys, numbering, progress, whole)
  elif kind == "text":
    records = read_text(path, keys, numbering, progress, paragraphs)
  else:
    records = read_jsonl(path, keys, numbering, progress)
  try:
    yield from itertools.islice(records, limit)
  except OSError as error:
    raise unreadable(path, error) from error


def open_writer(path: Path, like: Path, reasons: bool = False) -> AbstractContextManager[Any]:
  """A `Writer` to `path`, in the format of the shard `like`; the file appears when the context ends
  well.

  reasons: each record gets a last field or column `rejected_reason`, and bad records are taken too.
  """
  kind = format_of(Path(like))
  if kind == "parquet":
    return open_parquet(Path(path), Path(like), reasons)
  if kind == "text":
    return open_text(Path(path))
  return open_jsonl(Path(path), reasons)


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
