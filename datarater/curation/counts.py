"""Counts of a shard, and their sums over shards: the numbers of `stats.json`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datarater.data.formats import BadRecord, Record, Row

NO_DOMAIN = "(none)"


class Counts:
  """Counts records of a shard: all, bad ones by reason, documents and UTF-8 bytes by domain."""

  def __init__(self) -> None:
    self.records, self.unread = 0, False
    self.rejected = Counter[str]()
    self.documents, self.bytes = Counter[str](), Counter[str]()

  def add(self, record: Record) -> None:
    self.records += 1
    if isinstance(record, BadRecord):
      self.rejected[record.reason] += 1
      self.unread |= record.rest
    else:
      self.add_document(record)

  def add_document(self, row: Row) -> None:
    domain = row.domain or NO_DOMAIN
    self.documents[domain] += 1
    self.bytes[domain] += len(row.text.encode())

  def mixture(self) -> dict[str, Any]:
    """documents, bytes, and both by domain."""
    domains = {
      name: {"documents": self.documents[name], "bytes": self.bytes[name]}
      for name in sorted(self.documents)
    }
    total = {"documents": self.documents.total(), "bytes": self.bytes.total()}
    return {**total, "domains": domains}

  def as_json(self) -> dict[str, Any]:
    return {
      "records": self.records,
      "rejected": dict(sorted(self.rejected.items())),
      "shards_cut_short": int(self.unread),
    }


def merged(every: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Sums of counts, keys of nested ones united."""
  total: dict[str, Any] = {}
  for stats in every:
    for key, value in stats.items():
      if isinstance(value, dict):
        total[key] = merged([total.get(key, {}), value])
      else:
        total[key] = total.get(key, 0) + value
  return dict(sorted(total.items())) if _of_counts(total) else total


def _of_counts(values: dict[str, Any]) -> bool:
  """Whether it maps free names (domains, reasons) to counts, which then come in order."""
  return bool(values) and "records" not in values and "documents" not in values
