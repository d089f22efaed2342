"""What decides: filters, then duplicates, then the rule on what is left. Exactly, or by sketches.

Each document gets a code: 0 where it is kept, else the number of the reason why not. The first
thing that a document fails at is its reason.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from datarater.curation.candidates import (
  BATCH_ROWS,
  Candidates,
  Domains,
  candidates_of,
  load_candidates,
  slices,
)
from datarater.curation.decisions import KEPT
from datarater.curation.filters import Filter
from datarater.curation.rules import NOT_A_NUMBER, Rule
from datarater.curation.tally import Tally, histogram_edges
from datarater.errors import InputError, require
from datarater.runtime.places import Place
from datarater.runtime.quantiles import QuantileSketch

DUPLICATE_REASONS = {"exact": "exact duplicate", "minhash": "near duplicate"}
BYTES_A_DOCUMENT = 100
"""What deciding exactly takes at most, beside ids, whatever the rule; as much again for duplicates.
"""

Progress = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class Criteria:
  """rating: the column judged. duplicates: None, `exact` or `minhash`, of least `similarity`."""

  rule: Rule
  rating: str
  filters: tuple[Filter, ...] = ()
  duplicates: str | None = None
  similarity: float = 0.8

  @property
  def reasons(self) -> tuple[str, ...]:
    """By code."""
    copies = [DUPLICATE_REASONS[self.duplicates]] if self.duplicates else []
    filtered = [each.reason for each in self.filters]
    return ("", NOT_A_NUMBER, *filtered, *copies, self.rule.reason)

  @property
  def filtered_columns(self) -> tuple[str, ...]:
    """Columns that the filters look at."""
    return tuple(dict.fromkeys(each.column for each in self.filters))

  @property
  def columns(self) -> tuple[str, ...]:
    """Columns of a side file that decide about a document by itself."""
    return tuple(dict.fromkeys(("id", self.rating, "tokens", "domain", *self.filtered_columns)))

  def first_codes(self, table: pa.Table, ratings: np.ndarray) -> np.ndarray:
    """int16 [N] of rows of a side file: what is no number, what does not pass the filters."""
    codes = np.where(np.isnan(ratings), 1, KEPT).astype(np.int16)
    for code, each in enumerate(self.filters, 2):
      codes[(codes == KEPT) & ~each.passes(table)] = code
    return codes

  @property
  def last_code(self) -> int:
    """Of what the rule rejects."""
    return len(self.reasons) - 1


@dataclasses.dataclass(frozen=True)
class Exact:
  """Codes int16 of all N documents, and their counts. bounds: see `load_candidates`.

  columns: of the side files that `codes` looks at.
  """

  all_codes: np.ndarray
  bounds: np.ndarray
  tally: Tally
  columns: tuple[str, ...] = ()

  def codes(self, file: int, table: pa.Table, rows: slice) -> np.ndarray:
    """int16 [N] for these rows of the side file of this number."""
    del table
    start = self.bounds[file]
    return self.all_codes[start + rows.start : start + rows.stop]


def decide(
  criteria: Criteria, files: Sequence[Place], rows: Sequence[int], progress: Progress
) -> Exact:
  """Decides on all documents at once; InputError where they do not fit in memory.

  rows: how many each file has. progress: called with documents read since.
  """
  _require_memory(sum(rows), criteria.duplicates is not None)
  candidates, bounds = load_candidates(files, criteria.rating, progress, rows)
  codes = np.where(np.isnan(candidates.ratings), 1, KEPT).astype(np.int16)
  if criteria.filters:
    for part, table in slices(files, criteria.filtered_columns):
      codes[part] = criteria.first_codes(table, candidates.ratings[part])
  if criteria.duplicates is not None:
    from datarater.curation.duplicates import duplicate_reasons

    copies = duplicate_reasons(
      files,
      candidates.ratings,
      codes == KEPT,
      criteria.duplicates,  # type: ignore[arg-type]
      criteria.similarity,
      getattr(criteria.rule, "seed", 0),
    )
    codes[copies] = criteria.last_code - 1
  eligible = codes == KEPT
  keep = criteria.rule.keep(candidates.only(eligible))
  codes[eligible & ~keep] = criteria.last_code
  return Exact(codes, bounds, _tallied(criteria, candidates, codes))


def _tallied(criteria: Criteria, candidates: Candidates, codes: np.ndarray) -> Tally:
  sketch = QuantileSketch()
  parts = [slice(at, at + BATCH_ROWS) for at in range(0, len(codes), BATCH_ROWS)]
  for part in parts:
    ratings = candidates.ratings[part]
    sketch.add(ratings[np.isfinite(ratings)])
  tally = Tally(criteria.reasons, histogram_edges(sketch))
  for part in parts:
    tally.add(candidates.part(part), codes[part])
  return tally


def _require_memory(documents: int, duplicates: bool) -> None:
  need = documents * BYTES_A_DOCUMENT * (1 + duplicates)
  free = psutil.virtual_memory().available
  require(
    need <= free,
    f"deciding exactly on {documents:,} documents takes {need / 2**30:.1f} GiB of memory, of which "
    f"{free / 2**30:.1f} are free; give --approximate"
    + (" (without duplicates, which need all at once)" if duplicates else ", or free memory"),
  )


class Approximate:
  """Decides document by document, by sketches of all ratings; memory does not grow with them.

  Each file's codes are asked for once, in order: they are counted as they come. columns: of the
  side files that `codes` looks at.
  """

  def __init__(self, criteria: Criteria, files: Sequence[Place], progress: Progress):
    self._criteria, self.columns = criteria, criteria.columns
    self._domains = Domains()
    sketches, everything = self._sketched(files, progress)
    rule: Any = criteria.rule
    self._rule = rule.approximate(sketches)
    self._sketches = sketches
    self.tally = Tally(criteria.reasons, histogram_edges(everything))

  def _sketched(
    self, files: Sequence[Place], progress: Progress
  ) -> tuple[dict[str | None, QuantileSketch], QuantileSketch]:
    """(of the eligible ratings, by domain where the rule wants it; of all that are finite)."""
    criteria = self._criteria
    by_domain = getattr(criteria.rule, "by_domain", False)
    everything = QuantileSketch()
    sketches: dict[str | None, QuantileSketch] = {} if by_domain else {None: QuantileSketch()}
    columns = dict.fromkeys((criteria.rating, "domain", *criteria.filtered_columns))
    for _, table in slices(files, list(columns)):
      ratings = table[criteria.rating].to_numpy()
      everything.add(ratings[np.isfinite(ratings)])
      eligible = criteria.first_codes(table, ratings) == KEPT
      if by_domain:
        codes = self._domains.codes(table["domain"])
        for code in np.unique(codes):
          sketch = sketches.setdefault(self._domains.names[code], QuantileSketch())
          sketch.add(ratings[eligible & (codes == code)])
      else:
        sketches[None].add(ratings[eligible])
      progress(len(table))
    return sketches, everything

  def codes(self, file: int, table: pa.Table, rows: slice) -> np.ndarray:
    """int16 [N] for these rows of a side file."""
    del file, rows
    part = candidates_of(table, self._criteria.rating, self._domains)
    codes = self._criteria.first_codes(table, part.ratings)
    eligible = codes == KEPT
    codes[eligible & ~self._rule.keep(part.only(eligible))] = self._criteria.last_code
    self.tally.add(part, codes)
    return codes

  def errors(self) -> dict[str, Any]:
    """The most by which ranks can be off, as a fraction of the ratings: in all, or by domain."""
    if None in self._sketches:
      return {"rank_error": self._sketches[None].error}
    return {"rank_error": {str(name): s.error for name, s in sorted(self._sketches.items())}}  # type: ignore[type-var]


def require_approximate(criteria: Criteria) -> None:
  """Raises InputError where these criteria need all documents at once."""
  if criteria.duplicates is not None:
    raise InputError(
      "approximate selection looks at one document at a time and finds no duplicates; "
      "leave one of the two out"
    )
  kind = criteria.rule.as_config().get("kind", type(criteria.rule).__name__)
  require(
    hasattr(criteria.rule, "approximate"),
    f"rule {kind!r} needs all documents at once; leave --approximate out, or give a discard "
    "fraction, a threshold or the pointwise rule",
  )
