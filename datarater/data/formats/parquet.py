"""Parquet: read batch by batch; rows are written again as Arrow values: no type is bent."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datarater.data.formats.records import BadRecord, Keys, Numbering, Record, make_row
from datarater.runtime.atomic import atomic_path, explained

BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20
_GROUP_ROWS = 4096
"""Rows of a group written; also what a writer holds in memory."""

REASON, ROW = "rejected_reason", "rejected_row"


def read_parquet(
  path: Path,
  keys: Keys,
  numbering: Numbering,
  progress: Callable[[int], object] | None = None,
  whole: bool = True,
) -> Iterator[Record]:
  """One record a row. whole: every column, which writing rows again needs; else those of `keys`."""
  number = 0
  size, reported = path.stat().st_size, 0
  with path.open("rb"):
    pass  # a missing or locked file is the user's error, not a broken shard
  try:
    for batch, share in _batches(path, keys, whole):
      columns = _columns(batch, keys)
      for index in range(batch.num_rows):
        yield _record(number, columns, index, keys, numbering, (batch, index))
        number += 1
      if progress:
        progress(int(share * size) - reported)
        reported = int(share * size)
  except (pa.ArrowException, OSError) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise
    yield BadRecord(number, "broken parquet", str(error), rest=True)


def _batches(path: Path, keys: Keys, whole: bool) -> Iterator[tuple[pa.RecordBatch, float]]:
  """(batch, share of the file's rows up to its end)."""
  # Without these two, pyarrow holds the compressed file, or whole row groups of it, in memory.
  parquet = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
  names = parquet.schema_arrow.names
  wanted = {keys.text, keys.id, keys.domain, *keys.extra}
  roots = {key if key in names else key.split(".")[0] for key in wanted}
  columns = None if whole else [name for name in names if name in roots]
  total = max(1, parquet.metadata.num_rows)
  seen = 0
  with parquet:
    for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
      seen += batch.num_rows
      yield batch, seen / total


def _columns(batch: pa.RecordBatch, keys: Keys) -> dict[str, list[Any]]:
  """Python values of the columns that the keys lead into."""
  wanted = (keys.text, keys.id, keys.domain, *keys.extra)
  columns = {}
  for name in {key if key in batch.schema.names else key.split(".")[0] for key in wanted if key}:
    if name in batch.schema.names:
      columns[name] = _values(batch.column(batch.schema.names.index(name)))
  return columns


def _values(array: pa.Array) -> list[Any]:
  try:
    return array.to_pylist()
  except (
    UnicodeDecodeError
  ):  # parquet does not check that strings are UTF-8: one bad value, not all
    return [_value(scalar) for scalar in array]


def _value(scalar: pa.Scalar) -> Any:
  try:
    return scalar.as_py()
  except UnicodeDecodeError as error:
    return error


def _record(
  number: int,
  columns: dict[str, list[Any]],
  index: int,
  keys: Keys,
  numbering: Numbering,
  source: tuple[pa.RecordBatch, int],
) -> Record:
  values = {name: column[index] for name, column in columns.items()}
  for name, value in values.items():
    if isinstance(value, UnicodeDecodeError):
      return BadRecord(number, "invalid UTF-8", f"column {name}", bytes(value.object), source)
  raw = repr(values).encode("utf-8", "replace")
  return make_row(number, values, keys, numbering, source, raw, source[0].schema.names)


class ParquetWriter:
  """Rows of one source file, by its schema; with `reasons`, two columns more say row and reason."""

  def __init__(self, path: Path, like: Path, reasons: bool):
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


def _schema_of(path: Path) -> tuple[pa.Schema, str]:
  """Arrow schema and codec; those of a file without columns where it cannot be read at all."""
  try:
    with pq.ParquetFile(path) as parquet:
      metadata = parquet.metadata
      has_data = metadata.num_row_groups > 0 and metadata.num_columns > 0
      codec = metadata.row_group(0).column(0).compression if has_data else "SNAPPY"
      return parquet.schema_arrow, "none" if codec == "UNCOMPRESSED" else codec.lower()
  except (pa.ArrowException, OSError):
    return pa.schema([]), "snappy"


@contextlib.contextmanager
def open_parquet(path: Path, like: Path, reasons: bool) -> Iterator[ParquetWriter]:
  """Writes rows read from `like` (`whole=True`), atomically."""
  with atomic_path(path) as partial:
    writer = ParquetWriter(partial, like, reasons)
    yield writer
    writer.close()
