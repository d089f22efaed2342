"""Copies: which documents repeat a better rated one, exactly or nearly, told from side files alone.

Exact copies have one digest. Near-copies have similar MinHashes: an index of `datasketch` gives the
documents that share a band of values (locality-sensitive hashing, Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, chapter 3), and of those the ones whose estimated Jaccard similarity is
high enough count. Documents are gone through from the best rated down, and compared only with those
kept before: A like B and B like C never removes C for a B that is itself gone.

The bands are chosen by `datasketch` for the similarity asked for, with a missed pair weighing nine
times a false candidate, which is thrown out anyway. At a similarity of 0.8 that is 14 bands of 9
values: a pair at 0.8 is found with probability 0.87, at 0.9 with 0.999.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from datarater.curation.candidates import IdsInFiles, open_side, rows_of, side_batches
from datarater.curation.ratings import DIGEST, MINHASH
from datarater.data.fingerprints import PERMUTATIONS, import_datasketch, signature
from datarater.errors import require
from datarater.runtime.places import Place

Kind = Literal["exact", "minhash"]

_WEIGHTS = (0.1, 0.9)  # of false candidates, of missed pairs
_MOST_SIMILAR = 0.99  # above it the library finds no two bands; they serve for equality too
_BAND_SEED = 0x0DDBA11
_STORED = np.dtype("<u4")


def duplicate_reasons(
  side_files: Sequence[Place],
  ratings: np.ndarray,
  eligible: np.ndarray,
  kind: Kind,
  similarity: float = 0.8,
  seed: int = 0,
) -> np.ndarray:
  """bool[N]: whether a document is a copy of a better rated one; both eligible.

  side_files: with N rows in all. ratings: float32[N] in their order; NaN is below all numbers, and
  a hash of the id decides among equals, so that the order of files does not matter. eligible:
  bool[N], the documents that take part. kind: `exact`, equal texts, or `minhash`, an estimated
  Jaccard similarity of word 5-grams of at least `similarity`.

  Memory: exact, some 40 bytes a document. MinHash, 4 bytes a document and band (56 at 0.8), half a
  kilobyte for each that shares a band with another, 4 kB more for each of those that stays.
  Raises InputError for side files without fingerprints, and for a similarity outside (0, 1].
  """
  require(
    0.0 < similarity <= 1.0,
    f"similarity is {similarity}; give a number above 0, up to 1",
  )
  corpus = _Corpus(side_files, ratings, np.flatnonzero(eligible), seed)
  copies = np.zeros(len(ratings), bool)
  rows = _exact_copies(corpus) if kind == "exact" else _near_copies(corpus, similarity)
  copies[rows] = True
  return copies


class _Corpus:
  """The documents that take part: `rows`, rising positions among all rows of the side files."""

  def __init__(self, side_files: Sequence[Place], ratings: np.ndarray, rows: np.ndarray, seed: int):
    self.rows, self._files, self._ratings, self._seed = rows, side_files, ratings, seed
    self._bounds = np.cumsum([0, *map(rows_of, side_files)])
    if self._bounds[-1] != len(ratings):
      raise ValueError(f"{len(ratings)} ratings for side files of {self._bounds[-1]} rows")

  def read(
    self, column: str, dtype: np.dtype | type, width: int, rows: np.ndarray
  ) -> Iterator[tuple[slice, np.ndarray]]:
    """Pairs of a slice of `rows` (rising) and the column there, [M, width] of `dtype`."""
    for path, start in zip(self._files, self._bounds[:-1].tolist(), strict=True):
      _require_column(path, column, np.dtype(dtype).itemsize * width)
      for table in side_batches(path, [column]):
        low, high = np.searchsorted(rows, [start, start + len(table)])
        if high > low:
          values = _as_numbers(table[column].combine_chunks(), dtype, width)
          yield slice(low, high), values[rows[low:high] - start]
        start += len(table)

  def best_first(self, rows: np.ndarray) -> np.ndarray:
    """These rows, rising, from the best rated down."""
    hashes = IdsInFiles(tuple(self._files), self._bounds)(rows, self._seed, "copies")
    ratings = self._ratings[rows]
    return rows[np.lexsort((hashes, -ratings))]  # NaN sorts last


def _exact_copies(corpus: _Corpus) -> np.ndarray:
  """Rows with the digest of a better rated one."""
  digests = np.empty((len(corpus.rows), 2), np.uint64)
  for part, values in corpus.read(DIGEST, np.uint64, 2, corpus.rows):
    digests[part] = values
  # Ids are hashed only where the first halves meet: most documents are alone.
  some = np.flatnonzero(_shared(digests[:, 0]))
  rows = corpus.best_first(corpus.rows[some])
  high, low = digests[np.searchsorted(corpus.rows, rows)].T
  order = np.lexsort((low, high))  # stable: the best of a group stays its first
  same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
  return rows[order[1:][same]]


def _near_copies(corpus: _Corpus, similarity: float) -> np.ndarray:
  """Rows that are like a better rated one that stays."""
  index = import_datasketch().MinHashLSH(
    min(similarity, _MOST_SIMILAR), PERMUTATIONS, weights=_WEIGHTS
  )
  rows = corpus.best_first(corpus.rows[_share_a_band(corpus, index.hashranges)])
  places = np.sort(rows)
  minhashes = np.empty((len(rows), PERMUTATIONS), np.uint32)
  for part, values in corpus.read(MINHASH, _STORED, PERMUTATIONS, places):
    minhashes[part] = values
  least = np.ceil(similarity * PERMUTATIONS - 1e-9)  # 0.07 * 100 is above 7
  copies = []
  for row, at in zip(rows.tolist(), np.searchsorted(places, rows).tolist(), strict=True):
    sketch = signature(minhashes[at])
    kept = index.query(sketch)
    if kept and ((minhashes[kept] == minhashes[at]).sum(axis=1) >= least).any():
      copies.append(row)
    else:
      index.insert(at, sketch, check_duplication=False)
  return np.array(copies, np.int64)


def _share_a_band(corpus: _Corpus, bands: Sequence[tuple[int, int]]) -> np.ndarray:
  """bool, one a row of the corpus: whether another may have the same values in one of the bands.

  The index costs kilobytes a document, so those that share no band stay out of it. Bands are told
  apart by 32 bits of a multilinear hash; a chance meeting only costs a document's time.
  """
  factors = np.random.default_rng(_BAND_SEED).integers(0, 2**64, PERMUTATIONS, np.uint64)
  hashes = np.empty((len(bands), len(corpus.rows)), np.uint32)
  for part, values in corpus.read(MINHASH, _STORED, PERMUTATIONS, corpus.rows):
    products = values * factors
    for band, (start, stop) in enumerate(bands):
      hashes[band, part] = products[:, start:stop].sum(axis=1) >> np.uint64(32)
  shared = np.zeros(len(corpus.rows), bool)
  for band in hashes:
    shared |= _shared(band)
  return shared


def _shared(values: np.ndarray) -> np.ndarray:
  """bool[N]: whether a value occurs more than once."""
  order = np.argsort(values)
  same = values[order[1:]] == values[order[:-1]]
  shared = np.zeros(len(values), bool)
  shared[order[1:][same]] = True
  shared[order[:-1][same]] = True
  return shared


def _require_column(path: Place, column: str, size: int) -> None:
  with open_side(path) as file:
    schema = file.schema_arrow
  found = str(schema.field(column).type) if column in schema.names else "missing"
  require(
    found == str(pa.binary(size)),
    f"column {column!r} of side file {str(path)!r} is {found}; score the corpus again with "
    "--fingerprints",
  )


def _as_numbers(column: pa.Array, dtype: np.dtype | type, width: int) -> np.ndarray:
  """[N, width] of a binary column of fixed size; a view."""
  require(
    column.null_count == 0,
    f"{column.null_count} documents have no fingerprint; score the corpus again with "
    "--fingerprints",
  )
  values = np.frombuffer(column.buffers()[1], dtype)
  return values[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)
