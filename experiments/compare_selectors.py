"""Every way to select data beside the others: same pool, budget, language models and seeds.

    python -m experiments.compare_selectors --preset cpu

Three questions. A target whose domain is in the pool; the same target with its domain taken out, of
the pool and of all that selectors see; and what nobody selected for: the other domains, and tasks.
A cell is a setting, a size and a share discarded; in each, selectors are ranked by the mean loss on
the target, and tie with the best where the paired interval over seeds holds zero.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarater.data.sources import open_source
from datarater.evaluation.compare import paired_difference
from datarater.evaluation.pool import kept_by_rating
from datarater.evaluation.results import mixture
from experiments.arms import Arm, cell, kept, random_drop, unfiltered, views
from experiments.compare_selectors_figure import draw
from experiments.experiment import Experiment, Place, main
from experiments.jobs import Job, ModelJob, TaskJob
from experiments.selectors import RATERS, SELECTORS, Setting, selection_cost
from experiments.table2_tasks import check

RANDOM, UNFILTERED = "random", "unfiltered"
HOPED_SHARE = 0.8
"""Of cells in which the rater is first or tied."""


def settings(place: Place) -> tuple[Setting, ...]:
  """The headline's target, and the same without its own domain."""
  target = place.scale.targets[0]
  return Setting(target), Setting(target, (target,))


def sizes(place: Place, setting: Setting) -> dict[str, tuple[float, ...]]:
  """Size → the shares that are discarded: fewer where training is dearer."""
  fractions, (smallest, *larger) = place.scale.discard_fractions, place.scale.sizes
  if setting.without:  # fewer documents that are of use
    return {smallest: fractions[-3:][:2]} | dict.fromkeys(larger[:1], fractions[-2:][:1])
  return {smallest: fractions[-3:]} | dict.fromkeys(larger[:1], fractions[-1:])


def arms(place: Place, setting: Setting, size: str, fraction: float) -> dict[str, Arm]:
  """Selector → its language models, the control among them."""
  found = {
    name: kept(place, size, fraction, pools(place, setting)) for name, pools in SELECTORS.items()
  }
  return {**found, RANDOM: random_drop(place, size, fraction, setting.data(place))}


def asked(place: Place) -> dict[str, list[TaskJob]]:
  """Arm → tasks for its models: of the first setting, the second size and the last share."""
  setting, *_ = settings(place)
  size, fraction = place.scale.sizes[:2][-1], place.scale.discard_fractions[-1]
  every = {**arms(place, setting, size, fraction), UNFILTERED: unfiltered(place, size)}
  return {
    name: [
      TaskJob(dataclasses.replace(job, keeps_model=True), place.scale.suite, place.scale.task_items)
      for job in arm
    ]
    for name, arm in every.items()
  }


def jobs(place: Place) -> Sequence[Job]:
  """Tasks first: the models that are asked must be kept."""
  every: list[Job] = [job for arm in asked(place).values() for job in arm]
  for setting in settings(place):
    for size, fractions in sizes(place, setting).items():
      every += unfiltered(place, size, setting.data(place))
      for fraction in fractions:
        every += [job for arm in arms(place, setting, size, fraction).values() for job in arm]
  return every


def measure(place: Place) -> dict[str, Any]:
  """setting → size → share → selector → cell; ranks; cost; tasks."""
  cells: dict[str, Any] = {}
  for setting in settings(place):
    for size, fractions in sizes(place, setting).items():
      for fraction in fractions:
        of = cells.setdefault(setting.name, {}).setdefault(size, {})
        of[str(fraction)] = _cell(place, setting, size, fraction)
  ranks = ranked(cells)
  tasks = _tasks(place)
  costs = {s.name: {n: selection_cost(place, s, n) for n in SELECTORS} for s in settings(place)}
  multipliers = compute_multipliers(cells)
  return {
    "finding": told(cells, ranks, tasks, multipliers),
    "difference": "The paper compares with perplexity alone; Engstrom et al. 2024 find DsDm above "
    "random and similarity to a target at or below it, on tasks that are not the target.",
    "seeds": place.scale.seeds,
    "hoped_share": HOPED_SHARE,
    "ranks": ranks,
    "costs": costs,
    "compute_multipliers": multipliers,
    "tasks": tasks,
    "cells": cells,
  }


