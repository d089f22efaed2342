"""Records of any kind as Parquet, whose schema nobody knows before the last record.

Rows are gathered into Arrow batches, each with the types of its own values, and wait in a temporary
file beside the output. At the end the types of a column are united as far as no value changes
(integers and floats, structs with other fields, nothing and anything); a column that cannot be
united, or that Arrow cannot hold, becomes JSON strings, and its metadata says so (`ENCODING`).
"""

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datarater.data.formats.arrow_values import ENCODING
from datarater.data.formats.json_values import to_json
from datarater.runtime.atomic import explained

OTHER_COLUMNS = "other_fields"
"""Column, JSON, of fields beyond the first `_MOST_COLUMNS`: keys that are data, not names."""

_MOST_COLUMNS = 1000
_MOST_DEPTH = 8
_MOST_LEAVES = 256
_BLOCK_ROWS = 1024
_BLOCK_BYTES = 8 << 20
_GROUP_ROWS = 1 << 14
_GROUP_BYTES = 32 << 20
_FAILURES = (pa.ArrowException, OverflowError, UnicodeEncodeError, ValueError, TypeError)
_IS_JSON = {ENCODING: b"json"}


class SpoolWriter:
  """Takes rows as dicts; `close` writes the Parquet file. Memory: a block, then a row group."""

  def __init__(self, path: Path):
    self._path, self._spool_path = path, path.with_name(f"{path.name}.spool")
    self._rows: list[dict[str, Any]] = []
    self._bytes = 0
    self._columns: dict[str, list[pa.Field]] = {}
    self._schema: pa.Schema | None = None
    self._stream: Any = None
    with explained(path):
      self._spool = self._spool_path.open("wb")

  def add(self, values: Mapping[str, Any], size: int) -> None:
    """One row; size: its bytes, about."""
    row, others = {}, {}
    for key, value in values.items():
      name = key.encode("utf-8", "backslashreplace").decode()
      known = name in self._columns or len(self._columns) < _MOST_COLUMNS
      (row if known else others)[name] = value
      if known:
        self._columns.setdefault(name, [])
    if others:
      self._columns.setdefault(OTHER_COLUMNS, [])
      row[OTHER_COLUMNS] = {**others, **_as_mapping(row.get(OTHER_COLUMNS))}
    self._rows.append(row)
    self._bytes += size
    if len(self._rows) >= _BLOCK_ROWS or self._bytes >= _BLOCK_BYTES:
      self._flush()

  def _flush(self) -> None:
    if not self._rows:
      return
    names = [name for name in self._columns if any(name in row for row in self._rows)]
    arrays, fields = [], []
    for name in names:
      values = [row.get(name) for row in self._rows]
      array = None if name == OTHER_COLUMNS else arrow_array(values)
      kind = None if array is not None else _IS_JSON
      arrays.append(json_strings(values) if array is None else array)
      fields.append(pa.field(name, arrays[-1].type, metadata=kind))
      if not any(_same(field, fields[-1]) for field in self._columns[name]):
        self._columns[name].append(fields[-1])
    schema = pa.schema(fields)
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    with explained(self._path):
      if self._stream is None or schema != self._schema:
        self._end_stream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._stream = pa.ipc.new_stream(self._spool, schema, options=options)
        self._schema = schema
      self._stream.write_batch(batch)
    self._rows, self._bytes = [], 0

  def _end_stream(self) -> None:
    if self._stream is not None:
      self._stream.close()
    self._stream = None

  def close(self) -> None:
    """Writes the file; see `discard`."""
    self._flush()
    with explained(self._path):
      self._end_stream()
      self._spool.close()
    with explained(self._path):
      schema = self._united()
      groups = _groups(_conformed(batch, schema) for batch in self._batches())
      with pq.ParquetWriter(self._path, schema, compression="zstd") as writer:
        for group in groups:
          writer.write_table(pa.Table.from_batches(group, schema=schema))
    self.discard()

  def discard(self) -> None:
    """Removes the temporary file."""
    with contextlib.suppress(Exception):
      self._spool.close()
    self._spool_path.unlink(missing_ok=True)

  def _batches(self) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(self._spool_path)) as file:
      while file.tell() < file.size():
        with pa.ipc.open_stream(file) as stream:
          yield from stream

  def _united(self) -> pa.Schema:
    """The schema of all batches. A second look finds integers that no float can hold."""
    fields = {name: _united_field(name, seen) for name, seen in self._columns.items() if seen}
    doubtful = {n for n in fields if len(self._columns[n]) > 1 and not fields[n].metadata}
    for batch in self._batches() if doubtful else ():
      for name in list(doubtful):
        if name in batch.schema.names and _cast(batch.column(name), fields[name].type) is None:
          fields[name] = _json_field(name)
          doubtful.remove(name)
    return pa.schema(list(fields.values()))


