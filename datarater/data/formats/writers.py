"""Writing shards: in the input's own kind, where nothing is touched, or in another."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Any, Protocol

from datarater.data.formats import prepared
from datarater.data.formats.array_record import RecordWriter, open_records
from datarater.data.formats.json_values import to_json
from datarater.data.formats.lines import open_jsonl, open_stream
from datarater.data.formats.parquet import open_parquet
from datarater.data.formats.records import BadRecord, Record
from datarater.data.formats.shards import TFDS_NAME, Shard, format_of, stem
from datarater.data.formats.spool import SpoolWriter
from datarater.data.formats.text import open_text
from datarater.errors import require
from datarater.runtime.atomic import atomic_path
from datarater.runtime.places import Place, place

KINDS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "array_record")
"""What a corpus can be written as."""

REASON = "rejected_reason"


class Writer(Protocol):
  """Writes records read from a shard. reason: why one is rejected."""

  def write(self, record: Record, reason: str = "") -> None: ...


def open_writer(
  path: str | Place, like: str | Place, reasons: bool = False, kind: str | None = None
) -> AbstractContextManager[Any]:
  """A `Writer` to `path` of records read (`whole=True`) from the shard `like`; the file appears
  when the context ends well.

  kind: one of `KINDS`, as `output_kind` gives it; None: as `like`. Where the kind is that of `like`
    lines, records and Arrow values are written as they were read. Else every field is carried
    through: JSON by the rules of `json_values`; Parquet as `spool` says; ArrayRecord as examples
    with the features `text`, `id`, `domain` and `fields` (JSON of all others). The id and the
    domain there are the row's, so give a row with its final ones (`dataclasses.replace`).
  reasons: each record gets a last field or column `rejected_reason`, and bad records are taken too.
    ArrayRecord then holds JSON objects. Plain text has no place for a reason.
  """
  path, like = place(path), place(like)
  before = format_of(like)
  after = before if kind is None else kind.split(".")[0]
  if before == after == "jsonl":
    return open_jsonl(path, reasons)
  if before == after == "parquet":
    return open_parquet(path, like, reasons)
  if after == "text":
    return open_text(path)
  with_id = before == "text"
  if after == "jsonl":
    return _open_json(path, reasons, with_id)
  if after == "parquet":
    return _open_spool(path, reasons, with_id)
  untouched = before == after and (kind is None or prepared.has_standard_features(like.parent))
  return _open_array_record(path, like, reasons, with_id, untouched)


def fields_of(record: Record, reason: str | None, with_id: bool) -> dict[str, Any]:
  """All fields of a record, and, if `reason` is not None, why it is rejected. A bad record has row,
  detail and its bytes. with_id: of plain text, whose id is no field.
  """
  if isinstance(record, BadRecord):
    values = record.as_json()
    return {**values, REASON: values.pop("reason")}
  values = record.values()
  if with_id:
    values["id"] = record.id
  return values if reason is None else {**_less(values, REASON), REASON: reason}


def _less(values: dict[str, Any], name: str) -> dict[str, Any]:
  return {key: value for key, value in values.items() if key != name}


class JsonWriter:
  """A line of JSON for each record."""

  def __init__(self, file: Any, reasons: bool, with_id: bool):
    self._file, self._reasons, self._with_id = file, reasons, with_id

  def write(self, record: Record, reason: str = "") -> None:
    values = fields_of(record, reason if self._reasons else None, self._with_id)
    self._file.write(to_json(values) + b"\n")


@contextlib.contextmanager
def _open_json(path: Place, reasons: bool, with_id: bool) -> Iterator[JsonWriter]:
  with open_stream(path) as stream:
    yield JsonWriter(stream, reasons, with_id)


class ParquetSpooler:
  """A row for each record; of a bad one `rejected_row`, `rejected_detail`, `rejected_raw`."""

  def __init__(self, spool: SpoolWriter, reasons: bool, with_id: bool):
    self._spool, self._reasons, self._with_id = spool, reasons, with_id

  def write(self, record: Record, reason: str = "") -> None:
    values = fields_of(record, reason if self._reasons else None, self._with_id)
    if isinstance(record, BadRecord):  # its names must not meet those of the documents' fields
      names = [key if key == REASON else f"rejected_{key}" for key in values]
      values, size = dict(zip(names, values.values(), strict=True)), len(record.raw)
    else:
      size = len(record.text)
    if self._reasons:
      values["rejected_row"] = record.number
    self._spool.add(values, size)


@contextlib.contextmanager
def _open_spool(path: Place, reasons: bool, with_id: bool) -> Iterator[ParquetSpooler]:
  with atomic_path(path) as partial:
    spool = SpoolWriter(partial)
    try:
      yield ParquetSpooler(spool, reasons, with_id)
      spool.close()
    finally:
      spool.discard()


class ArrayRecordWriter:
  """Records as they were, examples of the standard features, or, with reasons, JSON objects."""

  def __init__(
    self, records: RecordWriter, like: Place, reasons: bool, with_id: bool, untouched: bool
  ):
    self._records, self._reasons, self._with_id = records, reasons, with_id
    self._encode = None if reasons or untouched else prepared.Encoder(like)

  def write(self, record: Record, reason: str = "") -> None:
    if self._reasons:
      content = to_json(fields_of(record, reason, self._with_id))
    elif self._encode is None:
      content = record.source
    else:
      assert not isinstance(record, BadRecord)
      content = self._encode(record)
    self._records.append(content)


@contextlib.contextmanager
def _open_array_record(
  path: Place, like: Place, reasons: bool, with_id: bool, untouched: bool
) -> Iterator[ArrayRecordWriter]:
  with open_records(path) as records:
    yield ArrayRecordWriter(records, like, reasons, with_id, untouched)


def output_kind(shards: Sequence[Shard], kind: str | None = None) -> str | None:
  """What to give `shard_name`, `open_writer` and `finish_folder` as the kind of a whole corpus.

  kind: one of `KINDS`, or None: as the input. ArrayRecord of one set of TFDS features stays as it
  is in both cases. Raises InputError where the kind is unknown, where shards of a prepared dataset
  lie beside others and no kind is given, and where two shards would get one name.
  """
  require(
    kind is None or kind in KINDS,
    f"output kind is {kind!r}; give one of {', '.join(KINDS)}, or none",
  )
  datasets = [shard for shard in shards if prepared.is_prepared(shard)]
  one = bool(datasets) and len(datasets) == len(shards) and prepared.same_features(shards)
  if kind == "array_record" and one:
    kind = None
  require(
    kind is not None or not datasets or one,
    "inputs mix a prepared dataset with other files, or datasets with other features; name the "
    f"kind of the output: one of {', '.join(KINDS)}",
  )
  names: dict[str, str] = {}
  for index, shard in enumerate(shards):
    other = names.setdefault(shard_name(shard, kind, index, len(shards)), shard.name)
    require(
      other == shard.name,
      f"inputs {other!r} and {shard.name!r} would get one name as {kind}; rename one",
    )
  return kind


def shard_name(shard: Shard, kind: str | None, index: int, count: int) -> str:
  """The shard's path below an output folder: as the input's, the extension that of the kind.

  index, count: of the shards, by which TFDS calls the files of a dataset. See `output_kind`.
  """
  if kind == "array_record" or (kind is None and prepared.is_prepared(shard)):
    return prepared.file_name(index, count)
  if kind is None or shard.name.endswith(f".{kind}"):
    return shard.name
  path = PurePosixPath(shard.name)
  base = path.name.replace(".array_record-", "-") if TFDS_NAME.fullmatch(path.name) else stem(path)
  return path.with_name(f"{base}.{kind}").as_posix()


def finish_folder(
  folder: str | Place,
  kind: str | None,
  shards: Sequence[Shard],
  counts: Sequence[int] | None = None,
) -> None:
  """Makes a folder of kept ArrayRecord files a dataset of TFDS, once all are there; of other kinds
  nothing is left to do.

  kind: as `output_kind` gave it. shards: the input's, in the order of their index. counts:
  documents kept of each, which are else counted by reading.
  """
  if not shards or not (
    kind == "array_record" or (kind is None and prepared.is_prepared(shards[0]))
  ):
    return
  names = [shard_name(shard, kind, i, len(shards)) for i, shard in enumerate(shards)]
  like = shards[0].path.parent if kind is None else None
  prepared.write_metadata(place(folder), like, names, counts)