def _cell(place: Place, setting: Setting, size: str, fraction: float) -> dict[str, Any]:
  every = arms(place, setting, size, fraction)
  baseline = unfiltered(place, size, setting.data(place))
  elsewhere = {name: _elsewhere(place, arm, setting) for name, arm in every.items()}
  base = _elsewhere(place, baseline, setting)
  found: dict[str, Any] = {}
  for name, arm in every.items():
    control = None if name == RANDOM else every[RANDOM]
    found[name] = cell(place, arm, baseline, control, setting.target)
    found[name]["validation"] = [run["validation"] for run in views(place, arm, setting.target)]
    found[name]["elsewhere"] = elsewhere[name]
    if name != RANDOM and not setting.without:
      found[name]["own_share"] = [_own_share(place, job, setting) for job in arm]
    found[name]["elsewhere_against_unfiltered"] = paired_difference(elsewhere[name], base)
    if control is not None:
      found[name]["elsewhere_against_random"] = paired_difference(
        elsewhere[name], elsewhere[RANDOM]
      )
  return found


def _own_share(place: Place, job: ModelJob, setting: Setting) -> float:
  """The share of the target's own domain in the bytes that a model trains on."""
  assert job.pool is not None
  source = open_source(job.pool.data, "lm")
  left = kept_by_rating(source, job.pool.ratings(place.root), job.config.selection)
  return mixture(source, left)["after"][setting.target]


def _elsewhere(place: Place, arm: Arm, setting: Setting) -> list[float]:
  """Mean bits per byte over the domains that are not the target, by seed."""
  by_seed = [run["domains"] for run in views(place, arm, setting.target)]
  return [float(np.mean([x for d, x in of.items() if d != setting.target])) for of in by_seed]


def ranked(cells: Mapping[str, Any]) -> dict[str, Any]:
  """Selector → rank in each cell (1 is best), mean rank, cells where it is first, or tied with it.

  cell: as `measure` gives them; "tied" counts the first as well.
  """
  found: dict[str, dict[str, Any]] = {}
  for of in every_cell(cells).values():
    order = sorted(of, key=lambda name: np.mean(of[name]["loss"]))
    for rank, name in enumerate(order, 1):
      gap = paired_difference(of[name]["loss"], of[order[0]]["loss"])
      mine = found.setdefault(name, {"ranks": [], "first": 0, "tied": 0})
      mine["ranks"].append(rank)
      mine["first"] += rank == 1
      mine["tied"] += rank == 1 or not gap["beyond_interval"]
  return {
    name: {**of, "mean_rank": float(np.mean(of["ranks"])), "cells": len(of["ranks"])}
    for name, of in sorted(found.items(), key=lambda each: np.mean(each[1]["ranks"]))
  }