def _as_mapping(value: Any) -> Mapping[str, Any]:
  """What a document's own field of the name of `OTHER_COLUMNS` holds."""
  return {} if value is None else {OTHER_COLUMNS: value}


def _json_field(name: str) -> pa.Field:
  return pa.field(name, pa.string(), metadata=_IS_JSON)


def _same(a: pa.Field, b: pa.Field) -> bool:
  return a.equals(b, check_metadata=True)


def _united_field(name: str, seen: Sequence[pa.Field]) -> pa.Field:
  """The field that holds the values of all of these, or the one of JSON strings."""
  others = [field for field in seen if not pa.types.is_null(field.type)]
  if any(field.metadata for field in others):
    return _json_field(name)
  try:
    schemas = [pa.schema([field]) for field in seen]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0)
  except pa.ArrowException:
    return _json_field(name)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
  return pa.RecordBatch.from_arrays([_column(batch, field) for field in schema], schema=schema)


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
  if field.name not in batch.schema.names:
    return pa.nulls(batch.num_rows, field.type)
  column, was = batch.column(field.name), batch.schema.field(field.name)
  if field.metadata and not was.metadata:
    return json_strings(column.to_pylist())
  converted = _cast(column, field.type)
  assert converted is not None, f"{field.name} was looked at before"
  return converted


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
  """The same values as `kind`; None where one would change."""
  if column.type == kind:
    return column
  try:
    return column.cast(kind)
  except pa.ArrowException:
    pass
  try:
    return pa.array(column.to_pylist(), kind)
  except _FAILURES:
    return None


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
  group: list[pa.RecordBatch] = []
  for batch in batches:
    group.append(batch)
    rows, size = sum(b.num_rows for b in group), sum(b.nbytes for b in group)
    if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
      yield group
      group = []
  if group:
    yield group


def json_strings(values: Sequence[Any]) -> pa.Array:
  """Each value as JSON; None stays null."""
  return pa.array([None if v is None else to_json(v).decode() for v in values], pa.string())


def arrow_array(values: list[Any]) -> pa.Array | None:
  """The values with the type that Arrow finds; None where it finds none, or bends a value."""
  if any(_depth(value) > _MOST_DEPTH for value in values):
    return None
  try:
    array = pa.array(values)
  except _FAILURES:
    return None
  return None if _leaves(array.type) is None or _bent(values, array.type) else array


def _depth(value: Any, limit: int = _MOST_DEPTH + 1) -> int:
  if limit == 0 or not isinstance(value, dict | list):
    return 0
  children = value.values() if isinstance(value, dict) else value
  return 1 + max((_depth(child, limit - 1) for child in children), default=0)


def _leaves(kind: pa.DataType) -> int | None:
  """Columns of a type; None where Parquet holds no such type, or it has very many: keys as data."""
  if pa.types.is_struct(kind):
    children = [_leaves(kind.field(i).type) for i in range(kind.num_fields)]
    total = sum(child for child in children if child is not None)
    return None if not children or None in children or total > _MOST_LEAVES else total
  return _leaves(kind.value_type) if pa.types.is_list(kind) else 1


def _bent(values: list[Any], kind: pa.DataType) -> bool:
  """Whether Arrow took a bool for a number, or cut a time off its date."""
  there = [value for value in values if value is not None]
  if pa.types.is_struct(kind):
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return any(_bent([value.get(field.name) for value in there], field.type) for field in fields)
  if pa.types.is_list(kind):
    return _bent([child for value in there for child in value], kind.value_type)
  if pa.types.is_floating(kind):
    return any(isinstance(value, bool) for value in there)
  if pa.types.is_date(kind):
    return any(isinstance(value, datetime.datetime) for value in there)
  if pa.types.is_timestamp(kind):
    zones = {getattr(value, "tzinfo", None) is None for value in there}
    return len(zones) > 1 or any(not isinstance(value, datetime.datetime) for value in there)
  return False
