"""Candidates: what a rule sees of a corpus, as arrays, read from side files column by column.

Some 13 bytes a document stay in memory. Ids are the bulk of a side file and hardly ever needed:
they are read again, row group by row group, where a rule draws (`Candidates.draws`).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datarater.curation.counts import NO_DOMAIN
from datarater.curation.ranks import Draws, Ids
from datarater.curation.ratings import RATING, rating_column, side_errors
from datarater.errors import InputError
from datarater.runtime.places import Place, open_binary
from datarater.scorers.random import uniform_hash

UNKNOWN = -1
"""Tokens of a document that nobody counted."""

BATCH_ROWS = 1 << 16


class Draw(Protocol):
  """What gives documents their numbers in [0, 1)."""

  def __call__(self, at: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """float64 [M], hashes of the ids of the documents at `at` [M], rising indices."""
    ...


@dataclasses.dataclass(frozen=True)
class Candidates:
  """N documents to choose from.

  ratings: float32[N]; NaN: cannot be chosen. tokens: int32[N], UNKNOWN where nobody counted.
  domain: int32[N], index into `domains`, the names (documents without one are of `NO_DOMAIN`).
  """

  ratings: np.ndarray
  tokens: np.ndarray
  domain: np.ndarray
  domains: tuple[str, ...]
  draw: Draw

  def __len__(self) -> int:
    return len(self.ratings)

  @classmethod
  def of(
    cls,
    ratings: np.ndarray,
    ids: Ids,
    tokens: Sequence[int] | np.ndarray | None = None,
    domains: Sequence[str | None] | None = None,
  ) -> "Candidates":
    """Documents whose columns are at hand."""
    names: dict[str, int] = {}
    given = [NO_DOMAIN] * len(ratings) if domains is None else domains
    codes = [names.setdefault(name or NO_DOMAIN, len(names)) for name in given]
    known = np.full(len(ratings), UNKNOWN) if tokens is None else np.asarray(tokens)
    return cls(
      ratings, known.astype(np.int32), np.array(codes, np.int32), tuple(names), IdsAtHand(ids)
    )

  def draws(self, seed: int, purpose: str) -> Draws:
    """The documents' numbers for one purpose: the same whatever their order and number."""
    return lambda at: self.draw(at, seed, purpose)

  def part(self, rows: slice) -> "Candidates":
    """Some of them, for counting; their draws are no longer theirs."""
    own = {name: getattr(self, name)[rows] for name in ("ratings", "tokens", "domain")}
    return dataclasses.replace(self, **own)

  def only(self, eligible: np.ndarray) -> "Candidates":
    """The same documents, of which those that are not eligible (bool[N]) cannot be chosen."""
    ratings = np.where(eligible, self.ratings, np.float32(np.nan))
    return dataclasses.replace(self, ratings=ratings)


