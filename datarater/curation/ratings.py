"""Ratings are data: side files in Parquet beside the corpus, one a shard, each whole or absent.

    DIR/run.json                 scorers, settings, inputs, schema version
    DIR/ratings/SHARD.parquet    id, shard, row, rating, tokens, domain, flags; a row a document;
                                 and what was asked for: rating_NAME, digest, minhash, signal_NAME
    DIR/rejected/SHARD.jsonl     what could not be read: row, reason, and the raw text
    DIR/progress/                unfinished shards, block by block; gone when all are done
    DIR/scorer/                  the scorer, where `score` fitted one; DIR/gradients/, its store
    DIR/ratings_cdf.json         the distribution of each column of ratings
    DIR/stats.json               counts; written last, so its presence says that scoring is complete
    DIR/log.jsonl                what happened when

A side file carries the counts of its shard and a sketch of each column of ratings as metadata
(`datarater`, `datarater.sketches`, JSON).
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datarater.data.fingerprints import DIGEST_BYTES, PERMUTATIONS
from datarater.data.formats import id_base
from datarater.data.formats.records import FLAG_REPEATED
from datarater.data.signals import SIGNALS
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_path, explained, read_json
from datarater.runtime.places import Place
from datarater.runtime.quantiles import QuantileSketch

SCHEMA_VERSION = 2
RUN, STATS, REJECTED, SIDE = "run.json", "stats.json", "rejected", "ratings"
CDF = "ratings_cdf.json"
SCORER, GRADIENTS = "scorer", "gradients"
RATING, SIGNAL = "rating", "signal_"
DIGEST, MINHASH = "digest", "minhash"
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
Sketches = dict[str, QuantileSketch]
"""Of the finite ratings in each column."""

FLAG_NOT_A_NUMBER = "rating_not_a_number"

_METADATA, _SKETCHES = b"datarater", b"datarater.sketches"
_REPEATING = ["shard", "domain", "flags.list.element"]
"""Columns whose values repeat; of ids and hashes a dictionary costs time and saves nothing."""

_GROUP_ROWS = 1 << 16


def rating_column(name: str) -> str:
  """The column of a further scorer; that of the first is `rating`."""
  return f"{RATING}_{name}"


def side_schema(more_scorers: Sequence[str], signals: bool, fingerprints: bool) -> pa.Schema:
  """Columns of a side file; more_scorers: names of those beside the first."""
  fields = [pa.field(rating_column(name), pa.float32()) for name in more_scorers]
  if fingerprints:
    fields += [
      pa.field(DIGEST, pa.binary(DIGEST_BYTES)),
      pa.field(MINHASH, pa.binary(4 * PERMUTATIONS)),
    ]
  if signals:
    fields += [pa.field(SIGNAL + name, pa.float32()) for name in SIGNALS]
  return pa.schema([*SCHEMA, *fields])


def rating_columns(names: Sequence[str]) -> list[str]:
  """Those of the columns that are ratings."""
  return [name for name in names if name == RATING or name.startswith(f"{RATING}_")]


def side_path(folder: Place, shard: str) -> Place:
  """Where the ratings of a shard are."""
  return folder / SIDE / f"{shard}.parquet"


class SideWriter:
  """Appends blocks of rows, and at the end the shard's counts; bounded memory."""

  def __init__(self, path: Place, schema: pa.Schema):
    self._path, self._schema = path, schema
    self._pending: list[pa.Table] = []
    with explained(path):
      self._writer = pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=_REPEATING,  # type: ignore[arg-type] (a list is as good as a bool)
      )

  def add(self, **columns: Any) -> None:
    """One value a document for each column of the schema."""
    self.add_table(pa.table(columns, schema=self._schema))

  def add_table(self, table: pa.Table) -> None:
    """Rows of the schema."""
    self._pending.append(table)
    if sum(table.num_rows for table in self._pending) >= _GROUP_ROWS:
      self._flush()

  def finish(self, stats: dict[str, Any], sketches: Sketches | None = None) -> None:
    """stats: the counts. sketches: by column of ratings, where the file is a shard's last word."""
    self._flush()
    with explained(self._path):
      self._writer.add_key_value_metadata({_METADATA: json.dumps(stats).encode()})
      if sketches is not None:
        values = {name: sketch.as_json() for name, sketch in sketches.items()}
        self._writer.add_key_value_metadata({_SKETCHES: json.dumps(values).encode()})
      self._writer.close()

  def _flush(self) -> None:
    if self._pending:
      with explained(self._path):
        self._writer.write_table(pa.concat_tables(self._pending))
      self._pending = []


@contextlib.contextmanager
def open_side_file(path: Place, schema: pa.Schema = SCHEMA) -> Iterator[SideWriter]:
  """A `SideWriter` to a file that appears when the context ends well; call `finish` in it."""
  with atomic_path(path) as partial:
    yield SideWriter(partial, schema)


