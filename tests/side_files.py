"""Finished folders of ratings for tests, made without a corpus; and what a run has left."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datarater.curation import ratings as side
from datarater.curation.rules import (
  PerDomain,
  Pointwise,
  Temperature,
  Threshold,
  TokenBudget,
  TopFraction,
)
from datarater.runtime.atomic import write_json

SIGNALS = ("words", "sentences")
SCHEMA = pa.schema(
  [
    *side.SCHEMA,
    (side.rating_column("other"), pa.float32()),
    (side.DIGEST, pa.binary(16)),
    *((side.SIGNAL + name, pa.float32()) for name in SIGNALS),
  ]
)
RULES = {
  "top": TopFraction(0.6),
  "threshold": Threshold(0.5),
  "pointwise": Pointwise(0.4, 10),
  "per domain": PerDomain(0.5, {"d0": 0.8}),
  "tokens": TokenBudget(60),
  "temperature": Temperature(2.0, TopFraction(0.4)),
  "temperature, tokens": Temperature(2.0, TokenBudget(60)),
}
"""One of each rule."""


def write_ratings(folder: Path, shards: dict[str, list[dict]], group_rows: int = 5) -> Path:
  """A folder as `score` leaves it: rows of a shard hold any of the columns, `rating` at least.

  group_rows: of a row group, small enough that there are several.
  """
  for name, rows in shards.items():
    path = side.side_path(folder, name)
    with side.open_side_file(path, SCHEMA) as writer:
      for start in range(0, len(rows), group_rows):
        part = [_whole(name, i, rows[i]) for i in range(start, min(len(rows), start + group_rows))]
        writer.add_table(pa.Table.from_pylist(part, SCHEMA))
        writer._flush()
      writer.finish({"shards": 1, "records": len(rows)} if rows else {"shards": 1})
  run = {
    "kind": "ratings",
    "schema_version": side.SCHEMA_VERSION,
    "scorers": {"toy": {"name": "toy", "fingerprint": ""}},
    "settings": {},
    "inputs": dict.fromkeys(shards, "as it was"),
  }
  write_json(folder / side.RUN, run)
  write_json(folder / side.STATS, {"shards": len(shards)})
  return folder


def _whole(shard: str, number: int, row: dict) -> dict:
  text = row.get("text", f"{shard} {number}")
  found = {
    "id": f"{shard} {number}",
    "shard": shard,
    "row": number,
    "tokens": 10,
    "domain": None,
    "flags": [],
    "rating_other": np.float32(-row["rating"]),
    "digest": text.encode()[:16].ljust(16, b"\0"),
    "signal_words": 1.0,
    "signal_sentences": 1.0,
  }
  return found | {name: value for name, value in row.items() if name != "text"}


def tree(folder):
  """Contents by name, less locks and the log."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(Path(folder).rglob("*"))
    if path.is_file() and not path.name.startswith(".") and path.name != "log.jsonl"
  }


def decisions_of(folder):
  """All rows by id."""
  paths = sorted((Path(folder) / "decisions").rglob("*.parquet"))
  rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
  assert len({row["id"] for row in rows}) == len(rows)
  return {row["id"]: row for row in rows}
