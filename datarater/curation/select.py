"""Select from a scored corpus: decisions from the side files alone, then the corpus divided.

    select("ratings", "curated", TopFraction(0.5), inputs="corpus/*.jsonl.zst")

    DIR/run.json             rule, filters, and what was decided on
    DIR/decisions/           a side file a shard (`decisions`)
    DIR/kept, DIR/rejected   the corpus, divided (`divide`); with `inputs` alone
    DIR/progress/            what is divided so far; gone when all is done
    DIR/stats.json           counts; written last, so its presence says that all is done

The same call again does what is missing; with another rule, ratings or inputs it is refused, and
the message names the difference.
"""

import collections
import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from tqdm import tqdm

from datarater.curation import ratings as side
from datarater.curation.candidates import open_side, resolve_rating, rows_of, slices
from datarater.curation.criteria import (
  DUPLICATE_REASONS,
  Approximate,
  Criteria,
  Exact,
  decide,
  require_approximate,
)
from datarater.curation.decisions import DecisionWriter, decision_path
from datarater.curation.divide import KEPT, DivideShard
from datarater.curation.engines import Engine, Stats, engine_of
from datarater.curation.filters import parse_filters
from datarater.curation.rules import Rule
from datarater.curation.run_folder import (
  PROGRESS,
  begun,
  check_run,
  remove_tree,
  require_same_inputs,
  with_bar,
)
from datarater.curation.selection_stats import selection_stats, with_divided
from datarater.curation.summary import select_table
from datarater.data.formats import (
  Shard,
  find_shards,
  fingerprint,
  finish_folder,
  input_places,
  output_kind,
  require_apart,
  shard_name,
)
from datarater.errors import require
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.places import Place, canonical, place
from datarater.runtime.run_folder import locked

Inputs = str | Path | Sequence[str | Path]
_MOST_THREADS = 4


def select(
  ratings: str | Path,
  output: str | Path,
  rule: Rule,
  *,
  inputs: Inputs | None = None,
  where: Sequence[str] = (),
  duplicates: str | None = None,
  similarity: float = 0.8,
  rating: str = "rating",
  engine: Engine | None = None,
  format: str | None = None,
  approximate: bool = False,
  dry_run: bool = False,
  quiet: bool = False,
) -> Stats:
  """Decides on every document of a scored corpus, and divides it into `kept/` and `rejected/`.

  ratings: the folder of a finished `score`. output: a new folder, or one that the same call has
    begun. rule: see `rules`; it judges what filters and duplicates leave.
  inputs: the corpus that was scored; None: decisions alone are written.
  where: conditions that documents must meet (`filters`). duplicates: of `exact` or near (`minhash`)
    copies only the best rated stays; similarity: least Jaccard similarity of near ones.
  rating: `rating`, or the name of another scorer. format: what kept and rejected are written as;
    None: as the input. engine: where the corpus is divided; None: in this process.
  approximate: cuts from sketches, whose error `stats.json` says, in memory that does not grow with
    the corpus. dry_run: nothing is written. quiet: no bars, no table.
  Returns the counts of `stats.json`: records, kept, rejected by reason, `before` and `after` by
  domain, the cut, a histogram.
  """
  folder, target = place(ratings), place(output)
  scored = side.read_run(folder)
  names = side.scored_shards(folder)
  files = [side.side_path(folder, name) for name in names]
  criteria = _criteria(files, rule, where, duplicates, similarity, rating)
  if approximate:
    require_approximate(criteria)
  corpus = None if inputs is None else _corpus(inputs, target, folder, scored, names, format)
  require(
    format is None or corpus is not None, f"format is {format!r} without inputs to write; give both"
  )
  deciding = _Deciding(criteria, names, files, approximate, quiet)
  if dry_run:
    stats = deciding.finish(deciding.decide(), None)
    return _said(stats, quiet, "would be selected; nothing was written")
  require_apart(target, [canonical(folder)], "ratings")
  run = {
    "kind": "selection",
    "schema_version": side.SCHEMA_VERSION,
    **_settings(criteria, approximate),
    "divided": corpus and (corpus.kind or "as the input"),
    "scorers": scored["scorers"],
    "ratings": {name: fingerprint(path) for name, path in zip(names, files, strict=True)},
    "settings": scored["settings"],
    "inputs": scored["inputs"],
  }
  check_run(target, run)
  if (target / side.STATS).exists():
    return _said(read_json(target / side.STATS, "counts of the selection"), quiet)
  decided = deciding.decide()  # what it refuses must leave no folder behind
  with locked(target), begun(target, run, "selecting"):
    stats = deciding.finish(decided, target)
    if corpus is not None:
      divided = corpus.divide(folder, target, scored["settings"], engine, quiet)
      stats = with_divided(stats, divided) | {"shards_not_scored": corpus.unscored}
    write_json(target / side.STATS, stats)
    remove_tree(target / PROGRESS)
    return _said(stats, quiet)


