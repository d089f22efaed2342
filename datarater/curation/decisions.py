"""Decisions: a side file a shard that says of each document whether it is kept, and why not.

DIR/decisions/SHARD.parquet    id, shard, row, rating, kept, reason (empty where kept)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datarater.curation.candidates import side_batches
from datarater.runtime.atomic import atomic_path, explained
from datarater.runtime.places import Place

DECISIONS = "decisions"
SCHEMA = pa.schema(
  [
    ("id", pa.string()),
    ("shard", pa.string()),
    ("row", pa.int64()),
    ("rating", pa.float32()),
    ("kept", pa.bool_()),
    ("reason", pa.dictionary(pa.int16(), pa.string())),
  ]
)
KEPT = 0
"""The code of what is kept; all others are indices of reasons."""

Decide = Callable[[pa.Table, slice], np.ndarray]
"""(rows of a side file, which of its rows they are) -> codes int16 [N]."""


def decision_path(output: Place, shard: str) -> Place:
  """Where the decisions on a shard are."""
  return output / DECISIONS / f"{shard}.parquet"


@dataclasses.dataclass(frozen=True)
class DecisionWriter:
  """Writes decisions from side files, a part of a shard in memory.

  reasons: by code; the first, of what is kept, is empty. rating: the column that was judged.
  columns: further ones that `decide` wants to see.
  """

  output: Place
  reasons: tuple[str, ...]
  rating: str
  columns: tuple[str, ...] = ()

  def write(self, shard: str, side_file: Place, decide: Decide) -> None:
    """The decisions on one shard, whole or not at all."""
    columns = list(dict.fromkeys(["id", "row", self.rating, *self.columns]))
    path, at = decision_path(self.output, shard), 0
    with atomic_path(path) as partial, explained(path), _open(partial) as writer:
      for table in side_batches(side_file, columns):
        codes = decide(table, slice(at, at + len(table)))
        at += len(table)
        writer.write_table(self._table(shard, table, codes))

  def _table(self, shard: str, table: pa.Table, codes: np.ndarray) -> pa.Table:
    reasons = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self.reasons, pa.string()))
    columns = [
      table["id"],
      pa.repeat(pa.scalar(shard), len(table)),
      table["row"],
      table[self.rating],
      pa.array(codes == KEPT),
      reasons,
    ]
    return pa.table(columns, schema=SCHEMA)


def _open(path: Path) -> pq.ParquetWriter:
  # Ids hardly ever repeat: a dictionary of them would be made in vain.
  repeated: Any = ["shard", "reason"]
  return pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=repeated)
