"""Divides a shard into what is kept and what is rejected, as its decisions say.

DIR/kept/SHARD       documents as they were
DIR/rejected/SHARD   the others, and what could not be read, each with its reason
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from datarater.config_io import from_json
from datarater.corpus_config import ScoreConfig
from datarater.curation import ratings as side
from datarater.curation.candidates import side_batches
from datarater.curation.counts import Counts
from datarater.curation.decisions import decision_path
from datarater.curation.run_folder import PROGRESS, read_mark, shard_lock
from datarater.data.formats import BadRecord, Record, Shard, id_base, open_writer, read_records
from datarater.errors import InputError
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.places import Place

KEPT, REJECTED = "kept", "rejected"
_MARK_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True)
class DivideShard:
  """Work for an engine: a shard's documents into `kept/` and `rejected/`, and their counts.

  ratings: the folder of side files. output: the folder with the decisions. settings: how the corpus
  was read when it was scored. kind: of what is written, from `output_kind`. names: of the files
  written, by the shards' names.
  Raises InputError where shard and side file do not belong together.
  """

  ratings: Place
  output: Place
  settings: dict[str, Any]
  kind: str | None
  names: Mapping[str, str]

  def __call__(self, shard: Shard) -> dict[str, Any]:
    done = self.output / PROGRESS / f"{shard.name}.json"
    with shard_lock(self.output, shard.name):
      if not done.exists():
        write_json(done, self._divide(shard))
      return read_json(done, "counts of a divided shard")

  def _divide(self, shard: Shard) -> dict[str, Any]:
    side_file = side.side_path(self.ratings, shard.name)
    scored = side.read_side_stats(side_file).get("records", 0)
    ledger = _Ledger(shard, _decided(side_file, decision_path(self.output, shard.name)))
    before, after, refused = Counts(), Counts(), Counter[str]()
    with self._open(KEPT, shard) as kept, self._open(REJECTED, shard) as rejected:
      for record in self._read(shard, scored):
        before.add(record)
        record, reason = ledger.decide(record)
        if reason or isinstance(record, BadRecord):
          rejected.write(record, reason)
          refused[reason] += 1
        else:
          kept.write(record)
          after.add_document(record)
      ledger.close(before.records, scored)
    return {
      "shards": 1,
      **before.as_json(),
      "kept": after.documents.total(),
      "rejected": dict(sorted(refused.items())),
      "before": before.mixture(),
      "after": after.mixture(),
    }

  def _open(self, folder: str, shard: Shard) -> AbstractContextManager[Any]:
    path = self.output / folder / self.names[shard.name]
    return open_writer(path, shard.path, reasons=folder == REJECTED, kind=self.kind)

  def _read(self, shard: Shard, limit: int) -> Iterator[Record]:
    """The records that were scored; a mark says how far reading has come."""
    mark, read, marked = read_mark(self.output, shard.name), 0, 0

    def progress(more: int) -> None:
      nonlocal read, marked
      read += more
      if read >= marked + _MARK_BYTES:
        mark.write_text(str(read))
        marked = read

    reading = from_json(ScoreConfig, self.settings).reading
    yield from read_records(shard.path, limit=limit, progress=progress, **reading)
    mark.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class _Decided:
  """A row of the decisions beside its row of the side file. reason: empty where kept."""

  row: int
  id: str
  flags: list[str]
  reason: str


def _decided(side_file: Place, decisions: Place) -> Iterator[_Decided]:
  """All rows in order, a part of them in memory."""
  rated, decided = _rows(side_file, ["row", "id", "flags"]), _rows(decisions, ["row", "reason"])
  nothing: tuple[Any, ...] = (None, None)
  for left, right in itertools.zip_longest(rated, decided, fillvalue=nothing):
    if left[0] != right[0]:
      raise InputError(
        f"decisions {str(decisions)!r} are not on {str(side_file)!r}; select into a new folder"
      )
    row, name, flags = left
    yield _Decided(row, name, flags, right[1])


def _rows(path: Place, columns: list[str]) -> Iterator[tuple[Any, ...]]:
  for table in side_batches(path, columns):
    yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


class _Ledger:
  """Goes through decisions beside the shard's records, and notices when they do not match."""

  def __init__(self, shard: Shard, decided: Iterator[_Decided]):
    self._shard, self._decided = shard, decided
    self._next = next(decided, None)

  def decide(self, record: Record) -> tuple[Record, str]:
    """The next record, by its final id, and why it is rejected; empty where it is kept."""
    rated = self._next if self._next and self._next.row == record.number else None
    if isinstance(record, BadRecord):
      if rated:
        raise self._mismatch(record.number, "is rated, but cannot be read as a document")
      return record, record.reason
    if not rated:
      raise self._mismatch(record.number, "has no rating")
    if id_base(rated.id, rated.flags) != id_base(record.id, record.flags):
      raise self._mismatch(record.number, f"is {record.id!r}, rated was {rated.id!r}")
    self._next = next(self._decided, None)
    if record.id != rated.id:
      record = dataclasses.replace(record, id=rated.id)
    return record, rated.reason

  def close(self, records: int, scored: int) -> None:
    """The shard ends here; so must the decisions."""
    if self._next or records != scored:
      raise self._mismatch(
        records, f"is the first that is not there, of {scored} when it was rated"
      )

  def _mismatch(self, row: int, what: str) -> InputError:
    return InputError(
      f"input {self._shard.name!r} and its ratings do not belong together: row {row} {what}; "
      "give the files that were scored, or score these"
    )
