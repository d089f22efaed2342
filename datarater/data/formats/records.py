"""A record of a shard: a document (`Row`), or what cannot be one (`BadRecord`); and its id."""

import base64
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datarater.data.formats.dialogue import rendered_messages, rendered_turns

MAX_RECORD_BYTES = 32 << 20
"""A longer line, record, or text is set aside as `record too long`, unless the caller says more."""

FLAG_REPEATED = "repeated_id"
"""The id had been given before; a suffix `~n` tells the documents apart."""

FLAG_UNUSABLE = "unusable_id"
"""The id field holds no id (a fraction, a list, no Unicode): it comes from the text instead."""

FLAG_DERIVED = "derived_id"
"""The record has no id field: the id is a hash of the text and an occurrence number."""


@dataclasses.dataclass(frozen=True)
class Keys:
  """Where a record holds what. Dots lead into nested objects; a field with that very name comes
  first.

  text: messages ({"role", "content"}) are rendered as text, and so are the turns of a user and an
  assistant in fields joined by `+` (`prompt+response`, not of Parquet).
  extra: further fields to read, returned in `Row.extra` as they are. Plain text has none of them.
  """

  text: str = "text"
  id: str = "id"
  domain: str = "domain"
  extra: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a shard is read; see `read_records`."""

  keys: Keys = Keys()
  numbering: "Numbering | None" = None
  max_bytes: int = MAX_RECORD_BYTES
  progress: Callable[[int], object] | None = None
  whole: bool = True
  paragraphs: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
  """A document.

  number: row in its shard, from 0. id: unique within what was numbered together; without a
  numbering its field's value, or `<hash of the text>-0`. domain: None where the record has none.
  source: what the writer needs to write it again untouched: a line, a record's bytes, or (batch,
  index). flags: `FLAG_*`. keys: where text, id and domain were found. load: makes all fields.
  """

  number: int
  id: str
  text: str
  domain: str | None
  source: Any
  flags: tuple[str, ...] = ()
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  keys: Keys = Keys()
  load: Callable[[], dict[str, Any]] | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  def values(self) -> dict[str, Any]:
    """All fields of the record as Python values, made when asked for. Plain text has `text`."""
    return self.load() if self.load else {}


@dataclasses.dataclass(frozen=True)
class BadRecord:
  """What cannot be read as a document.

  reason: one of few short phrases, fit for counting. detail: what exactly. raw: the bytes as they
  are, as far as they were read. rest: the shard cannot be read from here on; this record is its
  last.
  """

  number: int
  reason: str
  detail: str = ""
  raw: bytes = b""
  source: Any = None
  rest: bool = False

  @classmethod
  def too_long(cls, number: int, size: int, limit: int, raw: bytes, source: Any) -> "BadRecord":
    """Longer than `max_record_bytes`; `raw` is all of it."""
    return cls(number, "record too long", f"{size} bytes, {limit} allowed", raw, source)

  def as_json(self) -> dict[str, Any]:
    """row, reason, detail, and `raw`, or `raw_base64` where the bytes are no UTF-8."""
    values: dict[str, Any] = {"row": self.number, "reason": self.reason, "detail": self.detail}
    try:
      values["raw"] = self.raw.decode()
    except UnicodeDecodeError:
      values["raw_base64"] = base64.b64encode(self.raw).decode()
    return values


Record = Row | BadRecord


class DamagedError(Exception):
  """The shard cannot be read from here on: (reason, detail)."""

  def __init__(self, reason: str, detail: object):
    super().__init__(reason, str(detail))
    self.reason, self.detail = reason, str(detail)


class Numbering:
  """Gives ids that never repeat among the records numbered with it, in the order of the calls.

  A document's base is its id field, or else `<hash of the text>`. The first with a base from the
  field is called by it, later ones `base~1`, `base~2`; hashes always carry the occurrence number,
  `hash-0`.
  """

  def __init__(self) -> None:
    # 64-bit hashes, some 90 bytes a document, because ids can be long. Two ids of one hash do no
    # harm: the later one gets a suffix, every time.
    self._seen: set[int] = set()
    self._next: dict[int, int] = {}

  def derived(self, base: str) -> str:
    """The id of the next document whose text has this hash."""
    return self._name(f"{base}-0", f"{base}-")

  def given(self, base: str) -> tuple[str, bool]:
    """(id, whether it had to be changed) of the next document whose id field says `base`."""
    name = self._name(base, f"{base}~")
    return name, name != base

  def _name(self, first: str, stem: str) -> str:
    """`first` if it is free, else the free `stem` with the next number."""
    if not self._taken(first):
      return first
    key = _hash(stem)
    number = self._next.get(key, 1)
    while self._taken(name := f"{stem}{number}"):
      number += 1
    self._next[key] = number + 1
    return name

  def _taken(self, name: str) -> bool:
    key = _hash(name)
    if key in self._seen:
      return True
    self._seen.add(key)
    return False


def id_base(document_id: str, flags: tuple[str, ...] | list[str]) -> tuple[str, bool]:
  """(base, derived) that `Numbering` made the id from; the inverse of `Numbering`."""
  if FLAG_DERIVED in flags or FLAG_UNUSABLE in flags:
    return document_id.rsplit("-", 1)[0], True
  if FLAG_REPEATED in flags:
    return document_id.rsplit("~", 1)[0], False
  return document_id, False


def make_row(
  number: int,
  values: Mapping[str, Any],
  reading: Reading,
  source: Any,
  load: Callable[[], dict[str, Any]] | None = None,
  raw: bytes | Callable[[], bytes] = b"",
  names: Sequence[str] = (),
) -> Record:
  """A Row of a record's fields, or the BadRecord that says why there is none.

  load: makes all fields, where the row is asked for them. raw: the record's bytes, or what makes
  them. names: all the record's fields, where `values` has only some.
  """
  keys, limit = reading.keys, reading.max_bytes
  text = _text(values, keys.text)
  reason = text_trouble(text)
  if reason:
    detail = f"fields: {', '.join(names or values)}" if text is None else ""
    return BadRecord(number, reason, detail, raw() if callable(raw) else raw, source)
  if 4 * len(text) > limit and (size := len(text.encode())) > limit:
    return BadRecord.too_long(number, size, limit, raw() if callable(raw) else raw, source)
  document_id, flags = name_document(lookup(values, keys.id), text, reading.numbering)
  domain = _domain_name(lookup(values, keys.domain))
  extra = {key: lookup(values, key) for key in keys.extra}
  return Row(number, document_id, text, domain, source, flags, extra, keys, load)


def parse_json(
  number: int, line: bytes, reading: Reading, skip: int = 0, what: str = "line"
) -> Record:
  """A record of one JSON object in UTF-8. skip: bytes before it that belong to no record."""
  if len(line) > reading.max_bytes:
    return BadRecord.too_long(number, len(line), reading.max_bytes, line, line)
  content = line[skip:] if skip else line
  if not content.strip():
    return BadRecord(number, f"blank {what}", "", line, line)
  try:
    values = json.loads(content.decode())
  except UnicodeDecodeError as error:
    return BadRecord(number, "invalid UTF-8", str(error.reason), line, line)
  except (ValueError, RecursionError) as error:
    return BadRecord(number, "broken JSON", str(error), line, line)
  if not isinstance(values, dict):
    return BadRecord(number, "not a JSON object", type(values).__name__, line, line)
  return make_row(number, values, reading, line, functools.partial(_parsed, content), line)


def _parsed(content: bytes) -> dict[str, Any]:
  return json.loads(content.decode())


def name_document(
  given: Any, text: str, numbering: Numbering | None = None
) -> tuple[str, tuple[str, ...]]:
  """(id, flags) from the id field's value (None: no such field) or else the text."""
  if isinstance(given, int) and not isinstance(given, bool):
    given = str(given)
  if isinstance(given, str) and given and not text_trouble(given):
    name, changed = numbering.given(given) if numbering else (given, False)
    return name, (FLAG_REPEATED,) if changed else ()
  digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
  flag = FLAG_DERIVED if given is None else FLAG_UNUSABLE
  return numbering.derived(digest) if numbering else f"{digest}-0", (flag,)


