"""Score a corpus: ratings as side files, by runs that can be killed, repeated, and spread out.

    score(load_rater("runs/mine/rater"), "corpus/*.jsonl.zst", "ratings")

A run's folder is described in `ratings`. The same call again does what is missing; with other
settings or inputs it is refused, and the message names the difference.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from datarater.config_io import to_json
from datarater.corpus_config import ScoreConfig
from datarater.curation import ratings as side
from datarater.curation.counts import merged
from datarater.curation.engines import Engine, Stats, engine_of
from datarater.curation.rate_shard import RateShard
from datarater.curation.run_folder import (
  PROGRESS,
  begun,
  check_run,
  remove_tree,
  with_bar,
)
from datarater.curation.summary import score_table
from datarater.data.formats import (
  Shard,
  find_shards,
  fingerprint,
  input_places,
  require_apart,
  require_text_key,
)
from datarater.errors import require
from datarater.runtime.atomic import write_json
from datarater.runtime.places import Place, place
from datarater.runtime.quantiles import QuantileSketch, RatingsCdf
from datarater.runtime.run_folder import locked
from datarater.scorers.base import describe, require_texts

Inputs = str | Path | Sequence[str | Path]


def score(
  scorer: Any,
  inputs: Inputs,
  output: str | Path,
  config: ScoreConfig | None = None,
  *,
  engine: Engine | None = None,
  limit: int | None = None,
  quiet: bool = False,
) -> dict[str, Any]:
  """Rates every document of a corpus into side files; the corpus stays as it is.

  scorer: see `scorers.base`; or several by name, of which the first gives the column `rating`, the
    others `rating_NAME`.
  inputs: files or globs, local or fsspec URLs (.jsonl, .ndjson, .json, each also .gz, .zst, .xz;
    .parquet; .array_record; .txt).
  output: a new folder, or one that the same call has begun. config: fields, and what to
    write; None: the defaults.
  engine: where the work is done, see `engines.engine_of`; None: in this process.
  limit: most records, from the first shard on; for a trial, in this process. quiet: no
    bar, no table.
  Returns the counts of `stats.json`: records, documents, bytes, tokens, rejected by reason,
  domains.
  """
  folder = place(output)
  config = config or ScoreConfig()
  scorers = _by_name(scorer)
  require(limit is None or limit >= 1, f"limit is {limit}; give 1 or more, or none")
  require(
    limit is None or engine is None,
    f"limit is {limit} with an engine; give one of them: a trial runs in this process",
  )
  for each in scorers.values():
    require_texts(each)
  shards = find_shards(inputs)
  require_apart(folder, input_places(inputs), "input")
  run = {
    "kind": "ratings",
    "schema_version": side.SCHEMA_VERSION,
    "scorers": {name: describe(each) for name, each in scorers.items()},
    "settings": to_json(config),
    "limit": limit,
    "inputs": {shard.name: fingerprint(shard.path) for shard in shards},
  }
  check_run(folder, run, beside=(side.SCORER, side.GRADIENTS))
  require_text_key(shards, config.text_key)
  with locked(folder), begun(folder, run, "scoring"):
    work = RateShard(scorers, config, folder)
    run_on = functools.partial(_trial, limit=limit) if limit else engine or engine_of("local")
    results = with_bar(run_on(work, shards), shards, "scoring", quiet, folder)
    stats = {shard.name: counts for shard, counts in results}
    names = [shard.name for shard in shards if shard.name in stats]
    side.make_ids_unique(folder, names)
    write_json(folder / side.CDF, _distributions(folder, names))
    total = merged([stats[name] for name in names])
    write_json(folder / side.STATS, total)
    remove_tree(folder / PROGRESS)
    if not quiet:
      Console().print(score_table(total))
    return total


def _by_name(scorer: Any) -> dict[str, Any]:
  if not isinstance(scorer, Mapping):
    return {describe(scorer)["name"]: scorer}
  require(bool(scorer), "no scorer is given; give one or more")
  for name in scorer:
    require(
      re.fullmatch(r"\w+", name) is not None,
      f"scorer name {name!r}; give letters, digits and underscores",
    )
  return dict(scorer)


def _trial(work: RateShard, shards: Sequence[Shard], limit: int) -> Iterator[tuple[Shard, Stats]]:
  """The first `limit` records, shard after shard."""
  left = limit
  for shard in shards:
    if left == 0:
      return
    stats = dataclasses.replace(work, limit=left)(shard)
    left -= stats["records"]
    yield shard, stats


def _distributions(output: Place, names: Sequence[str]) -> dict[str, dict[str, Any]]:
  """The CDF of each column of ratings over all shards; none where nothing is rated."""
  total: side.Sketches = {}
  for name in names:
    for column, sketch in side.read_sketches(side.side_path(output, name)).items():
      total.setdefault(column, QuantileSketch()).merge(sketch)
  return {
    name: to_json(RatingsCdf.of_sketch(sketch)) for name, sketch in total.items() if sketch.count
  }
