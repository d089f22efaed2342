"""The scorers that the options of `score` ask for: loaded, or fitted first."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from datarater.corpus_config import RatingConfig, ScoreConfig
from datarater.errors import InputError, require
from datarater.scorer_config import ScorersConfig

ScorerName = Literal[
  "rater", "random", "classifier", "dsdm", "dsir", "heuristics", "perplexity", "tsds"
]


@dataclasses.dataclass(frozen=True)
class ScorerOptions:
  """What rates the documents.

  Args:
    scorer: Its kind; --rater FOLDER alone means `rater`.
    rater: Folder of a trained rater (the rater/ of a run); several in one pass as NAME=FOLDER.
    target: What the data is to be good for: files of documents, or a task's .jsonl of `datarater
      data build eval-suite`; several targets as NAME=FILES, which weigh the same.
    proxy: Run folders of `datarater train`, whose models dsdm, tsds and perplexity look through.
    allow_overlap: Leave documents that are in a target too out of the pool, unrated.
    fitted: Folder of a scorer that an earlier score fitted (its OUTPUT/scorer), to use it again.
    gradients: Folder where dsdm keeps gradients, to serve other targets (default:
      OUTPUT/gradients).
    control: Rate at random as well (or alone), to thin at random by.
  """

  scorer: ScorerName | None = None
  rater: tuple[str, ...] = ()
  target: tuple[str, ...] = ()
  proxy: tuple[Path, ...] = ()
  allow_overlap: bool = False
  fitted: Path | None = None
  gradients: Path | None = None
  control: bool = False
  settings: Annotated[ScorersConfig, arg(name="")] = ScorersConfig()

  @property
  def fits(self) -> str:
    """The scorer that is to be fitted, empty where none is."""
    return "" if self.scorer in (None, "rater", "random") else self.scorer


def scorers_of(
  options: ScorerOptions,
  input: Sequence[str],
  output: str,
  config: ScoreConfig,
  rating: RatingConfig,
  quiet: bool = False,
) -> dict[str, Any]:
  """The scorers by name; the first gives the column `rating`. Raises InputError for options that do
  not go together.
  """
  from datarater.scorers.fitted import load_scorer
  from datarater.scorers.random import RandomScorer
  from datarater.scorers.rater import load_rater

  _check(options)
  found: dict[str, Any] = {
    name: load_rater(path, rating) for name, path in named(options.rater, "rater").items()
  }
  if options.fitted:
    scorer = load_scorer(options.fitted)
    found[scorer.name] = scorer
  if options.fits:
    found[options.fits] = _fitted(options, input, output, config, quiet)
  if options.control or options.scorer == "random":
    found["random"] = RandomScorer()
  return found


def _check(o: ScorerOptions) -> None:
  chosen = [o.scorer and f"--scorer {o.scorer}", o.rater and "--rater", o.fitted and "--fitted"]
  if o.scorer == "rater":
    require(bool(o.rater), "scorer 'rater' needs a trained one; give --rater FOLDER")
    chosen[0] = None
  several = [each for each in chosen if each]
  require(len(several) <= 1, f"{' and '.join(several)} are given; give one of them")
  require(
    bool(several) or o.control,
    "no scorer is given; give --rater FOLDER, --scorer NAME, --fitted FOLDER, or --control alone",
  )
  for name, given in (("target", o.target), ("proxy", o.proxy), ("gradients", o.gradients)):
    require(not given or bool(o.scorer), f"--{name} is for a scorer; add --scorer NAME")


def _fitted(
  options: ScorerOptions, input: Sequence[str], output: str, config: ScoreConfig, quiet: bool
) -> Any:
  from datarater.curation.fit import fit
  from datarater.curation.ratings import GRADIENTS, SCORER
  from datarater.curation.targets import read_targets
  from datarater.runtime.places import place
  from datarater.scorers.fitted import Fitting
  from datarater.scorers.proxy import load_proxy

  folder = place(output)
  if not isinstance(folder, Path):
    raise InputError(
      f"output {output!r} is a URL, and a scorer is fitted in a local folder; score into one "
      "first, then give its scorer/ as --fitted"
    )
  proxies = tuple(load_proxy(run) for run in options.proxy)
  gradients = options.gradients or folder / GRADIENTS
  return fit(
    options.fits,
    input,
    folder / SCORER,
    read_targets(options.target, config),
    getattr(options.settings, options.fits),
    config,
    Fitting(proxies, gradients, not quiet),
    options.allow_overlap,
  )


def named(values: Sequence[str], default: str) -> dict[str, str]:
  """NAME=VALUE pairs; a single VALUE needs no name."""
  if len(values) == 1 and "=" not in values[0]:
    return {default: values[0]}
  pairs = {name: path for name, _, path in (value.partition("=") for value in values) if path}
  require(
    len(pairs) == len(values),
    f"{default} {' '.join(values)!r}; give several as NAME=FOLDER, each name once",
  )
  return pairs
