"""What scoring does to one shard: read, prepare, rate and write, each ahead of the next.

A function of the shard and the settings alone: blocks are cut by the documents, batches are a
function of the block. So any engine, any number of workers, and any number of kills give the same
bytes.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from datarater.corpus_config import ScoreConfig
from datarater.curation import ratings as side
from datarater.curation.counts import Counts
from datarater.curation.run_folder import shard_lock
from datarater.curation.unfinished import UnfinishedShard
from datarater.data.blocks import Filling
from datarater.data.fingerprints import digests, minhashes
from datarater.data.formats import BadRecord, Record, Row, Shard, read_records
from datarater.data.signals import SIGNALS, signals
from datarater.errors import InputError
from datarater.runtime.ahead import ahead
from datarater.runtime.places import Place
from datarater.scorers.base import Rated, prepare

_MEBIBYTE = 1 << 20
_FLOOD_BYTES = 32 * _MEBIBYTE
"""Of records set aside in one block: they wait in memory."""


@dataclasses.dataclass(frozen=True)
class Block:
  """Consecutive records of a shard. read: bytes of the shard up to its end."""

  rows: list[Row]
  bad: list[BadRecord]
  read: int

  def __len__(self) -> int:
    return len(self.rows) + len(self.bad)


@dataclasses.dataclass(frozen=True)
class RateShard:
  """Work for an engine: rates a shard into its side file, and returns its counts.

  scorers: by name; the first one's ratings are the column `rating`. limit: most records.
  """

  scorers: dict[str, Any]
  config: ScoreConfig
  output: Place
  limit: int | None = None

  def __call__(self, shard: Shard) -> dict[str, Any]:
    path = side.side_path(self.output, shard.name)
    with shard_lock(self.output, shard.name):
      unfinished = UnfinishedShard(self.output, shard.name, self.schema)
      if path.exists():
        unfinished.remove()
        return side.read_side_stats(path)
      for block, rated in ahead(self._rated(ahead(self._prepared(shard, unfinished)))):
        table = self._table(shard, block, rated)
        unfinished.add(table, block.bad, _counts(block, table), block.read)
      return unfinished.finish()

  @property
  def schema(self) -> pa.Schema:
    """Of the side files."""
    _, *more = self.scorers
    return side.side_schema(more, self.config.signals, self.config.fingerprints)

  def _prepared(
    self, shard: Shard, unfinished: UnfinishedShard
  ) -> Iterator[tuple[Block, list[Callable[[], Rated]]]]:
    """Blocks that are not finished, each with what is left to do for each scorer."""
    stream = record_blocks(self._read(shard))
    for number, block in enumerate(itertools.islice(stream, unfinished.blocks)):
      if len(block) != (before := unfinished.records_of(number)):
        raise InputError(
          f"input {shard.name!r} has changed: block {number} has {len(block)} records, {before} "
          "when it was rated; restore the file, or name a new output folder"
        )
    for block in stream:
      ids, texts = [row.id for row in block.rows], [row.text for row in block.rows]
      domains = [row.domain for row in block.rows]
      yield block, [prepare(scorer, ids, texts, domains) for scorer in self.scorers.values()]

  def _read(self, shard: Shard) -> Iterator[tuple[Record, int]]:
    """Records, each with the bytes of the shard read so far."""
    read = 0

    def progress(more: int) -> None:
      nonlocal read
      read += more

    records = read_records(
      shard.path, whole=False, limit=self.limit, progress=progress, **self.config.reading
    )
    for record in records:
      yield record, read

  def _rated(
    self, prepared: Iterator[tuple[Block, list[Callable[[], Rated]]]]
  ) -> Iterator[tuple[Block, list[Rated]]]:
    for block, scorers in prepared:
      yield block, [rate() for rate in scorers]

  def _table(self, shard: Shard, block: Block, rated: Sequence[Rated]) -> pa.Table:
    rows = block.rows
    texts = [row.text for row in rows]
    ratings = [ratings for ratings, _ in rated]
    tokens = next((tokens for _, tokens in rated if tokens is not None), None)
    not_numbers = np.any([np.isnan(each) for each in ratings], axis=0)
    columns: dict[str, Any] = {
      "id": [row.id for row in rows],
      "shard": [shard.name] * len(rows),
      "row": [row.number for row in rows],
      "rating": ratings[0],
      "tokens": [None] * len(rows) if tokens is None else tokens,
      "domain": [row.domain for row in rows],
      "flags": [
        [*row.flags, *([side.FLAG_NOT_A_NUMBER] if nan else [])]
        for row, nan in zip(rows, np.atleast_1d(not_numbers), strict=True)
      ],
    }
    names = map(side.rating_column, self.scorers)
    columns |= dict(itertools.islice(zip(names, ratings, strict=True), 1, None))
    if self.config.fingerprints:
      columns[side.DIGEST] = digests(texts)
      columns[side.MINHASH] = [hashes.astype("<u4").tobytes() for hashes in minhashes(texts)]
    if self.config.signals:
      found = [signals(text) for text in texts]
      columns |= {side.SIGNAL + name: [each[name] for each in found] for name in SIGNALS}
    return pa.table(columns, schema=self.schema)


def record_blocks(records: Iterable[tuple[Record, int]]) -> Iterator[Block]:
  """Cuts (record, bytes read) where `data.blocks` cuts the documents among them.

  Records set aside belong to the block that they are in; only a flood of them ends one.
  """

  def fresh() -> tuple[list[Row], list[BadRecord], Filling, Filling]:
    return [], [], Filling(), Filling(most_characters=_FLOOD_BYTES)

  rows, bad, filling, flood = fresh()
  read = 0
  for record, read in records:
    if isinstance(record, BadRecord):
      bad.append(record)
      full = flood.add(len(record.raw))
    else:
      rows.append(record)
      full = filling.add(len(record.text))
    if full:
      yield Block(rows, bad, read)
      rows, bad, filling, flood = fresh()
  if rows or bad:
    yield Block(rows, bad, read)


def _counts(block: Block, table: pa.Table) -> dict[str, Any]:
  counts = Counts()
  for record in (*block.rows, *block.bad):
    counts.add(record)
  tokens = [each for each in table["tokens"].to_pylist() if each is not None]
  return {**counts.as_json(), **counts.mixture(), **({"tokens": sum(tokens)} if tokens else {})}
