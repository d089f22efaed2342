"""Arrow values as Python values: one that Python cannot hold costs itself, not its batch."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ENCODING = b"datarater.encoding"
"""Metadata of a column: `json` where its values are of several types, as JSON strings."""


class LazyBatch:
  """A record batch, as rows of Python values once somebody asks for one."""

  def __init__(self, batch: pa.RecordBatch):
    self.batch = batch
    self._rows: list[dict[str, Any]] | None = None

  def row(self, index: int) -> dict[str, Any]:
    """All columns of a row; a repeated column's name gets a number."""
    if self._rows is None:
      columns = [python_values(self.batch, i) for i in range(self.batch.num_columns)]
      names = _distinct(self.batch.schema.names)
      self._rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return dict(self._rows[index])


def _distinct(names: list[str]) -> list[str]:
  seen: dict[str, int] = {}
  distinct = []
  for name in names:
    number = seen[name] = seen.get(name, 0) + 1
    distinct.append(name if number == 1 else f"{name}_{number}")
  return distinct


def python_values(batch: pa.RecordBatch, index: int) -> list[Any]:
  """A column's values; strings that are no UTF-8 are bytes, JSON columns are what they encode."""
  column, field = batch.column(index), batch.schema.field(index)
  try:
    values = column.to_pylist()
  except (UnicodeDecodeError, ValueError, OverflowError):
    values = [_value(scalar) for scalar in column]
  if (field.metadata or {}).get(ENCODING) == b"json":
    values = [_decoded(value) for value in values]
  return values


def _decoded(value: Any) -> Any:
  try:
    return None if value is None else json.loads(value)
  except (ValueError, TypeError, RecursionError):
    return value  # someone wrote other strings into the column


def _value(scalar: Any) -> Any:
  """One value, where `as_py` of all of them fails. Nanoseconds become ISO 8601, bad UTF-8 bytes."""
  if not scalar.is_valid:
    return None
  if isinstance(scalar, pa.StructScalar):
    return {name: _value(child) for name, child in scalar.items()}
  if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
    return [_value(child) for child in scalar.values]
  if isinstance(scalar, pa.DictionaryScalar):
    return _value(scalar.value)
  try:
    return scalar.as_py()
  except UnicodeDecodeError as error:
    return bytes(error.object)
  except (ValueError, OverflowError):  # finer than microseconds, or a year beyond 9999
    return pc.cast(scalar, pa.string()).as_py().replace(" ", "T")