@dataclasses.dataclass(frozen=True)
class _Corpus:
  """What is divided. shards: those that were scored. kind: of the files written, `output_kind`.

  unscored: how many more shards the input has, where scoring had a limit.
  """

  shards: Sequence[Shard]
  kind: str | None
  unscored: int

  def divide(
    self,
    ratings: Place,
    output: Place,
    settings: dict[str, Any],
    engine: Engine | None,
    quiet: bool,
  ) -> list[Stats]:
    """Divides all shards; the counts of each."""
    number = len(self.shards)
    written = {s.name: shard_name(s, self.kind, i, number) for i, s in enumerate(self.shards)}
    work = DivideShard(ratings, output, settings, self.kind, written)
    results = (engine or engine_of("local"))(work, self.shards)
    done = with_bar(results, self.shards, "dividing", quiet, output)
    found = {shard.name: counts for shard, counts in done}
    divided = [found[shard.name] for shard in self.shards]
    finish_folder(output / KEPT, self.kind, self.shards, [counts["kept"] for counts in divided])
    return divided


def _corpus(
  inputs: Inputs,
  output: Place,
  ratings: Place,
  scored: dict[str, Any],
  names: Sequence[str],
  format: str | None,
) -> _Corpus:
  """The corpus, if it is the one that was scored and no output lies in it."""
  shards = find_shards(inputs)
  require_apart(output, input_places(inputs), "input")
  require_same_inputs(ratings, scored, shards)
  known = set(names)
  reached = [shard for shard in shards if shard.name in known]
  return _Corpus(reached, output_kind(reached, format), len(shards) - len(reached))


def _criteria(
  files: Sequence[Place],
  rule: Rule,
  where: Sequence[str],
  duplicates: str | None,
  similarity: float,
  rating: str,
) -> Criteria:
  """The criteria that these mean for the columns of the side files."""
  require(
    duplicates is None or duplicates in DUPLICATE_REASONS,
    f"duplicates is {duplicates!r}; give one of {', '.join(DUPLICATE_REASONS)}, or none",
  )
  schema = side.SCHEMA
  if files:
    with open_side(files[0]) as file:
      schema = file.schema_arrow
  filters = tuple(dict.fromkeys(parse_filters(where, schema)))
  column = resolve_rating(schema.names, rating)
  return Criteria(rule, column, filters, duplicates, similarity)


def _settings(criteria: Criteria, approximate: bool) -> dict[str, Any]:
  """What decides, as JSON values."""
  near = {"similarity": criteria.similarity} if criteria.duplicates == "minhash" else {}
  return {
    "rule": criteria.rule.as_config(),
    "rating": criteria.rating,
    "where": [str(each) for each in criteria.filters],
    "duplicates": {"kind": criteria.duplicates, **near} if criteria.duplicates else None,
    "approximate": approximate,
  }


@dataclasses.dataclass(frozen=True)
class _Deciding:
  """Decides on the documents of these side files, `files`, of the shards called `names`."""

  criteria: Criteria
  names: Sequence[str]
  files: Sequence[Place]
  approximate: bool
  quiet: bool

  def decide(self) -> Approximate | Exact:
    """Reads what the criteria need."""
    rows = [rows_of(path) for path in self.files]
    with self._bar("reading ratings", sum(rows)) as bar:
      if self.approximate:
        return Approximate(self.criteria, self.files, bar.update)
      return decide(self.criteria, self.files, rows, bar.update)

  def finish(self, decided: Approximate | Exact, output: Place | None) -> Stats:
    """Writes the decisions to `output`, if there is one, and returns the counts."""
    if output is not None or isinstance(decided, Approximate):
      total = sum(rows_of(path) for path in self.files)
      with self._bar("deciding" if output is None else "writing decisions", total) as bar:
        self._go_through(decided, output, bar.update)
    scored = [side.read_side_stats(path) for path in self.files]
    cuts = getattr(self.criteria.rule, "cuts", "none")
    stats = selection_stats(decided.tally, cuts, scored)
    errors = decided.errors() if isinstance(decided, Approximate) else None
    return stats | _settings(self.criteria, self.approximate) | {"approximate": errors}

  def _go_through(
    self, decided: Approximate | Exact, output: Place | None, progress: Callable[[int], object]
  ) -> None:
    """Asks for the decisions on each shard, and writes those that are not there yet."""
    writer = None
    if output is not None:
      writer = DecisionWriter(output, self.criteria.reasons, self.criteria.rating, decided.columns)

    def one(number: int) -> None:
      def codes(table: pa.Table, rows: slice) -> np.ndarray:
        progress(len(table))
        return decided.codes(number, table, rows)

      name, path = self.names[number], self.files[number]
      if output is None or decision_path(output, name).exists():
        if isinstance(decided, Approximate):  # they are counted as they come
          for rows, table in slices([path], decided.columns):
            codes(table, rows)
      elif writer is not None:
        writer.write(name, path, codes)

    # Threads: Arrow decodes and compresses outside Python's lock. Sketched decisions come in order.
    threads = 1 if self.approximate else min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
      collections.deque(pool.map(one, range(len(self.files))), maxlen=0)

  def _bar(self, verb: str, documents: int) -> tqdm:
    return tqdm(
      total=documents, desc=verb, unit="document", unit_scale=True, disable=self.quiet or None
    )


def _said(stats: Stats, quiet: bool, title: str = "selected") -> Stats:
  if not quiet:
    Console().print(select_table(stats, title))
  return stats
