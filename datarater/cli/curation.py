"""The verbs on corpora: score, select, inspect."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from datarater.cli.scorers import ScorerOptions, scorers_of
from datarater.corpus_config import EngineName, RatingConfig, ScoreConfig
from datarater.errors import InputError, require

_SCORE, _RATING, _SCORER = ScoreConfig(), RatingConfig(), ScorerOptions()


def score(
  input: tuple[str, ...],
  output: str,
  options: Annotated[ScorerOptions, arg(name="")] = _SCORER,
  engine: EngineName = "local",
  workers: int | None = None,
  limit: int | None = None,
  quiet: bool = False,
  config: Annotated[ScoreConfig, arg(name="")] = _SCORE,
  rating: Annotated[RatingConfig, arg(name="")] = _RATING,
) -> None:
  """Rates every document of a corpus; writes ratings as parquet side files by document id.

  By a trained rater (--rater), or by a scorer that is first fitted to the corpus and a target
  (--scorer) and kept in OUTPUT/scorer; docs/choosing.md says which is good for what. The corpus
  stays as it is. The same command again goes on where it was stopped.

  Args:
    input: Files, globs or URLs: .jsonl (also .gz, .zst, .xz), .parquet, .array_record, .txt.
    output: Folder of the ratings, or a URL.
    options: What rates the documents.
    engine: `local`, this machine, or `ray`, the cluster that RAY_ADDRESS names.
    workers: Processes, each with a scorer of its own (default: local 1; ray one a GPU or CPU).
    limit: Rate only so many records, for a trial.
    quiet: No progress bar, no table.
    config: How the corpus is read and what is written.
    rating: How a rater rates documents.
  """
  from datarater.curation.score import score as run

  run(
    scorers_of(options, input, output, config, rating, quiet),
    input,
    output,
    config,
    engine=_engine(engine, workers),
    limit=limit,
    quiet=quiet,
  )


def select(
  ratings: str,
  output: str,
  input: tuple[str, ...] = (),
  discard_fraction: float | None = None,
  threshold: float | None = None,
  token_budget: int | None = None,
  pointwise: bool = False,
  batch_size: int | None = None,
  rater_cdf: Path | None = None,
  by_domain: bool = False,
  group_fraction: tuple[str, ...] = (),
  temperature: float | None = None,
  where: tuple[str, ...] = (),
  duplicates: Literal["exact", "minhash"] | None = None,
  similarity: float = 0.8,
  rating: str = "rating",
  seed: int = 0,
  format: Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "array_record"] | None = None,
  approximate: bool = False,
  dry_run: bool = False,
  engine: EngineName = "local",
  workers: int | None = None,
  quiet: bool = False,
) -> None:
  """Divides a scored corpus into kept/ and rejected/, deciding from its ratings alone.

  Conditions come first, then duplicates, then the rule. Selecting again otherwise needs no new
  scores. Writes decisions/, stats.json, selection.html and .png, and with --input the corpus.

  Args:
    ratings: Folder that `datarater score` wrote.
    output: Folder of the selection, or a URL.
    input: The files, globs or URLs that were scored; without them only decisions are written.
    discard_fraction: Share of documents to discard, the worst rated.
    threshold: Keep ratings of at least this instead.
    token_budget: Keep the best rated up to so many tokens instead.
    pointwise: Draw each document by itself with the paper's probability (parallel pipelines).
    batch_size: Of the pointwise rule: the oversampled batch B, of which (1 - discard) B are kept.
    rater_cdf: Rater folder whose CDF the pointwise rule takes (default: of the ratings themselves).
    by_domain: Discard the share in each domain, not over all.
    group_fraction: Shares of single domains, as NAME=SHARE; --discard-fraction is that of the rest.
    temperature: Draw without replacement, with chances proportional to exp(rating / temperature).
    where: Conditions such as 'words >= 50' or 'domain != code' on the columns of the side files.
    duplicates: Of copies of a text keep only the best rated; `minhash`: of near copies, too.
    similarity: Share of word 5-grams from which texts are near copies.
    rating: Which ratings, where several raters were at work: the NAME given to score.
    seed: Of ties and draws; these go by document id, not by order.
    format: Of what is written (default: as the input).
    approximate: Cut at a quantile sketch: constant memory, and an error that stats.json states.
    dry_run: Only say what would be kept.
    engine: `local`, this machine, or `ray`, the cluster that RAY_ADDRESS names.
    workers: Processes that divide the corpus (default: local 1; ray one a CPU).
    quiet: No progress bars, no table.
  """
  import numpy as np

  from datarater.curation.rule_options import rule_from_options
  from datarater.curation.select import select as run
  from datarater.report.selection import write_selection_figure, write_selection_page
  from datarater.runtime.artifact import read_rater
  from datarater.runtime.places import place

  require(
    rater_cdf is None or pointwise,
    f"rater CDF {str(rater_cdf)!r} without the pointwise rule; add --pointwise",
  )
  rule = rule_from_options(
    discard_fraction,
    threshold,
    pointwise,
    batch_size,
    seed,
    None if rater_cdf is None else np.asarray(read_rater(rater_cdf).cdf.quantiles),
    token_budget=token_budget,
    by_domain=by_domain,
    group_fractions=_fractions(group_fraction),
    temperature=temperature,
  )
  stats = run(
    ratings,
    output,
    rule,
    inputs=input or None,
    where=where,
    duplicates=duplicates,
    similarity=similarity,
    rating=rating,
    engine=_engine(engine, workers),
    format=format,
    approximate=approximate,
    dry_run=dry_run,
    quiet=quiet,
  )
  if not dry_run:
    write_selection_figure(stats, place(output) / "selection.png")
    write_selection_page(stats, place(output) / "selection.html")


def inspect(
  ratings: Positional[str],
  input: tuple[str, ...] = (),
  at: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
  rating: float | None = None,
  domain: tuple[str, ...] = (),
  excerpts: int = 3,
  column: str = "rating",
  width: int = 240,
  html: str | None = None,
  page: bool = False,
  quiet: bool = False,
) -> None:
  """Looks into a scored corpus: quantiles of its ratings, by domain, and what the texts say there.

  Args:
    ratings: Folder that `datarater score` wrote.
    input: The files, globs or URLs that were scored, for excerpts of their texts.
    at: Show texts at these quantiles of the ratings.
    rating: Show the texts rated nearest to this instead.
    domain: Show texts of these domains alone.
    excerpts: Texts at each.
    column: Which ratings, or `signal_...`: the NAME given to score.
    width: Characters of an excerpt.
    html: Write one self-contained page there, with a histogram.
    page: Through the pager.
    quiet: No progress bar.
  """
  from datarater.report.inspect import inspect as look
  from datarater.report.inspect_views import show, write_inspection
  from datarater.runtime.places import place

  seen = look(
    ratings,
    input or None,
    at=at,
    rating=rating,
    domains=domain,
    excerpts=excerpts,
    column=column,
    width=width,
    quiet=quiet,
  )
  show(seen, Console(), page=page)
  if html is not None:
    write_inspection(seen, place(html))


def _engine(name: EngineName, workers: int | None) -> Any:
  """The engine, None for this process."""
  from datarater.curation.engines import engine_of

  return engine_of(name, workers) if name != "local" or workers not in (None, 1) else None


def _fractions(values: Sequence[str]) -> dict[str, float]:
  """NAME=SHARE pairs."""
  fractions = {}
  for value in values:
    name, _, share = value.rpartition("=")
    try:
      fractions[name] = float(share)
    except ValueError:
      name = ""
    if not name:
      raise InputError(f"group fraction {value!r}; give NAME=SHARE, such as code=0.2")
  return fractions
