"""What is done to one shard: rate it, divide it. Engines call these two functions; nothing else is
heavy.

Each is a function of the shard and its arguments alone, writes its side file last and whole, and
returns the counts that the side file holds, so that a shard with a side file is a shard done.
"""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datarater.config import InputError
from datarater.curation import ratings as side
from datarater.curation.counts import Counts
from datarater.data.formats import (
  BadRecord,
  Record,
  Row,
  Shard,
  id_base,
  open_writer,
  read_records,
)
from datarater.runtime.atomic import atomic_file
from datarater.scorers.base import rate

DECISIONS, KEPT, REJECTED = "decisions", "kept", "rejected"
DECISION_SCHEMA = pa.schema(
  [
    ("id", pa.string()),
    ("row", pa.int64()),
    ("rating", pa.float32()),
    ("kept", pa.bool_()),
    ("reason", pa.string()),
  ]
)
_BLOCK_BYTES = 8 << 20
"""A block of texts ends here or at `batch_size`, so that memory is bounded."""

_DECISION_ROWS = 4096
Progress = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
  """text_key, id_key, domain_key: fields of a record. batch_size: most texts a call."""

  text_key: str = "text"
  id_key: str = "id"
  domain_key: str = "domain"
  batch_size: int = 256


def score_shard(
  shard: Shard,
  scorer: Any,
  settings: ScoreSettings,
  output: Path,
  limit: int | None = None,
  progress: Progress | None = None,
) -> dict[str, Any]:
  """Rates a shard's documents into its side file, sets its bad records aside, and returns the
  counts.

  Ids are unique within the shard; `ratings.make_ids_unique` makes them so across shards. limit:
  most records. progress: called with bytes of the shard read since.
  """
  counts, tokens = Counts(), Counter[str]()
  records = read_records(
    shard.path,
    settings.text_key,
    settings.id_key,
    settings.domain_key,
    whole=False,
    limit=limit,
    progress=progress,
  )
  aside = output / side.REJECTED / f"{shard.name}.jsonl"
  with (
    side.open_side_file(side.side_path(output, shard.name)) as writer,
    _open_rejected(aside) as reject,
  ):
    for block in _blocks(_good(records, counts, reject), settings.batch_size):
      columns = _rated(block, shard, scorer)
      if columns["tokens"][0] is not None:
        tokens["tokens"] += sum(columns["tokens"])
      writer.add(**columns)
    stats = {"shards": 1, **counts.as_json(), **counts.mixture(), **tokens}
    writer.finish(stats)
  return stats


def _good(
  records: Iterable[Record], counts: Counts, reject: Callable[[BadRecord], None]
) -> Iterator[Row]:
  for record in records:
    counts.add(record)
    if isinstance(record, BadRecord):
      reject(record)
    else:
      yield record


def _blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
  block, characters = [], 0
  for row in rows:
    block.append(row)
    characters += len(row.text)
    if len(block) >= size or characters >= _BLOCK_BYTES:
      yield block
      block, characters = [], 0
  if block:
    yield block


def _rated(block: list[Row], shard: Shard, scorer: Any) -> dict[str, Any]:
  ids = [row.id for row in block]
  ratings, tokens = rate(scorer, ids, [row.text for row in block])
  flags = [
    [*row.flags, *([side.FLAG_NOT_A_NUMBER] if np.isnan(rating) else [])]
    for row, rating in zip(block, ratings, strict=True)
  ]
  return {
    "id": ids,
    "shard": [shard.name] * len(block),
    "row": [row.number for row in block],
    "rating": ratings,
    "tokens": [None] * len(block) if tokens is None else tokens.tolist(),
    "domain": [row.domain for row in block],
    "flags": flags,
  }


@contextlib.contextmanager
def _open_rejected(path: Path) -> Iterator[Callable[[BadRecord], None]]:
  """A function that appends to a file which is made with the first record."""
  with contextlib.ExitStack() as stack:
    file: Any = None

    def reject(record: BadRecord) -> None:
      nonlocal file
      file = file or stack.enter_context(atomic_file(path))
      file.write(json.dumps(record.as_json(), ensure_ascii=False).encode() + b"\n")

    yield reject


