"""Ratings are data: side files in Parquet beside the corpus, one a shard, each whole or absent.

    DIR/run.json                 scorer, settings, inputs, schema version
    DIR/ratings/SHARD.parquet    id, shard, row, rating, tokens, domain, flags; a row a document
    DIR/rejected/SHARD.jsonl     what could not be read: row, reason, and the raw text
    DIR/stats.json               counts; written last, so its presence says that scoring is complete

A side file carries the counts of its shard as metadata (`datarater`, JSON).
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datarater.config import InputError, require
from datarater.data.formats import Numbering, id_base
from datarater.data.formats.records import FLAG_REPEATED
from datarater.runtime.atomic import atomic_path, explained, read_json

SCHEMA_VERSION = 1
RUN, STATS, REJECTED, SIDE = "run.json", "stats.json", "rejected", "ratings"
SCHEMA = pa.schema(
  [
    ("id", pa.string()),
    ("shard", pa.string()),
    ("row", pa.int64()),
    ("rating", pa.float32()),
    ("tokens", pa.int32()),
    ("domain", pa.string()),
    ("flags", pa.list_(pa.string())),
  ]
)
FLAG_NOT_A_NUMBER = "rating_not_a_number"

_METADATA = b"datarater"
_GROUP_ROWS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Ratings:
  """All side files of a folder as one table of N documents, in shard order.

  ids: object[N]. ratings: float32[N], may be NaN. shard: int32[N], index into `shards`. row:
  int64[N]. tokens: int32[N], -1 where unknown. domain: object[N], None where there is none.
  """

  shards: tuple[str, ...]
  ids: np.ndarray
  ratings: np.ndarray
  shard: np.ndarray
  row: np.ndarray
  tokens: np.ndarray
  domain: np.ndarray


def side_path(folder: Path, shard: str) -> Path:
  """Where the ratings of a shard are."""
  return Path(folder) / SIDE / f"{shard}.parquet"


class SideWriter:
  """Appends blocks of rows, and at the end the shard's counts; bounded memory."""

  def __init__(self, path: Path, schema: pa.Schema):
    self._path, self._schema = path, schema
    self._pending: list[pa.Table] = []
    with explained(path):
      self._writer = pq.ParquetWriter(path, schema, compression="zstd")

  def add(self, **columns: Any) -> None:
    """One value a document for each column of the schema."""
    self._pending.append(pa.table(columns, schema=self._schema))
    if sum(table.num_rows for table in self._pending) >= _GROUP_ROWS:
      self._flush()

  def finish(self, stats: dict[str, Any]) -> None:
    self._flush()
    with explained(self._path):
      self._writer.add_key_value_metadata({_METADATA: json.dumps(stats).encode()})
      self._writer.close()

  def _flush(self) -> None:
    if self._pending:
      with explained(self._path):
        self._writer.write_table(pa.concat_tables(self._pending))
      self._pending = []


@contextlib.contextmanager
def open_side_file(path: Path, schema: pa.Schema = SCHEMA) -> Iterator[SideWriter]:
  """A `SideWriter` to a file that appears when the context ends well; call `finish` in it."""
  with atomic_path(path) as partial:
    yield SideWriter(partial, schema)


def read_side_file(path: Path) -> tuple[pa.Table, dict[str, Any]]:
  """(rows, counts of the shard); a missing or foreign file raises InputError."""
  # Not read_table: it takes a folder called `a=b` in the path for a column.
  with _side_errors(path), pq.ParquetFile(path) as file:
    return file.read(), json.loads(file.metadata.metadata[_METADATA])


def read_side_stats(path: Path) -> dict[str, Any]:
  """The counts of the shard alone."""
  with _side_errors(path):
    return json.loads(pq.read_metadata(path).metadata[_METADATA])


@contextlib.contextmanager
def _side_errors(path: Path) -> Iterator[None]:
  try:
    yield
  except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"side file {str(path)!r} cannot be read ({error}); delete it and run the command "
      "that wrote it"
    ) from error


def read_run(folder: Path) -> dict[str, Any]:
  """`run.json` of a finished scoring run; unfinished, newer or other folders raise InputError."""
  folder = Path(folder)
  require(folder.is_dir(), f"ratings folder {str(folder)!r} does not exist; score the corpus first")
  run = read_json(folder / RUN, "ratings run file")
  kind = run.get("kind") if isinstance(run, dict) else None
  require(
    kind == "ratings",
    f"ratings folder {str(folder)!r} holds {kind!r}, no ratings; name the output of `score`",
  )
  version = run.get("schema_version")
  require(
    version == SCHEMA_VERSION,
    f"ratings in {str(folder)!r} have schema version {version}, {SCHEMA_VERSION} is read here; "
    "install the version that wrote them, or score again",
  )
  require(
    (folder / STATS).is_file(),
    f"ratings in {str(folder)!r} are not complete; finish them by the same score command",
  )
  return run


def scored_shards(folder: Path) -> list[str]:
  """Shards that have a side file, in order. A run with a limit may not have reached all inputs."""
  return [name for name in read_run(folder)["inputs"] if side_path(folder, name).exists()]


def read_ratings(folder: Path) -> Ratings:
  """Reads all side files of a finished run into memory."""
  names = scored_shards(folder)
  tables = [read_side_file(side_path(folder, name))[0] for name in names]
  table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
  lengths = [len(t) for t in tables]
  return Ratings(
    shards=tuple(names),
    ids=table["id"].to_numpy(),
    ratings=table["rating"].to_numpy(),
    shard=np.repeat(np.arange(len(names), dtype=np.int32), lengths),
    row=table["row"].to_numpy(),
    tokens=table["tokens"].fill_null(-1).to_numpy(),
    domain=table["domain"].to_numpy(),
  )


def make_ids_unique(folder: Path, names: Sequence[str]) -> None:
  """Numbers ids through all shards in order; each shard had numbered its own.

  It starts from the ids' bases, so doing it again, or the rest of it after a kill, changes nothing
  more.
  """
  paths = [side_path(folder, name) for name in names]
  if _all_differ(paths):  # then numbering through all would give the same names
    return
  numbering = Numbering()
  for path in paths:
    table, stats = read_side_file(path)
    old_ids, old_flags = table["id"].to_pylist(), table["flags"].to_pylist()
    ids, flags = [], []
    for name, marks in zip(old_ids, old_flags, strict=True):
      base, derived = id_base(name, marks)
      new, changed = (numbering.derived(base), False) if derived else numbering.given(base)
      others = [mark for mark in marks if mark != FLAG_REPEATED]
      ids.append(new)
      flags.append([FLAG_REPEATED, *others] if changed else others)
    if ids != old_ids:
      columns = {column: table[column] for column in SCHEMA.names} | {"id": ids, "flags": flags}
      with open_side_file(path) as writer:
        writer.add(**columns)
        writer.finish(stats)


def _all_differ(paths: Sequence[Path]) -> bool:
  """Whether no id is given twice, by 64-bit hashes; two ids of one hash only cost the long way."""
  hashes = []
  for path in paths:
    with _side_errors(path), pq.ParquetFile(path) as file:
      ids = file.read(["id"])["id"].to_pylist()
    hashes.append(np.fromiter((hash(name) for name in ids), np.int64, len(ids)))
  every = np.concatenate(hashes) if hashes else np.zeros(0, np.int64)
  return len(np.unique(every)) == len(every)
