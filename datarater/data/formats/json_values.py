"""Python values as valid JSON, whatever they came from.

Dates and times become ISO 8601, durations seconds, decimals strings. Bytes that are UTF-8 become
strings, others `{"base64": "..."}`. Numbers that are not finite, which JSON cannot spell, become
null; half of a surrogate pair stays escaped.
"""

import base64
import datetime
import decimal
import json
import math
from collections.abc import Mapping
from typing import Any

BASE64 = "base64"
"""The one key of the object that stands for bytes which are no text."""

_PLAIN = (str, int, bool, type(None))


def to_json(values: Any) -> bytes:
  """One line of JSON in UTF-8, keys in the order given."""
  # The encoder converts what it does not know by itself; only NaN and odd keys need the long way.
  try:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=jsonable)
  except (ValueError, TypeError):
    text = json.dumps(jsonable(values), ensure_ascii=False, allow_nan=False)
  try:
    return text.encode()
  except UnicodeEncodeError:
    return json.dumps(jsonable(values), allow_nan=False).encode()


def jsonable(value: Any) -> Any:
  """The value as dict, list, str, int, finite float, bool or None."""
  if isinstance(value, _PLAIN):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {_key(key): jsonable(child) for key, child in value.items()}
  if isinstance(value, list | tuple | set | frozenset):
    return [jsonable(child) for child in value]
  if isinstance(value, bytes | bytearray | memoryview):
    return _text_of(bytes(value))
  if isinstance(value, datetime.datetime | datetime.date | datetime.time):
    return value.isoformat()
  if isinstance(value, datetime.timedelta):
    return value.total_seconds()
  if isinstance(value, decimal.Decimal):
    return str(value)
  if hasattr(value, "tolist"):  # NumPy scalars and arrays
    return jsonable(value.tolist())
  return str(value)


def _key(key: Any) -> str:
  if isinstance(key, str):
    return key
  return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _text_of(content: bytes) -> str | dict[str, str]:
  try:
    return content.decode()
  except UnicodeDecodeError:
    return {BASE64: base64.b64encode(content).decode()}
