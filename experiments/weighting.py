"""Weighting against filtering: three ways of using the same ratings.

    python -m experiments.weighting --preset cpu

    filter   the top share by rating, what the paper does
    draw     as large a share, drawn without replacement with chances that go with exp(rating)
    weigh    everything, each document weighed in its batch as in meta-training

Meta-training only ever weighs. A filter makes small differences absolute, which matters where whole
domains are rated a little lower than the rest.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.report.style import PALETTE, STYLE, interval, panels
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
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, RatingJob
from experiments.ratings import shown_objectives
from experiments.statistics import compared

USES = ("filter", "draw", "weigh")


def _pools(place: Place, objective: str, drawn: bool) -> list[RatingJob]:
  return [
    rated_pool(place, rater(place, objective, seed), change="drawn" if drawn else "none")
    for seed in place.scale.seeds
  ]


def _arm(place: Place, objective: str, use: str) -> Arm:
  size, fraction = place.scale.sizes[0], discard_fraction(place, objective)
  arm = kept(place, size, fraction, _pools(place, objective, use == "draw"))
  if use != "weigh":
    return arm
  return [
    dataclasses.replace(
      job,
      config=dataclasses.replace(
        job.config, selection=dataclasses.replace(job.config.selection, mode="weighted")
      ),
    )
    for job in arm
  ]


def jobs(place: Place) -> Sequence[Job]:
  """Every use for two objectives, with baseline and control."""
  arms: list[Arm] = [unfiltered(place, place.scale.sizes[0])]
  for objective in shown_objectives(place):
    arms.append(random_drop(place, place.scale.sizes[0], discard_fraction(place, objective)))
    arms += [_arm(place, objective, use) for use in USES]
  return [job for arm in arms for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """objective → use → cell."""
  size = place.scale.sizes[0]
  cells = {}
  for objective in shown_objectives(place):
    control = random_drop(place, size, discard_fraction(place, objective))
    cells[objective] = {
      use: cell(place, _arm(place, objective, use), unfiltered(place, size), control, objective)
      for use in USES
    }
  told = []
  for objective, of in cells.items():
    base, drawn = (np.mean(of["filter"][key]) for key in ("baseline", "random"))
    losses = ", ".join(
      f"{use} {np.mean(found['loss']):.3f} ({compared(found['against_unfiltered'])} unfiltered)"
      for use, found in of.items()
    )
    told.append(f"{objective}: {losses}; unfiltered {base:.3f}, random {drawn:.3f}")
  return {
    "finding": f"Bits per byte by use of the ratings. {'. '.join(told)}.",
    "difference": "The paper does not compare them.",
    "seeds": place.scale.seeds,
    "discard_fraction": {o: discard_fraction(place, o) for o in cells},
    "cells": cells,
  }


def draw(results: Results) -> Figure:
  """Loss of each use with its interval, a panel an objective."""
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, 240), 1, len(results["cells"]))
    for axes, (objective, of) in zip(grid, results["cells"].items(), strict=True):
      axes.grid(axis="x")
      axes.grid(axis="y", visible=False)
      for y, found in enumerate(reversed(of.values())):
        mean, half_width = interval(found["loss"])
        axes.errorbar(mean, y, xerr=half_width, fmt="o", color=PALETTE["rater"], capsize=4)
      first = next(iter(of.values()))
      for key, name in (("baseline", "unfiltered"), ("random", "random")):
        dashes = (0, (1, 2)) if name == "unfiltered" else (0, (4, 2))
        axes.axvline(np.mean(first[key]), color=PALETTE[name], linestyle=dashes, label=name)
      axes.set_yticks(range(len(of)), list(reversed(of)))
      axes.set_ylim(-0.6, len(of) - 0.4)
      axes.margins(x=0.08)
      axes.set_title(f"{objective}, bits per byte")
    grid[0].legend()
    return figure


EXPERIMENT = Experiment(
  name="weighting",
  title="Weighting against filtering",
  paper="Filters with ratings that were learned as weights; no comparison.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates", "fig4_discard_sweep"),
)

if __name__ == "__main__":
  main(EXPERIMENT)
