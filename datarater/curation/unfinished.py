"""A shard that is being rated: its finished blocks on disk, so that a killed run goes on inside it.

DIR/progress/SHARD/00000.parquet   a block of the side file, with its counts
DIR/progress/SHARD/00000.jsonl     records of the block that were set aside, if any
DIR/progress/SHARD.read            bytes of the shard read, for the bar
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from datarater.curation import ratings as side
from datarater.curation.counts import merged
from datarater.curation.run_folder import PROGRESS, read_mark, remove_tree
from datarater.data.formats import BadRecord
from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place
from datarater.runtime.quantiles import QuantileSketch


class UnfinishedShard:
  """Blocks of one shard in a folder of ratings. Its work must exclude others: see `run_folder`."""

  def __init__(self, output: Place, shard: str, schema: pa.Schema):
    self._output, self._shard, self._schema = output, shard, schema
    self._folder = output / PROGRESS / shard
    self.blocks = self._count()

  def records_of(self, block: int) -> int:
    """How many records a finished block has taken."""
    return side.read_side_stats(self._block(block))["records"]

  def add(
    self, table: pa.Table, bad: Sequence[BadRecord], stats: dict[str, Any], read: int
  ) -> None:
    """Writes the next block. read: bytes of the shard up to its end."""
    if bad:
      with atomic_file(self._block(self.blocks, ".jsonl")) as file:
        for record in bad:
          file.write(json.dumps(record.as_json(), ensure_ascii=False).encode() + b"\n")
    with side.open_side_file(self._block(self.blocks), self._schema) as writer:
      writer.add_table(table)
      writer.finish(stats)
    self.blocks += 1
    read_mark(self._output, self._shard).write_text(str(read))

  def finish(self) -> dict[str, Any]:
    """Joins the blocks to the shard's side file, which says that the shard is done; its counts."""
    self._join_rejected()
    every = []
    sketches = {name: QuantileSketch() for name in side.rating_columns(self._schema.names)}
    with side.open_side_file(side.side_path(self._output, self._shard), self._schema) as writer:
      for block in range(self.blocks):
        table, stats = side.read_side_file(self._block(block))
        writer.add_table(table)
        every.append(stats)
        for name, sketch in sketches.items():
          ratings = table[name].to_numpy()
          sketch.add(ratings[np.isfinite(ratings)])
      total = {"shards": 1, **merged(every)}
      writer.finish(total, sketches)
    self.remove()
    return total

  def remove(self) -> None:
    """Deletes what is left of the blocks."""
    remove_tree(self._folder)
    read_mark(self._output, self._shard).unlink(missing_ok=True)

  def _join_rejected(self) -> None:
    paths = [self._block(block, ".jsonl") for block in range(self.blocks)]
    paths = [path for path in paths if path.exists()]
    if paths:
      with atomic_file(self._output / side.REJECTED / f"{self._shard}.jsonl") as file:
        for path in paths:
          file.write(path.read_bytes())

  def _block(self, number: int, extension: str = ".parquet") -> Place:
    return self._folder / f"{number:06d}{extension}"

  def _count(self) -> int:
    number = 0
    while self._block(number).exists():
      number += 1
    return number
