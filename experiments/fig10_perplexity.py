"""Figures 10 and 11 of the paper: filters by perplexity against the rater.

    python -m experiments.fig10_perplexity --preset cpu

A language model of the smallest size, trained on text that no final model sees, gives each document
its perplexity; the filters keep the low, the middle or the high ones. Each, and the rater, is tried
at the same discard fractions with the smallest language model, and compared at its best by
validation loss.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.evaluation.compare import paired_difference
from datarater.report.style import PALETTE, STYLE, arm_colours, fit_height, interval, panels
from experiments.arms import (
  Arm,
  cell,
  kept,
  learning_rate,
  random_drop,
  rated_pool,
  rater,
  unfiltered,
  views,
)
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig4_discard_sweep import best
from experiments.jobs import Job, ModelJob, PerplexityJob, PoolJob
from experiments.scale import HELDOUT
from experiments.statistics import compared

FILTERS = ("rater", "low", "middle", "high")
FRACTIONS = (0.5, 0.75)


def proxy(place: Place) -> ModelJob:
  """The model that gives perplexities."""
  size = place.scale.sizes[0]
  data = dataclasses.replace(place.scale.data, lm=place.scale.proxy)
  config = place.scale.train_config(size, learning_rate(place, size), place.scale.seeds[0], data)
  return ModelJob(dataclasses.replace(config, name=f"{size} proxy"), keeps_model=True)


def _pools(place: Place, name: str, objective: str) -> Sequence[PoolJob]:
  if name == "rater":
    return [rated_pool(place, rater(place, objective, seed)) for seed in place.scale.seeds]
  return [PerplexityJob(proxy(place), place.scale.data, name)]  # type: ignore[arg-type]


def _objectives(place: Place) -> tuple[str, ...]:
  return (place.scale.objectives[0], HELDOUT)


def _sweep(place: Place, objective: str, size: str) -> dict[tuple[str, float], Arm]:
  return {
    (name, fraction): kept(place, size, fraction, _pools(place, name, objective))
    for name in FILTERS
    for fraction in FRACTIONS
  }


def _controls(place: Place) -> dict[float, Arm]:
  return {f: random_drop(place, place.scale.sizes[0], f) for f in FRACTIONS}


def jobs(place: Place) -> Sequence[Job]:
  """The sweep of every filter for both objectives."""
  size = place.scale.sizes[0]
  arms: list[Arm] = [unfiltered(place, size), *_controls(place).values()]
  for objective in _objectives(place):
    arms += _sweep(place, objective, size).values()
  return [job for arm in arms for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """objective → filter → fraction → cell, and each filter's best by validation loss."""
  size = place.scale.sizes[0]
  cells: dict[str, Any] = {}
  chosen: dict[str, Any] = {}
  for objective in _objectives(place):
    for (name, fraction), arm in _sweep(place, objective, size).items():
      control = _controls(place)[fraction]
      found = cell(place, arm, unfiltered(place, size), control, objective)
      found["validation"] = [run["validation"] for run in views(place, arm, objective)]
      cells.setdefault(objective, {}).setdefault(name, {})[str(fraction)] = found
    fractions = {name: best(sweep, "validation") for name, sweep in cells[objective].items()}
    chosen[objective] = {
      name: {"discard_fraction": float(fraction), **cells[objective][name][fraction]}
      for name, fraction in fractions.items()
    }
  told = []
  for objective, of in chosen.items():
    order = sorted(of, key=lambda name: np.mean(of[name]["loss"]))
    losses = ", ".join(f"{n} {np.mean(of[n]['loss']):.3f}" for n in order)
    rival = next(n for n in order if n != "rater")
    gap = paired_difference(of["rater"]["loss"], of[rival]["loss"])
    told.append(f"{objective}: {losses}; the rater is {compared(gap)} {rival} perplexity")
  lost = [
    objective
    for objective, of in chosen.items()
    if min(of, key=lambda name: np.mean(of[name]["loss"])) != "rater"
  ]
  won = len(chosen) - len(lost)
  return {
    "finding": f"The rater is best for {won} of {len(chosen)} objectives. Best fraction of each "
    f"filter, bits per byte: {'. '.join(told)}.",
    "difference": f"Here the rater is not best for {', '.join(lost)}." if lost else "",
    "seeds": place.scale.seeds,
    "proxy_seeds": place.scale.seeds[:1],
    "best": chosen,
    "cells": cells,
  }


def draw(results: Results) -> Figure:
  """Loss against fraction, a line a filter, a panel an objective."""
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, 360), 1, len(results["cells"]))
    for axes, (objective, filters) in zip(grid, results["cells"].items(), strict=True):
      seen = []
      colours = arm_colours(filters)
      for name, sweep in filters.items():
        stats = np.array([interval(found["loss"]) for found in sweep.values()])
        label = name if name == "rater" else f"{name} perplexity"
        look = {"color": colours[name], "marker": "o", "capsize": 3, "label": label}
        axes.errorbar([float(f) for f in sweep], stats[:, 0], stats[:, 1], **look)
        seen += [stats[:, 0] - stats[:, 1], stats[:, 0] + stats[:, 1]]
      base = interval(next(iter(next(iter(filters.values())).values()))["baseline"])[0]
      axes.axhline(base, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)), label="unfiltered")
      fit_height(axes, [*seen, np.array([base])])
      axes.set_title(f"{objective}, bits per byte")
      axes.set_xlabel("fraction discarded")
      axes.set_xticks(FRACTIONS, [f"{fraction:.0%}" for fraction in FRACTIONS])
      axes.margins(x=0.06)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


EXPERIMENT = Experiment(
  name="fig10_perplexity",
  title="Figures 10 and 11: filters by perplexity against the rater",
  paper="The best of each filter: the rater is best in 16 of 21 cells against low, middle and high "
  "perplexity.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
)

if __name__ == "__main__":
  main(EXPERIMENT)
