"""Looking into a rated corpus: how ratings are spread, overall and by domain, and what they rate.

    inspection = inspect("ratings", "corpus/*.jsonl.zst", at=(0, 0.5, 1))
    show(inspection, Console())                       # report/inspect_views.py
    write_inspection(inspection, "inspection.html")

Columns are read alone, and texts only of the documents shown: at most some 60 bytes a document in
memory.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from datarater.curation.candidates import (
  UNKNOWN,
  Candidates,
  load_candidates,
  open_side,
  resolve_rating,
  rows_of,
)
from datarater.curation.ratings import SIGNAL, read_run, scored_shards, side_path
from datarater.errors import require
from datarater.report.excerpts import Document, Inputs, Scored, bar, read_documents
from datarater.runtime.places import Place, place

AT = (0.0, 0.1, 0.5, 0.9, 1.0)
PROBABILITIES = tuple(i / 20 for i in range(21))
"""Where quantiles are taken."""

BINS = 60
MOST_DOMAINS = 20
"""Domains with a row of their own, the largest; those that were asked for besides."""

_NEAR = 1e-3
"""Ratings closer than this share of their 98% range are nearly equal: the cheapest to read wins."""

_OPENING = 4096
_BLOCK = 256
"""Rows that reading a further shard costs, and rows that cost as much as one."""


@dataclasses.dataclass(frozen=True)
class Spread:
  """Ratings of a domain, or of all. tokens: None where unknown. unrated: NaN.

  quantiles: float64, at `PROBABILITIES`; empty where nothing is rated.
  """

  name: str
  documents: int
  unrated: int
  tokens: int | None
  mean: float
  quantiles: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Excerpt(Document):
  """A document with what is known of it. tokens: None if unknown."""

  rating: float
  domain: str
  tokens: int | None


@dataclasses.dataclass(frozen=True)
class Group:
  """The documents rated nearest to `target`, the best first.

  quantile: where that is, or None where the rating itself was asked for. domain: empty for all.
  """

  target: float
  quantile: float | None
  domain: str
  excerpts: tuple[Excerpt, ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
  """What there is to see. edges: B+1 of the histogram; counts: [B], the ends hold what lies beyond.

  column: of ratings. scorer: its name. groups: empty without `inputs`.
  """

  folder: str
  column: str
  scorer: str
  overall: Spread
  domains: tuple[Spread, ...]
  domains_left_out: int
  edges: tuple[float, ...]
  counts: tuple[int, ...]
  groups: tuple[Group, ...]
  with_texts: bool


def inspect(
  ratings: str | Place,
  inputs: Inputs | None = None,
  *,
  at: Sequence[float] = AT,
  rating: float | None = None,
  domains: Sequence[str] = (),
  excerpts: int = 3,
  column: str = "rating",
  width: int = 240,
  quiet: bool = False,
) -> Inspection:
  """Looks into a finished ratings folder.

  inputs: the corpus that was rated, for excerpts; None: without them. at: quantiles whose documents
  are shown, each in [0, 1]. rating: show those nearest to this rating instead. domains: show those
  of each of these domains instead of all. excerpts: documents at each place. column: a scorer's
  name, its column, or a `signal_NAME`. width: most characters of a text. quiet: no progress bar.
  Among documents of nearly equal rating, those are shown that are quickest to reach. Raises
  InputError for what is not there.
  """
  for value in at:
    require(0.0 <= value <= 1.0, f"quantile is {value}; give numbers from 0 to 1")
  require(rating is None or math.isfinite(rating), f"rating is {rating}; give a finite number")
  require(excerpts >= 1, f"excerpts is {excerpts}; give 1 or more")
  require(width >= 1, f"width is {width}; give 1 or more characters")
  folder = place(ratings)
  run, names = read_run(folder), scored_shards(folder)
  require(bool(names), f"ratings folder {str(folder)!r} has no documents; score some")
  paths = [side_path(folder, name) for name in names]
  column = _column(paths[0], column)
  total = sum(map(rows_of, paths))
  with bar(total, "reading ratings", "documents", quiet) as progress:
    corpus, bounds = load_candidates(paths, column, progress)
  codes = [_code(corpus, name) for name in domains]
  spreads, left_out = _by_domain(corpus, codes)
  edges, counts = _histogram(corpus.ratings)
  groups: tuple[Group, ...] = ()
  if inputs is not None:
    wanted = list(_choose(corpus, bounds, codes, at, rating, excerpts))
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows for *_, rows in wanted)]))
    found = read_documents(Scored(run, names, paths, bounds), rows, inputs, width, quiet)
    groups = tuple(
      Group(
        target,
        quantile,
        "" if code is None else corpus.domains[code],
        tuple(_excerpt(corpus, row, found[row]) for row in rows.tolist()),
      )
      for target, quantile, code, rows in wanted
    )
  return Inspection(
    str(folder),
    column,
    _scorer(run, column),
    _spread("all", corpus, np.ones(len(corpus), bool)),
    spreads,
    left_out,
    edges,
    counts,
    groups,
    inputs is not None,
  )


def _column(path: Place, name: str) -> str:
  with open_side(path) as file:
    names = file.schema_arrow.names
  if name.startswith(SIGNAL):
    require(
      name in names,
      f"column {name!r} is not in the side files ({', '.join(names)}); score with --signals",
    )
    return name
  return resolve_rating(names, name)


def _scorer(run: dict[str, Any], column: str) -> str:
  """The name of the scorer behind a column; the first one's is `rating`."""
  if column.startswith(SIGNAL):
    return column
  scorers = list(run.get("scorers") or {})
  return scorers[0] if column == "rating" and scorers else column.removeprefix("rating_")


