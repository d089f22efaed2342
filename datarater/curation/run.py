"""Score a corpus, select from it: runs over many shards that can be killed, repeated, and checked.

    score(scorer, "corpus/*.jsonl.zst", "ratings")
    select("ratings", "corpus/*.jsonl.zst", "curated", TopFraction(0.5))

A run's folder holds `run.json`, a side file a shard, and `stats.json` at the end. The same call
again does what is missing; with other settings or inputs it is refused, and the message names the
difference.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from tqdm import tqdm

from datarater.config import InputError, require
from datarater.config_io import differences
from datarater.curation import ratings as side
from datarater.curation.candidates import Candidates
from datarater.curation.counts import merged
from datarater.curation.rules import NOT_A_NUMBER, Rule
from datarater.curation.shards import (
  Progress,
  ScoreSettings,
  decision_path,
  score_shard,
  select_shard,
)
from datarater.curation.summary import score_table, select_table
from datarater.data.formats import (
  Shard,
  find_shards,
  fingerprint,
  input_places,
  require_apart,
  require_text_key,
)
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.run_folder import locked
from datarater.scorers.base import describe

Inputs = str | Path | Sequence[str | Path]
_MOST_DIFFERENCES = 5


def score(
  scorer: Any,
  inputs: Inputs,
  output: str | Path,
  *,
  text_key: str = "text",
  id_key: str = "id",
  domain_key: str = "domain",
  batch_size: int = 256,
  limit: int | None = None,
  quiet: bool = False,
) -> dict[str, Any]:
  """Rates every document of a corpus into side files; the corpus stays as it is.

  scorer: see `scorers.base`. inputs: files or globs (.jsonl, .ndjson, .json, each also .gz, .zst,
    .xz; .parquet; .txt). output: a new folder, or one that the same call has begun.
  text_key, id_key, domain_key: fields of a record; dots lead into nested objects. Without an id a
    document gets one from its text. batch_size: most texts handed to the scorer at once.
  limit: most records, from the first shard on; for a trial. quiet: no bars, no table.
  Returns the counts of `stats.json`: records, documents, bytes, tokens, rejected by reason,
  domains.
  """
  output = Path(output)
  require(batch_size >= 1, f"batch size is {batch_size}; give 1 or more")
  require(limit is None or limit >= 1, f"limit is {limit}; give 1 or more, or none")
  shards = find_shards(inputs)
  require_apart(output, input_places(inputs), "input")
  settings = ScoreSettings(text_key, id_key, domain_key, batch_size)
  run = {
    "kind": "ratings",
    "schema_version": side.SCHEMA_VERSION,
    "scorer": describe(scorer),
    "settings": dataclasses.asdict(settings),
    "limit": limit,
    "inputs": {shard.name: fingerprint(shard.path) for shard in shards},
  }
  _check_run(output, run)
  require_text_key(shards, text_key)
  with locked(output):
    _begin_run(output, run)
    every, left = [], limit
    for shard, progress in _with_bar(shards, "scoring", quiet):
      if left == 0:
        break
      unit = functools.partial(score_shard, shard, scorer, settings, output, left, progress)
      stats = _once(side.side_path(output, shard.name), unit)
      left = None if left is None else left - stats["records"]
      every.append(stats)
    side.make_ids_unique(output, [shard.name for shard in shards[: len(every)]])
    total = merged(every)
    write_json(output / side.STATS, total)
    if not quiet:
      Console().print(score_table(total))
    return total


def select(
  ratings: str | Path,
  inputs: Inputs,
  output: str | Path,
  rule: Rule,
  *,
  quiet: bool = False,
) -> dict[str, Any]:
  """Divides a scored corpus into `output/kept` and `output/rejected`, every record into exactly
  one.

  ratings: a folder that `score` has finished. inputs: the files that were scored; of a trial with a
    limit, what lies beyond the limit is left alone.
  output: a new folder, or one that the same call has begun. Kept shards have the format and the
    name of the input's; rejected ones too, with a field `rejected_reason`. `decisions/` holds id,
    row, rating and reason of every record. rule: `TopFraction`, `Threshold`, `Pointwise`; see
  `rules.rule_from_options`. Returns the counts of `stats.json`: records, kept, rejected by reason,
  `before` and `after` by domain.
  """
  ratings, output = Path(ratings), Path(output)
  scored = side.read_run(ratings)
  shards = find_shards(inputs)
  require_apart(output, input_places(inputs), "input")
  require_apart(output, [ratings.resolve()], "ratings")
  _require_same_inputs(ratings, scored, shards)
  table = side.read_ratings(ratings)
  run = {
    "kind": "selection",
    "schema_version": side.SCHEMA_VERSION,
    "rule": rule.as_config(),
    "scorer": scored["scorer"],
    "ratings": _digest(table),
    "inputs": scored["inputs"],
  }
  _check_run(output, run)
  keep = rule.keep(Candidates.of(table.ratings, table.ids)) & ~np.isnan(table.ratings)
  reasons = np.where(np.isnan(table.ratings), NOT_A_NUMBER, rule.reason).astype(object)
  with locked(output):
    _begin_run(output, run)
    bounds = np.searchsorted(table.shard, np.arange(len(table.shards) + 1))
    settings = ScoreSettings(**scored["settings"])
    reached = [shard for shard in shards if shard.name in set(table.shards)]
    every = []
    for (shard, progress), start, stop in zip(
      _with_bar(reached, "selecting", quiet), bounds[:-1], bounds[1:], strict=True
    ):
      unit = functools.partial(
        select_shard,
        shard,
        side.side_path(ratings, shard.name),
        keep[start:stop],
        reasons[start:stop],
        settings,
        output,
        progress,
      )
      every.append(_once(decision_path(output, shard.name), unit))
    total = {**merged(every), "shards_not_scored": len(shards) - len(reached)}
    write_json(output / side.STATS, total)
    if not quiet:
      Console().print(select_table(total))
    return total


def _with_bar(shards: Sequence[Shard], verb: str, quiet: bool) -> Iterator[tuple[Shard, Progress]]:
  """Each shard with the function that moves the bar; after a shard the bar is where it ends."""
  sizes = [shard.size for shard in shards]
  done = 0
  with tqdm(total=sum(sizes), desc=verb, unit="B", unit_scale=True, disable=quiet or None) as bar:
    for shard, size in zip(shards, sizes, strict=True):
      yield shard, bar.update
      done += size
      bar.update(done - bar.n)


def _once(side_file: Path, unit: Callable[[], dict[str, Any]]) -> dict[str, Any]:
  """The counts of a shard: from its side file where the shard is done, else by doing it."""
  return side.read_side_stats(side_file) if side_file.exists() else unit()


def _check_run(output: Path, run: dict[str, Any]) -> None:
  """Raises InputError unless `output` is absent, empty, or of a run with the same settings."""
  if not output.exists():
    return
  require(output.is_dir(), f"output {str(output)!r} is a file; name a folder")
  if not (output / side.RUN).exists():
    require(
      all(path.name.startswith(".") for path in output.iterdir()),
      f"output {str(output)!r} holds other files and no {side.RUN}; name a new folder",
    )
    return
  changed = differences(read_json(output / side.RUN, "run file"), json.loads(json.dumps(run)))
  require(
    not changed,
    f"output {str(output)!r} was begun otherwise ({_shortened(changed)}); "
    "give the same settings and inputs, or name a new folder",
  )


def _begin_run(output: Path, run: dict[str, Any]) -> None:
  if not (output / side.RUN).exists():
    write_json(output / side.RUN, run)


def _require_same_inputs(folder: Path, scored: dict[str, Any], shards: Sequence[Shard]) -> None:
  names = {shard.name: fingerprint(shard.path) for shard in shards}
  changed = differences(scored["inputs"], names)
  if changed:
    raise InputError(
      f"input and ratings {str(folder)!r} do not belong together ({_shortened(changed)}); "
      "give the files that were scored, or score these"
    )


def _shortened(changed: list[str]) -> str:
  more = len(changed) - _MOST_DIFFERENCES
  return "; ".join(changed[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _digest(table: side.Ratings) -> str:
  """Changes with any rating or id."""
  digest = hashlib.blake2b(table.ratings.tobytes(), digest_size=16)
  for name in table.ids:
    digest.update(name.encode() + b"\0")
  return digest.hexdigest()