def every_cell(cells: Mapping[str, Any]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
  """(setting, size, share) → selector → cell."""
  return {
    (setting, size, fraction): of
    for setting, by_size in cells.items()
    for size, by_fraction in by_size.items()
    for fraction, of in by_fraction.items()
  }


def compute_multipliers(cells: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
  """Size → selector → FLOPs that training on everything takes, over those that training on a
  selection takes to reach the same loss (Engstrom et al. 2024).

  In the first setting, at the last share of each size; mean over seeds, None where one never
  reaches it. The cost of selecting is not in it.
  """
  by_size = next(iter(cells.values()))
  return {
    size: {name: _multiplier(of["flops_share"]) for name, of in [*by_share.values()][-1].items()}
    for size, by_share in by_size.items()
  }


def _multiplier(shares: Sequence[float | None]) -> float | None:
  reached = [1 / share for share in shares if share is not None]
  return float(np.mean(reached)) if len(reached) == len(shares) else None


def _tasks(place: Place) -> dict[str, Any]:
  """task → arm → bits per byte of the right answer by seed, and the difference to random."""
  found: dict[str, Any] = {}
  for name, arm in asked(place).items():
    for job in arm:
      for task, numbers in job.result(place.root).items():
        of = found.setdefault(task, {}).setdefault(name, {"bits_per_byte": []})
        of["bits_per_byte"].append(numbers["bits_per_byte"]["value"])
  for of in found.values():
    for name in of:
      if name != RANDOM:
        of[name]["against_random"] = paired_difference(
          of[name]["bits_per_byte"], of[RANDOM]["bits_per_byte"]
        )
  return found


def told(
  cells: Mapping[str, Any],
  ranks: Mapping[str, Any],
  tasks: Mapping[str, Any],
  multipliers: Mapping[str, Mapping[str, float | None]],
) -> str:
  """What was found, in sentences."""
  best = next(iter(ranks))
  raters = "; ".join(
    f"the {name} is first in {ranks[name]['first']} of {ranks[name]['cells']} cells, and first or "
    f"tied in {ranks[name]['tied']}"
    for name in RATERS
  )
  order = ", ".join(f"{name} {of['mean_rank']:.1f}" for name, of in ranks.items())
  parts = [f"Of all selectors {raters}; {best} has the best mean rank. Mean ranks: {order}."]
  *_, (_, last) = _of(cells, next(iter(cells)))
  own = ", ".join(f"{n} {np.mean(of['own_share']):.0%}" for n, of in last.items() if n != RANDOM)
  parts.append(
    f"Of the smallest selection for the largest models the target's own domain is: {own}."
  )
  for setting in cells:
    counts = {
      name: sum(_better(of[name]["against_random"]) for (s, *_), of in _of(cells, setting))
      for name in SELECTORS
    }
    number = len(_of(cells, setting))
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    parts.append(f"{setting}: cells better than random, of {number}: {listed}.")
  worse = {
    name: sum(_worse(of[name]["elsewhere_against_random"]) for of in every_cell(cells).values())
    for name in SELECTORS
  }
  parts.append(
    "On the domains that are not the target, cells worse than random: "
    + ", ".join(f"{name} {count}" for name, count in worse.items())
    + "."
  )
  means = {
    name: float(np.mean([of[name]["against_random"]["mean"] for of in tasks.values()]))
    for name in (*SELECTORS, UNFILTERED)
  }
  parts.append(
    f"On {len(tasks)} tasks that nobody selected for, mean bits per byte less random's: "
    + ", ".join(f"{name} {mean:+.3f}" for name, mean in means.items())
    + "."
  )
  for size, of in multipliers.items():
    reached = [f"{name} {x:.1f}" for name, x in of.items() if x is not None]
    parts.append(f"Compute multipliers at {size}: {', '.join(reached)}; the others: none.")
  return " ".join(parts)


def _of(cells: Mapping[str, Any], setting: str) -> list[tuple[tuple[str, str, str], Any]]:
  return [(key, of) for key, of in every_cell(cells).items() if key[0] == setting]


def _better(difference: Mapping[str, Any]) -> bool:
  return difference["beyond_interval"] and difference["mean"] < 0


def _worse(difference: Mapping[str, Any]) -> bool:
  return difference["beyond_interval"] and difference["mean"] > 0


def table(results: Mapping[str, Any]) -> str:
  """A row a selector: loss on the target in each cell, the other domains, tasks, and cost."""
  cells, ranks = every_cell(results["cells"]), results["ranks"]
  costs = next(iter(results["costs"].values()))
  *_, multipliers = results["compute_multipliers"].values()
  head = [f"{setting}, {size}, {float(share):.0%}" for setting, size, share in cells]
  lines = [
    f"| selector | mean rank | {' | '.join(head)} | compute | TFLOP | minutes |",
    "|---" * (len(head) + 5) + "|",
  ]
  for name, of in ranks.items():
    losses = [f"{np.mean(cell[name]['loss']):.3f}{_mark(cell[name])}" for cell in cells.values()]
    cost = costs.get(name, {"flops": 0.0, "minutes": 0.0})
    multiplier = f"{multipliers[name]:.1f}x" if multipliers[name] else "never"
    lines.append(
      f"| {name} | {of['mean_rank']:.1f} | {' | '.join(losses)} | {multiplier} | "
      f"{cost['flops'] / 1e12:.1f} | {cost['minutes']:.1f} |"
    )
  base = [f"{np.mean(next(iter(of.values()))['baseline']):.3f}" for of in cells.values()]
  lines += [f"| everything | | {' | '.join(base)} | 1.0x | | |", ""]
  return "\n".join(
    [
      *lines,
      "Bits per byte on the target; * better, † worse than a random share. Compute: FLOPs of "
      "training on everything over those that reach the same loss on the selection, with the "
      "largest model. TFLOP, minutes of a core: of selecting.",
    ]
  )


def _mark(found: Mapping[str, Any]) -> str:
  difference = found.get("against_random")
  if difference is None:
    return ""
  return "*" if _better(difference) else "†" if _worse(difference) else ""


EXPERIMENT = Experiment(
  name="compare_selectors",
  title="Every way to select data, compared",
  paper="Not in the paper, which compares with perplexity filters alone.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
  check=check,
  table=table,
)

if __name__ == "__main__":
  main(EXPERIMENT)