@dataclasses.dataclass(frozen=True)
class IdsAtHand:
  """Draws by ids in memory: strings, or an Arrow array of them."""

  ids: Any

  def __call__(self, at: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    if isinstance(self.ids, pa.Array | pa.ChunkedArray):
      return uniform_hash(self.ids.take(pa.array(at)).to_pylist(), seed, purpose)
    return uniform_hash([str(self.ids[i]) for i in at], seed, purpose)


@dataclasses.dataclass(frozen=True)
class IdsInFiles:
  """Draws by ids in side files, of which only the row groups concerned are read.

  bounds: int64 [files + 1], the index of each file's first document, and how many there are.
  """

  paths: tuple[Place, ...]
  bounds: np.ndarray

  def __call__(self, at: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    found = [
      uniform_hash(names, seed, purpose)
      for path, rows in self._by_file(at)
      for names in _ids_at(path, rows)
    ]
    return np.concatenate(found) if found else np.zeros(0)

  def _by_file(self, at: np.ndarray) -> Iterator[tuple[Place, np.ndarray]]:
    edges = np.searchsorted(at, self.bounds)
    for path, first, start, stop in zip(
      self.paths, self.bounds[:-1], edges[:-1], edges[1:], strict=True
    ):
      if stop > start:
        yield path, at[start:stop] - first


def _ids_at(path: Place, rows: np.ndarray) -> Iterator[list[str]]:
  """Ids of these rows of a side file, rising, a row group at a time."""
  with open_side(path) as file:
    start = 0
    for group in range(file.num_row_groups):
      stop = start + file.metadata.row_group(group).num_rows
      within = rows[slice(*np.searchsorted(rows, [start, stop]))]
      if len(within):
        ids = file.read_row_group(group, columns=["id"])["id"]
        if len(within) < stop - start:
          ids = ids.take(pa.array(within - start))
        yield ids.to_pylist()
      start = stop


@contextlib.contextmanager
def open_side(path: Place, encoded: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
  """A side file; what is missing or foreign raises InputError.

  encoded: columns of strings that are read as dictionaries.
  """
  with (
    side_errors(path),
    open_binary(path) as stream,
    pq.ParquetFile(stream, read_dictionary=list(encoded)) as file,
  ):
    yield file


def side_batches(path: Place, columns: Sequence[str]) -> Iterator[pa.Table]:
  """Rows of a side file with these columns, BATCH_ROWS at most at a time; domains encoded."""
  with open_side(path, [name for name in columns if name == "domain"]) as file:
    for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
      yield pa.Table.from_batches([batch])


def slices(paths: Sequence[Place], columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
  """`side_batches` of one file after the other, each with its place among all their rows."""
  at = 0
  for path in paths:
    for table in side_batches(path, columns):
      yield slice(at, at + len(table)), table
      at += len(table)


def resolve_rating(names: Sequence[str], rating: str) -> str:
  """The column of ratings that is meant: `rating`, or a scorer's name with or without `rating_`."""
  columns = [name for name in names if name == RATING or name.startswith(f"{RATING}_")]
  for name in (rating, rating_column(rating)):
    if name in columns:
      return name
  known = ", ".join(name.removeprefix(f"{RATING}_") for name in columns)
  raise InputError(f"ratings by {rating!r} are not in the side files; there are: {known}")


class Domains:
  """Numbers the names of domains as they come."""

  def __init__(self) -> None:
    self._codes: dict[str, int] = {}

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(self._codes)

  def codes(self, column: pa.ChunkedArray) -> np.ndarray:
    """int32 [N] of a column of names, dictionary-encoded or not."""
    parts = [np.zeros(0, np.int32)]
    for chunk in column.chunks:
      array = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
      names = [*(name or NO_DOMAIN for name in array.dictionary.to_pylist()), NO_DOMAIN]
      indices = pc.fill_null(array.indices, len(names) - 1).to_numpy(zero_copy_only=False)
      used = np.unique(indices)
      table = np.zeros(len(names), np.int32)
      table[used] = [self._codes.setdefault(names[i], len(self._codes)) for i in used]
      parts.append(table[indices])
    return np.concatenate(parts)


def candidates_of(table: pa.Table, rating: str, domains: Domains) -> Candidates:
  """Rows of a side file, ids and all."""
  codes = domains.codes(table["domain"])
  return Candidates(
    table[rating].to_numpy(),
    pc.fill_null(table["tokens"], UNKNOWN).to_numpy(),
    codes,
    domains.names,
    IdsAtHand(table["id"]),
  )


def load_candidates(
  paths: Sequence[Place],
  rating: str,
  progress: Callable[[int], object] | None = None,
  rows: Sequence[int] | None = None,
) -> tuple[Candidates, np.ndarray]:
  """(all documents of the side files, bounds int64 [files + 1] of each file's).

  rating: column. progress: called with documents read since. rows: how many each file has, if that
  is known.
  """
  rows = [rows_of(path) for path in paths] if rows is None else rows
  bounds = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
  ratings, tokens, domain = (
    np.empty(bounds[-1], kind) for kind in (np.float32, np.int32, np.int32)
  )
  domains = Domains()
  for part, table in slices(paths, [rating, "tokens", "domain"]):
    ratings[part] = table[rating].to_numpy()
    tokens[part] = pc.fill_null(table["tokens"], UNKNOWN).to_numpy()
    domain[part] = domains.codes(table["domain"])
    if progress:
      progress(len(table))
  draw = IdsInFiles(tuple(paths), bounds)
  return Candidates(ratings, tokens, domain, domains.names, draw), bounds


def rows_of(path: Place) -> int:
  """Documents of a side file."""
  with open_side(path) as file:
    return file.metadata.num_rows
