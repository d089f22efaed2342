"""The paper's ablations of meta-training: one thing changed at a time, all else as in the headline.

    python -m experiments.ablations unroll_length --preset cpu

Each variant meta-trains one rater for the first target; the smallest language models, one a seed,
then train on what it keeps at the headline's discard fraction. So the intervals cover the seeds of
the language model, not of the rater; meta-training costs differ between variants and are given.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import tyro
from matplotlib.figure import Figure

from datarater.config import MetaTrainConfig, OptimizerConfig
from datarater.evaluation.compare import paired_difference
from datarater.report.style import PALETTE, STYLE, interval, panel
from experiments.arms import (
  Arm,
  cell,
  discard_fraction,
  kept,
  random_drop,
  rated_pool,
  rater,
  unfiltered,
)
from experiments.experiment import Experiment, Place, Results, command_line
from experiments.jobs import Job, RaterJob

Variants = Mapping[str, MetaTrainConfig]
ONE_RATER = (
  "One rater a variant, after fewer meta-steps than the headline's: the intervals are of language "
  "models, so luck in meta-training is not in them."
)


def base(place: Place) -> MetaTrainConfig:
  """The config that is varied: the headline's rater at the length of the ablations, inner models
  starting anew as many times.
  """
  config = rater(place, place.scale.objectives[0], place.scale.seeds[0]).config
  steps = place.scale.ablation_steps
  lifetime = max(1, config.meta.lifetime * steps // config.meta.steps)
  meta = dataclasses.replace(config.meta, steps=steps, lifetime=lifetime)
  return dataclasses.replace(config, meta=meta, snapshot_every=0, name="ablation")


def _meta(place: Place, field: str, values: Sequence[Any]) -> Variants:
  usual = base(place)
  return {
    str(value): dataclasses.replace(usual, meta=dataclasses.replace(usual.meta, **{field: value}))
    for value in values
  }


def unroll_length(place: Place) -> Variants:
  return _meta(place, "unroll_length", (1, 2, 4, 8))


def population(place: Place) -> Variants:
  return _meta(place, "population", (1, 2, 4, 8))


def lifetime(place: Place) -> Variants:
  """A tenth of the run, the headline's share of it, and longer than the run: never."""
  steps, usual = place.scale.ablation_steps, base(place).meta.lifetime
  found = _meta(place, "lifetime", tuple(dict.fromkeys((max(1, steps // 10), usual))))
  return {**found, "never": _meta(place, "lifetime", (10 * steps,))[str(10 * steps)]}


def schedule(place: Place) -> Variants:
  return _meta(place, "schedule", ("constant", "cosine"))


def estimator(place: Place) -> Variants:
  return _meta(place, "estimator", ("mixed", "first_order", "evolution"))


def granularity(place: Place) -> Variants:
  """What gets one rating: a token, a packed row, a document in it, or a domain."""
  usual = base(place)
  found = {
    name: dataclasses.replace(usual, data=dataclasses.replace(usual.data, datapoint=name))
    for name in ("token", "sequence", "document")
  }
  return {**found, "mixture": dataclasses.replace(found["document"], rater_kind="mixture")}


def rater_size(place: Place) -> Variants:
  usual = base(place)
  return {
    size: dataclasses.replace(usual, rater=place.scale.model(size))
    for size in place.scale.rater_sizes
  }


def inner_optimizer(place: Place) -> Variants:
  """Plain and with momentum at rates that suit them, Adam as in the headline, and with decay."""
  usual = base(place)
  rate = usual.inner_optimizer.learning_rate
  optimizers = {
    "sgd": OptimizerConfig(name="sgd", learning_rate=100 * rate, clip_norm=1.0),
    "momentum": OptimizerConfig(name="momentum", learning_rate=10 * rate, clip_norm=1.0),
    "adam": usual.inner_optimizer,
    "adamw": dataclasses.replace(usual.inner_optimizer, name="adamw", weight_decay=0.1),
  }
  return {name: dataclasses.replace(usual, inner_optimizer=o) for name, o in optimizers.items()}


ABLATIONS: Mapping[str, tuple[Callable[[Place], Variants], str, str]] = {
  "unroll_length": (
    unroll_length,
    "Inner updates that a meta-gradient runs through",
    "Two inner updates are about as good as four or eight.",
  ),
  "population": (
    population,
    "Inner models in the population",
    "Eight inner models; smaller populations are not reported.",
  ),
  "lifetime": (
    lifetime,
    "Meta-steps until an inner model starts anew",
    "Inner models start anew at staggered ages; the lifetime is not stated.",
  ),
  "schedule": (
    schedule,
    "The meta-learning rate after warm-up",
    "Warm-up over 100 meta-steps; what follows is not stated.",
  ),
  "granularity": (
    granularity,
    "What gets one rating",
    "Rating sequences is better than rating tokens or mixtures (text, no numbers).",
  ),
  "rater_size": (rater_size, "Size of the rater", "One size, 50M; no ablation."),
  "inner_optimizer": (
    inner_optimizer,
    "Optimiser of the inner models",
    "Adam in the inner loop; no ablation.",
  ),
  "estimator": (
    estimator,
    "Estimator of the meta-gradient",
    "Exact for its window, by mixed-mode differentiation; evolution strategies are mentioned for "
    "objectives without a gradient.",
  ),
}


def _arms(place: Place, variants: Callable[[Place], Variants]) -> dict[str, Arm]:
  objective, size = place.scale.objectives[0], place.scale.sizes[0]
  fraction = discard_fraction(place, objective)
  return {
    name: kept(place, size, fraction, [rated_pool(place, RaterJob(config))])
    for name, config in variants(place).items()
  }


def jobs(place: Place, variants: Callable[[Place], Variants]) -> Sequence[Job]:
  """An arm a variant, with baseline and control."""
  objective, size = place.scale.objectives[0], place.scale.sizes[0]
  every = [unfiltered(place, size), random_drop(place, size, discard_fraction(place, objective))]
  every += _arms(place, variants).values()
  return [job for arm in every for job in arm]


def measure(place: Place, variants: Callable[[Place], Variants]) -> dict[str, Any]:
  """variant → cell, with the FLOPs of its meta-training."""
  objective, size = place.scale.objectives[0], place.scale.sizes[0]
  baseline = unfiltered(place, size)
  control = random_drop(place, size, discard_fraction(place, objective))
  configs = variants(place)
  cells = {}
  for name, arm in _arms(place, variants).items():
    cells[name] = cell(place, arm, baseline, control, objective)
    cells[name]["meta_training_flops"] = RaterJob(configs[name]).flops
  order = sorted(cells, key=lambda name: np.mean(cells[name]["loss"]))
  best, last = cells[order[0]], cells[order[-1]]
  alike = [name for name in order[1:] if not _told_apart(best, cells[name])]
  return {
    "finding": f"After {place.scale.ablation_steps} meta-steps the best is {order[0]} "
    f"({np.mean(best['loss']):.3f} bits per byte on {objective}, unfiltered "
    f"{np.mean(best['baseline']):.3f}, random {np.mean(best['random']):.3f}); "
    + (f"not told from it: {', '.join(alike)}" if alike else "all others are told from it")
    + f"; last {order[-1]} ({np.mean(last['loss']):.3f}).",
    "difference": ONE_RATER,
    "seeds": place.scale.seeds,
    "rater_seeds": place.scale.seeds[:1],
    "cells": cells,
  }


def _told_apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
  return bool(paired_difference(a["loss"], b["loss"])["beyond_interval"])


def draw(results: Results) -> Figure:
  """Loss of each variant, with its interval; the lines are unfiltered and random text."""
  cells = results["cells"]
  with matplotlib.rc_context(STYLE):
    figure, axes = panel((620, 90 + 42 * len(cells)))
    axes.grid(axis="x")
    axes.grid(axis="y", visible=False)
    for y, found in enumerate(reversed(cells.values())):
      mean, half_width = interval(found["loss"])
      axes.errorbar(mean, y, xerr=half_width, fmt="o", color=PALETTE["rater"], capsize=4)
    for key, name in (("baseline", "unfiltered"), ("random", "random")):
      value = interval(next(iter(cells.values()))[key])[0]
      dashes = (0, (1, 2)) if name == "unfiltered" else (0, (4, 2))
      axes.axvline(value, color=PALETTE[name], linestyle=dashes, label=name)
    axes.set_yticks(range(len(cells)), list(reversed(cells)))
    axes.set_ylim(-0.6, len(cells) - 0.4)
    axes.margins(x=0.08)
    axes.set_xlabel("held-out bits per byte, mean and 95% interval")
    axes.set_title(results["title"].split(": ", 1)[-1])
    axes.legend(loc="best")
    return figure


def experiment(
  name: str, variants: Callable[[Place], Variants], title: str, paper: str
) -> Experiment:
  """The experiment of an ablation. title, paper: what is varied, what the paper says of it."""
  return Experiment(
    name=f"ablation_{name}",
    title=f"Ablation: {title[0].lower()}{title[1:]}",
    paper=paper,
    jobs=functools.partial(jobs, variants=variants),
    measure=functools.partial(measure, variants=variants),
    draw=draw,
    after=("learning_rates", "fig4_discard_sweep"),
    module=f"ablations {name}",
  )


EXPERIMENTS = {name: experiment(name, *about) for name, about in ABLATIONS.items()}

if __name__ == "__main__":
  tyro.extras.subcommand_cli_from_dict(
    {name: command_line(each) for name, each in EXPERIMENTS.items()},
    prog="python -m experiments.ablations",
    description=__doc__,
  )
