"""Parquet: read batch by batch; rows are written again as Arrow values: no type is bent."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from datarater.data.formats.arrow_values import LazyBatch, python_values
from datarater.data.formats.json_values import to_json
from datarater.data.formats.records import BadRecord, Keys, Reading, Record, make_row
from datarater.runtime.atomic import atomic_path, explained
from datarater.runtime.places import Place, open_binary, size_of

BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20
_GROUP_ROWS = 4096
"""Rows of a group written; also what a writer holds in memory."""

REASON, ROW = "rejected_reason", "rejected_row"


def read_parquet(path: Place, reading: Reading) -> Iterator[Record]:
  """One record a row. `reading.whole`: every column, which writing rows again needs; else those of
  the keys.
  """
  number = 0
  with open_binary(path) as file:  # a missing file is the user's error, not a broken shard
    size, reported = size_of(path), 0
    try:
      for batch, share in _batches(path if isinstance(path, Path) else file, reading):
        columns = _columns(batch.batch, reading.keys)
        for index in range(batch.batch.num_rows):
          yield _record(number, columns, index, reading, batch)
          number += 1
        if reading.progress:
          reading.progress(int(share * size) - reported)
          reported = int(share * size)
      if reading.progress:
        reading.progress(size - reported)
    except (pa.ArrowException, OSError) as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise
      yield BadRecord(number, "broken parquet", str(error), rest=True)


def _batches(file: Path | BinaryIO, reading: Reading) -> Iterator[tuple[LazyBatch, float]]:
  """(batch, share of the file's rows up to its end)."""
  # Without these two, pyarrow holds the compressed file, or whole row groups of it, in memory.
  parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
  keys, names = reading.keys, parquet.schema_arrow.names
  wanted = {keys.text, keys.id, keys.domain, *keys.extra}
  roots = {key if key in names else key.split(".")[0] for key in wanted}
  columns = None if reading.whole else [name for name in names if name in roots]
  total = max(1, parquet.metadata.num_rows)
  seen = 0
  with parquet:
    for batch in parquet.iter_batches(_batch_rows(parquet.metadata), columns=columns):
      seen += batch.num_rows
      yield LazyBatch(batch), seen / total


def _batch_rows(metadata: pq.FileMetaData) -> int:
  """Rows that are some megabytes, so that long documents do not come by the hundred."""
  groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
  widest = max((g.total_byte_size / g.num_rows for g in groups if g.num_rows), default=0)
  return int(min(BATCH_ROWS, max(1, _BATCH_BYTES / max(widest, 1))))


def _columns(batch: pa.RecordBatch, keys: Keys) -> dict[str, list[Any]]:
  """Python values of the columns that the keys lead into."""
  wanted = (keys.text, keys.id, keys.domain, *keys.extra)
  columns = {}
  for name in {key if key in batch.schema.names else key.split(".")[0] for key in wanted if key}:
    if name in batch.schema.names:
      columns[name] = python_values(batch, batch.schema.names.index(name))
  return columns


def _record(
  number: int, columns: dict[str, list[Any]], index: int, reading: Reading, batch: LazyBatch
) -> Record:
  values = {name: column[index] for name, column in columns.items()}
  source, load = (batch.batch, index), functools.partial(batch.row, index)
  bad = next((name for name, value in values.items() if _not_utf8(batch.batch, name, value)), None)
  if bad is not None:
    return BadRecord(number, "invalid UTF-8", f"column {bad}", to_json(load()), source)
  return make_row(
    number, values, reading, source, load, lambda: to_json(load()), batch.batch.schema.names
  )


def _not_utf8(batch: pa.RecordBatch, name: str, value: Any) -> bool:
  """A string column gives bytes where `python_values` could not decode them."""
  if not isinstance(value, bytes):
    return False
  kind = batch.schema.field(batch.schema.names.index(name)).type
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


class ParquetWriter:
  """Rows of one source file, by its schema; with `reasons`, two columns more say row and reason."""

  def __init__(self, path: Path, like: Place, reasons: bool):
    schema, self._compression = _schema_of(like)
    self._reasons, self._path = reasons, path
    self._columns = list(range(len(schema)))
    if (
      reasons
    ):  # readers that trust the metadata (pandas, datasets) would trip over the new columns
      fields = [field.with_nullable(True) for field in schema if field.name not in (REASON, ROW)]
      self._columns = [i for i, name in enumerate(schema.names) if name not in (REASON, ROW)]
      schema = pa.schema([*fields, (ROW, pa.int64()), (REASON, pa.string())])
    self._schema = schema
    self._batch: pa.RecordBatch | None = None
    self._taken: list[tuple[int, int, str]] = []
    self._pending: list[pa.RecordBatch] = []
    self._writer: pq.ParquetWriter | None = None

  def write(self, record: Record, reason: str = "") -> None:
    reason = record.reason if isinstance(record, BadRecord) else reason
    if record.source is None:  # nothing of it was read: a row that says so
      self._flush_batch()
      self._append(self._marker(record, reason))
      return
    batch, index = record.source
    if batch is not self._batch:
      self._flush_batch()
      self._batch = batch
    self._taken.append((index, record.number, reason))

  def close(self) -> None:
    self._flush_batch()
    self._flush_group()
    with explained(self._path):
      self._open().close()

  def _marker(self, record: Record, reason: str) -> pa.RecordBatch:
    nothing = [pa.nulls(1, field.type) for field in self._schema]
    columns = {REASON: pa.array([reason]), ROW: pa.array([record.number], pa.int64())}
    arrays = [columns.get(f.name, n) for f, n in zip(self._schema, nothing, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

  def _flush_batch(self) -> None:
    if self._batch is not None and self._taken:
      indices, rows, reasons = zip(*self._taken, strict=True)
      taken = self._batch.take(pa.array(indices, pa.int64()))
      arrays = [taken.column(i) for i in self._columns]  # by place: names may repeat
      if self._reasons:
        arrays += [pa.array(rows, pa.int64()), pa.array(reasons, pa.string())]
      self._append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
    self._batch, self._taken = None, []

  def _append(self, batch: pa.RecordBatch) -> None:
    self._pending.append(batch)
    if sum(b.num_rows for b in self._pending) >= _GROUP_ROWS:
      self._flush_group()

  def _flush_group(self) -> None:
    if self._pending:
      with explained(self._path):
        self._open().write_table(pa.Table.from_batches(self._pending, schema=self._schema))
    self._pending = []

  def _open(self) -> pq.ParquetWriter:
    if self._writer is None:
      with explained(self._path):
        self._writer = pq.ParquetWriter(self._path, self._schema, compression=self._compression)
    return self._writer


def _schema_of(path: Place) -> tuple[pa.Schema, str]:
  """Arrow schema and codec; those of a file without columns where it cannot be read at all."""
  try:
    with open_binary(path) as file, pq.ParquetFile(file) as parquet:
      metadata = parquet.metadata
      has_data = metadata.num_row_groups > 0 and metadata.num_columns > 0
      codec = metadata.row_group(0).column(0).compression if has_data else "SNAPPY"
      return parquet.schema_arrow, "none" if codec == "UNCOMPRESSED" else codec.lower()
  except (pa.ArrowException, OSError):
    return pa.schema([]), "snappy"


@contextlib.contextmanager
def open_parquet(path: Place, like: Place, reasons: bool) -> Iterator[ParquetWriter]:
  """Writes rows read from `like` (`whole=True`), atomically."""
  with atomic_path(path) as partial:
    writer = ParquetWriter(partial, like, reasons)
    yield writer
    writer.close()