def decision_path(output: Path, shard: str) -> Path:
  """Where the decisions on a shard are; the file's presence says that the shard is done."""
  return Path(output) / DECISIONS / f"{shard}.parquet"


def select_shard(
  shard: Shard,
  side_file: Path,
  keep: np.ndarray,
  reasons: np.ndarray,
  settings: ScoreSettings,
  output: Path,
  progress: Progress | None = None,
) -> dict[str, Any]:
  """Divides a shard into `kept/` and `rejected/`, both in its own format, and returns the counts.

  keep: bool, reasons: object (a string where not kept), one a row of the side file.
  Raises InputError where shard and side file do not belong together.
  """
  table, scored = side.read_side_file(side_file)
  ledger = _Ledger(shard, table, keep, reasons)
  before, after = Counts(), Counts()
  refused = Counter[str]()
  records = read_records(
    shard.path,
    settings.text_key,
    settings.id_key,
    settings.domain_key,
    limit=scored["records"],
    progress=progress,
  )
  with (
    side.open_side_file(decision_path(output, shard.name), DECISION_SCHEMA) as decisions,
    open_writer(output / KEPT / shard.name, shard.path) as kept,
    open_writer(output / REJECTED / shard.name, shard.path, reasons=True) as rejected,
  ):
    rows: list[tuple[Any, ...]] = []
    for record in records:
      before.add(record)
      row = ledger.decide(record)
      if row[3] and isinstance(record, Row):
        kept.write(record)
        after.add_document(record)
      else:
        rejected.write(record, row[4])
        refused[row[4]] += 1
      rows.append(row)
      if len(rows) >= _DECISION_ROWS:
        _add_decisions(decisions, rows)
    _add_decisions(decisions, rows)
    ledger.close(before.records, scored["records"])
    stats = {
      "shards": 1,
      **before.as_json(),
      "kept": after.documents.total(),
      "rejected": dict(sorted(refused.items())),
      "before": before.mixture(),
      "after": after.mixture(),
    }
    decisions.finish(stats)
  return stats


def _add_decisions(decisions: side.SideWriter, rows: list[tuple[Any, ...]]) -> None:
  if rows:
    columns = zip(*rows, strict=True)
    decisions.add(**dict(zip(DECISION_SCHEMA.names, map(list, columns), strict=True)))
    rows.clear()


class _Ledger:
  """Goes through a side file beside the shard's records, and notices when they do not match."""

  def __init__(self, shard: Shard, table: pa.Table, keep: np.ndarray, reasons: np.ndarray):
    self._shard, self._keep, self._reasons, self._at = shard, keep, reasons, 0
    self._rows = table["row"].to_numpy()
    self._rated = _python_rows(table.select(["id", "flags", "rating"]))

  def decide(self, record: Record) -> tuple[str | None, int, float | None, bool, str]:
    """(id, row, rating, kept, reason) of the next record; the reason of a kept one is empty."""
    at = self._at
    expected = at < len(self._rows) and self._rows[at] == record.number
    if isinstance(record, BadRecord):
      if expected:
        raise self._mismatch(record.number, "is rated, but cannot be read as a document")
      return None, record.number, None, False, record.reason
    if not expected:
      raise self._mismatch(record.number, "has no rating")
    name, flags, rating = next(self._rated)
    if id_base(name, flags) != id_base(record.id, record.flags):
      raise self._mismatch(record.number, f"is {record.id!r}, rated was {name!r}")
    self._at += 1
    keep = bool(self._keep[at])
    reason = "" if keep else str(self._reasons[at])
    return name, record.number, rating, keep, reason

  def close(self, records: int, scored: int) -> None:
    """The shard ends here; so must the side file."""
    if self._at != len(self._rows) or records != scored:
      raise self._mismatch(
        records, f"is the first that is not there, of {scored} when it was rated"
      )

  def _mismatch(self, row: int, what: str) -> InputError:
    return InputError(
      f"input {self._shard.name!r} and its ratings do not belong together: row {row} {what}; "
      "give the files that were scored, or score these"
    )


def _python_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
  """The rows as tuples, a part of them in memory."""
  for batch in table.to_batches(_DECISION_ROWS):
    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