def _code(corpus: Candidates, name: str) -> int:
  known = ", ".join(repr(domain) for domain in sorted(corpus.domains)[:MOST_DOMAINS])
  require(name in corpus.domains, f"domain {name!r} is not in the ratings; there are: {known}")
  return corpus.domains.index(name)


def _by_domain(corpus: Candidates, codes: Sequence[int]) -> tuple[tuple[Spread, ...], int]:
  """(the spreads of the largest domains and those of `codes`, how many are left out)."""
  sizes = np.bincount(corpus.domain, minlength=len(corpus.domains))
  order = sorted(range(len(sizes)), key=lambda code: (-sizes[code], corpus.domains[code]))
  shown = [*order[:MOST_DOMAINS], *(code for code in codes if code in order[MOST_DOMAINS:])]
  spreads = [_spread(corpus.domains[code], corpus, corpus.domain == code) for code in shown]
  return tuple(spreads), len(order) - len(shown)


def _spread(name: str, corpus: Candidates, mask: np.ndarray) -> Spread:
  ratings, tokens = corpus.ratings[mask], corpus.tokens[mask]
  rated = ratings[~np.isnan(ratings)].astype(np.float64)
  with np.errstate(invalid="ignore"):  # infinite ratings
    quantiles = np.quantile(rated, PROBABILITIES).tolist() if len(rated) else []
    mean = float(rated.mean()) if len(rated) else math.nan
  known = bool(len(tokens)) and bool((tokens != UNKNOWN).all())
  total = int(tokens.sum(dtype=np.int64)) if known else None
  return Spread(name, len(ratings), len(ratings) - len(rated), total, mean, tuple(quantiles))


def _histogram(ratings: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
  """(edges [BINS+1], counts [BINS]) between the 0.1% and 99.9% quantiles."""
  values = ratings[np.isfinite(ratings)].astype(np.float64)
  if not len(values):
    return (), ()
  low, high = np.quantile(values, [0.001, 0.999]).tolist()
  pad = 0.0 if high > low else max(abs(low), 1.0) * 1e-3
  edges = np.linspace(low - pad, high + pad, BINS + 1)
  counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
  return tuple(edges.tolist()), tuple(counts.tolist())


def _choose(
  corpus: Candidates,
  bounds: np.ndarray,
  codes: Sequence[int],
  at: Sequence[float],
  rating: float | None,
  number: int,
) -> Iterator[tuple[float, float | None, int | None, np.ndarray]]:
  """(target, its quantile, domain, documents from the best rated down) of each group."""
  reached = np.full(len(bounds) - 1, -1)  # the last row of each shard that is read anyway
  for code in codes or [None]:
    mask = ~np.isnan(corpus.ratings)
    members = np.flatnonzero(mask if code is None else mask & (corpus.domain == code))
    if not len(members):
      continue
    values = corpus.ratings[members].astype(np.float64)
    finite = values[np.isfinite(values)]
    range_98 = np.subtract(*np.quantile(finite, [0.99, 0.01])) if len(finite) else 0.0
    for quantile in [None] if rating is not None else at:
      target = rating if quantile is None else np.quantile(values, quantile, method="nearest")
      assert target is not None
      near = members[_nearest(values, float(target), number, _NEAR * float(range_98))]
      rows = _quickest(near, bounds, reached, number)
      yield float(target), quantile, code, rows[np.argsort(-corpus.ratings[rows], kind="stable")]


def _nearest(values: np.ndarray, target: float, number: int, tolerance: float) -> np.ndarray:
  """Positions of the values within the tolerance, but at least of the `number` nearest."""
  with np.errstate(invalid="ignore"):  # infinite ratings
    distance = np.where(values == target, 0.0, np.abs(values - target))
  if number < len(distance):
    tolerance = max(tolerance, float(np.partition(distance, number - 1)[number - 1]))
    return np.flatnonzero(distance <= tolerance)
  return np.arange(len(distance))


def _quickest(near: np.ndarray, bounds: np.ndarray, reached: np.ndarray, number: int) -> np.ndarray:
  """Of these documents the ones that cost the fewest rows more to read; updates `reached`."""
  shard = np.searchsorted(bounds, near, "right") - 1
  row = near - bounds[shard]
  more = np.maximum(row - reached[shard], 0) + np.where(reached[shard] < 0, _OPENING, 0)
  order = np.lexsort((near, more // _BLOCK))[:number]
  np.maximum.at(reached, shard[order], row[order])
  return near[order]


def _excerpt(corpus: Candidates, at: int, document: Document) -> Excerpt:
  tokens = int(corpus.tokens[at])
  return Excerpt(
    **dataclasses.asdict(document),
    rating=float(corpus.ratings[at]),
    domain=corpus.domains[corpus.domain[at]],
    tokens=None if tokens == UNKNOWN else tokens,
  )