def lookup(values: Mapping[str, Any], key: str) -> Any:
  """The field `key`, or along its dots through nested objects; None where there is none."""
  if not key:
    return None
  if key in values:
    return values[key]
  node: Any = values
  for part in key.split("."):
    if not isinstance(node, Mapping) or part not in node:
      return None
    node = node[part]
  return node


def text_trouble(text: Any) -> str:
  """Why this cannot be the text of a document; empty where it can."""
  if text is None:
    return "text missing"
  if not isinstance(text, str):
    return "text is not a string"
  if not text.strip():
    return "empty text"
  if "\0" in text:
    return "NUL in text"
  try:
    text.encode()
  except UnicodeEncodeError:
    return "text is not Unicode"  # JSON can spell half of a surrogate pair: "\ud800"
  return ""


def _text(values: Mapping[str, Any], key: str) -> Any:
  """The field of the text; rendered where it is a list of messages, or fields joined by `+`."""
  text = lookup(values, key)
  if text is None and "+" in key:
    return rendered_turns([lookup(values, part) for part in key.split("+")])
  return text if isinstance(text, str) else rendered_messages(text) or text


def _domain_name(value: Any) -> str | None:
  """A domain is a short name: strings, and numbers as strings; anything else is no domain."""
  if isinstance(value, str):
    return value if value and not text_trouble(value) else None
  if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
    return None
  return str(value)


def _hash(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
