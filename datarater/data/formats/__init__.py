"""Shards of documents in and out: JSON lines (plain, gzip, zstd, xz), Parquet, ArrayRecord, text.

for shard in find_shards("corpus/*.jsonl.zst"):
  for record in read_records(shard.path):
    ...                      # a Row, or a BadRecord: what cannot be read is never fatal, never lost
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

from datarater.data.formats.array_record import read_array_record
from datarater.data.formats.lines import read_jsonl
from datarater.data.formats.parquet import read_parquet
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
from datarater.data.formats.text import read_text
from datarater.data.formats.writers import (
  KINDS,
  Writer,
  finish_folder,
  open_writer,
  output_kind,
  shard_name,
)
from datarater.errors import InputError
from datarater.runtime.places import Place, place

__all__ = [
  "KINDS",
  "MAX_RECORD_BYTES",
  "BadRecord",
  "Keys",
  "Numbering",
  "Record",
  "Row",
  "Shard",
  "Writer",
  "default_domain",
  "find_shards",
  "fingerprint",
  "finish_folder",
  "format_of",
  "id_base",
  "input_places",
  "open_writer",
  "output_kind",
  "read_records",
  "require_apart",
  "require_text_key",
  "shard_name",
]

_LOOK_AT = 100
_HAS_TEXT = ("empty text", "NUL in text", "text is not Unicode")


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
