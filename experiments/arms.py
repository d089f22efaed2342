"""Arms that figures share: raters, rated pools, language models on what is left, and their losses.

Seeds go together: the language model of seed s trains on what the rater of seed s keeps, so that an
interval over seeds covers both. All arms of a size share learning rate, schedule and order of data.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarater.config import SelectionConfig
from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.errors import require
from datarater.evaluation.compare import compare_arms
from experiments.experiment import Place
from experiments.jobs import Change, ModelJob, PoolJob, RaterJob, RatingJob
from experiments.scale import HELDOUT, keeps_model

Arm = Sequence[ModelJob]
"""One language model a seed."""


def rater(
  place: Place, objective: str, seed: int, without: Sequence[str] = (), only: Sequence[str] = ()
) -> RaterJob:
  """The headline's rater; without: domains that are left out of the pool; only: all others are."""
  return RaterJob(
    place.scale.rater_config(objective, seed, pool_data(place.scale.data, without, only))
  )


def pool_data(
  data: DataConfig, without: Sequence[str] = (), only: Sequence[str] = ()
) -> DataConfig:
  """The data whose pool lacks some domains."""
  others = sorted(set(domain_shares(data)) - set(only)) if only else []
  return dataclasses.replace(data, exclude_domains=tuple(sorted({*without, *others})))


def rated_pool(place: Place, rater: RaterJob, step: int = 0, change: Change = "none") -> RatingJob:
  """The ratings of the pool that final models train on, without the domains the rater lacked."""
  excluded = rater.config.data.exclude_domains
  return RatingJob(
    rater, dataclasses.replace(place.scale.data, exclude_domains=excluded), step, change
  )


def unfiltered(place: Place, size: str, data: DataConfig | None = None) -> Arm:
  """On everything."""
  return [
    ModelJob(
      place.scale.train_config(size, learning_rate(place, size), seed, data),
      keeps_model=keeps_model(place.scale, size),
    )
    for seed in place.scale.seeds
  ]


def random_drop(
  place: Place, size: str, discard_fraction: float, data: DataConfig | None = None
) -> Arm:
  """The control: on a random share."""
  selection = SelectionConfig(kind="random", discard_fraction=discard_fraction)
  return [
    _selected(job, selection, f"{size} random {discard_fraction}")
    for job in unfiltered(place, size, data)
  ]


def kept(place: Place, size: str, discard_fraction: float, pools: Sequence[PoolJob]) -> Arm:
  """On what ratings keep: pool i serves seed i; a single pool serves all."""
  seeds = place.scale.seeds
  pools = list(pools) * len(seeds) if len(pools) == 1 else pools
  require(len(pools) == len(seeds), f"{len(pools)} pools for {len(seeds)} seeds; give one or each")
  selection = SelectionConfig(
    kind="ratings", ratings="of the job", discard_fraction=discard_fraction, charge="drawn"
  )
  return [
    _selected(job, selection, f"{size} kept {discard_fraction}", pool)
    for pool, seed in zip(pools, seeds, strict=True)
    for job in unfiltered(place, size, pool.data)
    if job.config.seed == seed
  ]


def _selected(
  job: ModelJob, selection: SelectionConfig, name: str, pool: PoolJob | None = None
) -> ModelJob:
  config = dataclasses.replace(job.config, selection=selection, name=name)
  return dataclasses.replace(job, config=config, pool=pool)


def learning_rate(place: Place, size: str) -> float:
  """The one chosen for a size on the unfiltered arm."""
  return place.results("learning_rates")["chosen"][size]


def discard_fraction(place: Place, objective: str) -> float:
  """The one chosen for an objective with the smallest language model."""
  return place.results("fig4_discard_sweep")["chosen"][objective]


@functools.lru_cache
def domain_shares(data: DataConfig) -> Mapping[str, float]:
  """Each domain's share of the bytes of held-out text, which no selection touches."""
  source = open_source(dataclasses.replace(data, target_domain="", exclude_domains=()), "test")
  records = [source[i] for i in range(len(source))]
  sizes = dict.fromkeys(source.domains, 0)
  for record in records:
    sizes[record.domain] += len(record.text.encode())
  total = sum(sizes.values())
  return {name: size / total for name, size in sizes.items()}


def _of(place: Place, by_domain: Mapping[str, Any], objective: str) -> Any:
  """A loss, or a curve of them, on an objective; bits per byte."""
  if objective != HELDOUT:
    return by_domain[objective]
  shares = domain_shares(place.scale.data)
  return sum(np.asarray(by_domain[name]) * share for name, share in shares.items())


def view(place: Place, job: ModelJob, objective: str) -> dict[str, Any]:
  """A model's result as seen by an objective, in the shape that `compare_arms` reads.

  validation: final loss on the split to choose by. domains: final loss on each.
  """
  result = job.result(place.root)
  require("diverged" not in result, f"{job.name}: {result.get('diverged')}")
  losses = [float(x) for x in _of(place, result["by_domain"], objective)]
  validation = result["validation_target"]["by_domain"]
  flops = [point[0] for point in result["curve"]]
  return {
    "seed": result["seed"],
    "bits_per_byte": losses[-1],
    "validation": float(_of(place, validation, objective)),
    "curve": [list(pair) for pair in zip(flops, losses, strict=True)],
    "curve_training_flops": result["curve_training_flops"],
    "rating_flops": result["rating_flops"],
    "training_flops": result["training_flops"],
    "documents_kept": result["documents_kept"],
    "domains": {name: curve[-1] for name, curve in result["by_domain"].items()},
  }


def views(place: Place, arm: Arm, objective: str) -> list[dict[str, Any]]:
  """Of all seeds."""
  return [view(place, job, objective) for job in arm]


def cell(
  place: Place, arm: Arm, baseline: Arm, control: Arm | None, objective: str
) -> dict[str, Any]:
  """An arm against unfiltered and, where given, random-drop text; losses in bits per byte.

  flops_share, flops_share_net: FLOPs to reach the baseline's final loss over the baseline's own,
  by seed, without and with rating counted; None where it never gets there.
  """
  mine, base = views(place, arm, objective), views(place, baseline, objective)
  against = compare_arms(mine, base)
  found: dict[str, Any] = {
    "loss": [run["bits_per_byte"] for run in mine],
    "baseline": [run["bits_per_byte"] for run in base],
    "against_unfiltered": against["difference"],
    "flops_share": _shares(against["gain_without_rating"]),
    "flops_share_net": _shares(against["net_compute_gain"]),
  }
  if control is not None:
    drawn = views(place, control, objective)
    found["random"] = [run["bits_per_byte"] for run in drawn]
    found["against_random"] = compare_arms(mine, drawn)["difference"]
  return found


def _shares(gains: Sequence[float | None]) -> list[float | None]:
  return [None if gain is None else 1 - gain for gain in gains]


def mean(values: Sequence[float | None]) -> float | None:
  """None where any is."""
  return None if any(v is None for v in values) else float(np.mean(values))  # type: ignore[arg-type]