def read_side_file(path: Place) -> tuple[pa.Table, dict[str, Any]]:
  """(rows, counts of the shard); a missing or foreign file raises InputError."""
  # Not read_table: it takes a folder called `a=b` in the path for a column.
  with side_errors(path), path.open("rb") as stream, pq.ParquetFile(stream) as file:
    return file.read(), json.loads(file.metadata.metadata[_METADATA])


def read_side_stats(path: Place) -> dict[str, Any]:
  """The counts of the shard alone."""
  with side_errors(path), path.open("rb") as stream:
    return json.loads(pq.read_metadata(stream).metadata[_METADATA])


def read_sketches(path: Place) -> Sketches:
  """The distribution of each column of ratings of a shard."""
  with side_errors(path), path.open("rb") as stream:
    values = json.loads(pq.read_metadata(stream).metadata[_SKETCHES])
    return {name: QuantileSketch.from_json(value) for name, value in values.items()}


@contextlib.contextmanager
def side_errors(path: Place) -> Iterator[None]:
  try:
    yield
  except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"side file {str(path)!r} cannot be read ({error}); delete it and run the command "
      "that wrote it"
    ) from error


def read_run(folder: Place) -> dict[str, Any]:
  """`run.json` of a finished scoring run; unfinished, newer or other folders raise InputError."""
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


def scored_shards(folder: Place) -> list[str]:
  """Shards that have a side file, in order. A run with a limit may not have reached all inputs."""
  return [name for name in read_run(folder)["inputs"] if side_path(folder, name).exists()]


def make_ids_unique(folder: Place, names: Sequence[str]) -> None:
  """Numbers ids that several documents share, in the order of shards and rows.

  The first with an id keeps it, the next ones become `id~1`, `id~2`, flagged; equal texts that
  have none become `hash-0`, `hash-1`. It starts from what the ids were at first, so doing it
  again, or the rest of it after a kill, changes nothing more. Memory: 8 bytes a document, twice.
  """
  paths = [side_path(folder, name) for name in names]
  hashes = [_first_hashes(path) for path in paths]
  every = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
  shared = np.unique(every[1:][every[1:] == every[:-1]])
  taken: set[str] = set()
  following: dict[str, int] = {}

  def free(name: str) -> bool:
    if name in taken:
      return False
    (value,) = _hashes([name])
    at = np.searchsorted(every, value)
    return at == len(every) or every[at] != value

  def unique(first: str, derived: bool) -> str:
    if first not in taken:
      taken.add(first)
      return first
    stem = first.removesuffix("0") if derived else f"{first}~"
    number = following.get(stem, 1)
    while not free(f"{stem}{number}"):
      number += 1
    following[stem] = number + 1
    taken.add(f"{stem}{number}")
    return f"{stem}{number}"

  for path, values in zip(paths, hashes, strict=True):
    rows = np.flatnonzero(np.isin(values, shared))
    if len(rows):
      _rename(path, {int(row) for row in rows}, unique)


def _rename(path: Place, rows: set[int], unique: Callable[[str, bool], str]) -> None:
  """Gives these rows of a side file the ids that `unique` makes of their first ones."""
  table, stats = read_side_file(path)
  ids, flags = table["id"].to_pylist(), table["flags"].to_pylist()
  changed = False
  for row, (first, derived) in enumerate(_first_names(path)):
    if row not in rows:
      continue
    new = unique(first, derived)
    changed |= new != ids[row]
    ids[row] = new
    others = [mark for mark in flags[row] if mark != FLAG_REPEATED]
    flags[row] = others if derived or new == first else [FLAG_REPEATED, *others]
  if changed:
    columns = {column: table[column] for column in table.schema.names}
    columns |= {"id": ids, "flags": flags}
    with open_side_file(path, table.schema) as writer:
      writer.add(**columns)
      writer.finish(stats, read_sketches(path))


def _first_names(path: Place) -> Iterator[tuple[str, bool]]:
  """(the id before it was made unique, whether it comes from the text) of each row."""
  with side_errors(path), path.open("rb") as stream, pq.ParquetFile(stream) as file:
    for batch in file.iter_batches(_GROUP_ROWS, columns=["id", "flags"]):
      for name, marks in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        if not marks:
          yield name, False
        else:
          base, derived = id_base(name, marks)
          yield f"{base}-0" if derived else base, derived


def _first_hashes(path: Place) -> np.ndarray:
  """uint64 of each row's first name; a part of the names in memory."""
  names = (first for first, _ in _first_names(path))
  parts = [np.zeros(0, np.uint64)]
  while part := list(itertools.islice(names, _GROUP_ROWS)):
    parts.append(_hashes(part))
  return np.concatenate(parts)


def _hashes(names: Sequence[str]) -> np.ndarray:
  digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
  return np.frombuffer(b"".join(digests), np.uint64)
