"""Filters: conditions on columns of the side files, given as text, never run as code.

    signal_words >= 50        words >= 50        domain == code        tokens < 4096

A condition is COLUMN OPERATOR VALUE. The prefix `signal_` may be left out, strings need no quotes.
What is null or NaN does not pass, whatever the operator.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datarater.curation.ratings import SIGNAL
from datarater.errors import InputError, require

_CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|==|!=|<|>)\s*([^\s=<>!].*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)
_COMPARE = {
  "<": "less",
  "<=": "less_equal",
  ">": "greater",
  ">=": "greater_equal",
  "==": "equal",
  "!=": "not_equal",
}


@dataclasses.dataclass(frozen=True)
class Filter:
  """A condition that documents must meet. value: as it was written."""

  column: str
  operator: str
  value: str

  def __str__(self) -> str:
    return f"{self.column.removeprefix(SIGNAL)} {self.operator} {self.value}"

  @property
  def reason(self) -> str:
    """What is said of a document that does not pass."""
    return f"filtered: {self}"

  def resolved(self, schema: pa.Schema) -> "Filter":
    """The filter with the column's own name; InputError for one that cannot be compared so."""
    names = (self.column, SIGNAL + self.column)
    found = next((name for name in names if name in schema.names), None)
    if found is None:
      known = ", ".join(name for name in schema.names if _comparable(schema.field(name).type))
      signals = any(name.startswith(SIGNAL) for name in schema.names)
      raise InputError(
        f"filter {str(self)!r} asks for column {self.column!r}; there are: {known}"
        + ("" if signals else "; for heuristics of the text, score with --signals")
      )
    _constant(self, schema.field(found).type)
    return dataclasses.replace(self, column=found)

  def passes(self, table: pa.Table) -> np.ndarray:
    """bool[N] of the table's rows; the filter is resolved for its schema."""
    column = table[self.column]
    if pa.types.is_dictionary(column.type):
      column = column.cast(column.type.value_type)
    constant = _constant(self, column.type)
    if pa.types.is_integer(column.type) and pa.types.is_floating(constant.type):
      column = column.cast(constant.type)
    found = pc.call_function(_COMPARE[self.operator], [column, constant])
    mask = pc.fill_null(found, False).to_numpy()
    if pa.types.is_floating(column.type):  # NaN is unequal to everything
      mask &= ~np.isnan(column.to_numpy())
    return mask


def parse_filters(conditions: Sequence[str], schema: pa.Schema) -> list[Filter]:
  """Filters for side files of this schema; InputError names what is wrong with one."""
  return [parse_filter(condition).resolved(schema) for condition in conditions]


def parse_filter(condition: str) -> Filter:
  """COLUMN OPERATOR VALUE as its parts, or InputError."""
  match = _CONDITION.fullmatch(condition)
  if match is None:
    raise InputError(
      f"filter {condition!r} is no condition; give COLUMN OPERATOR VALUE with one of "
      f"{' '.join(_COMPARE)}, such as 'words >= 50'"
    )
  return Filter(*match.groups())


def _constant(condition: Filter, kind: pa.DataType) -> pa.Scalar:
  """The value in the column's type: comparisons are in the precision that is stored."""
  kind = kind.value_type if pa.types.is_dictionary(kind) else kind
  require(
    _comparable(kind),
    f"filter {str(condition)!r}: column {condition.column!r} holds {kind}; "
    "filter by numbers or strings",
  )
  if _is_string(kind):
    quoted = _QUOTED.fullmatch(condition.value)
    return pa.scalar(quoted.group(2) if quoted else condition.value, kind)
  require(
    _NUMBER.fullmatch(condition.value) is not None,
    f"filter {str(condition)!r}: column {condition.column!r} holds numbers, "
    f"{condition.value!r} is none; give a number",
  )
  number = float(condition.value)
  if pa.types.is_floating(kind):
    return pa.scalar(number, kind)
  return pa.scalar(int(number), pa.int64()) if number == int(number) else pa.scalar(number)


def _is_string(kind: pa.DataType) -> bool:
  return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _comparable(kind: pa.DataType) -> bool:
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return _is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
