"""Figure 9 of the paper: gain by size of the inner models and by length of meta-training.

    python -m experiments.fig9_inner_scale --preset cpu

One rater a size of inner model; language models of the smallest size over three seeds on what its
snapshots keep. A larger inner model makes a meta-step dearer: the FLOPs are given too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.report.style import PALETTE, STYLE, arm_colour, fit_height, interval, panel
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
from experiments.jobs import Job, RaterJob


def _rater(place: Place, inner: str) -> RaterJob:
  base = rater(place, place.scale.objectives[0], place.scale.seeds[0]).config
  return RaterJob(
    dataclasses.replace(base, inner=place.scale.model(inner), name=f"{base.name}, inner {inner}")
  )


def _snapshots(job: RaterJob) -> list[int]:
  """The first and the last: early on, and at the end."""
  return [job.config.snapshot_every, job.config.meta.steps]


def _arms(place: Place) -> dict[tuple[str, int], Arm]:
  """(inner size, meta-steps) → arm."""
  objective, size = place.scale.objectives[0], place.scale.sizes[0]
  fraction = discard_fraction(place, objective)
  found = {}
  for inner in place.scale.inner_sizes:
    job = _rater(place, inner)
    for step in _snapshots(job):
      last = step == job.config.meta.steps
      pool = rated_pool(place, job, step=0 if last else step)
      found[inner, step] = kept(place, size, fraction, [pool])
  return found


def _control(place: Place) -> Arm:
  fraction = discard_fraction(place, place.scale.objectives[0])
  return random_drop(place, place.scale.sizes[0], fraction)


def jobs(place: Place) -> Sequence[Job]:
  """All snapshots of all raters, unfiltered text and a random share."""
  every = [unfiltered(place, place.scale.sizes[0]), _control(place), *_arms(place).values()]
  return [job for arm in every for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """inner size → meta-steps → cell, and the FLOPs of meta-training until then."""
  objective, size = place.scale.objectives[0], place.scale.sizes[0]
  baseline = unfiltered(place, size)
  cells: dict[str, Any] = {}
  for (inner, step), arm in _arms(place).items():
    found = cell(place, arm, baseline, _control(place), objective)
    job = _rater(place, inner)
    found["meta_training_flops"] = job.flops * step / job.config.meta.steps
    cells.setdefault(inner, {})[str(step)] = found
  final = {inner: float(np.mean(_last(of)["loss"])) for inner, of in cells.items()}
  best = min(final, key=lambda inner: final[inner])
  largest = place.scale.inner_sizes[-1]
  return {
    "finding": f"At the end the best inner model has {best} parameters: "
    + ", ".join(f"{loss:.3f} with {inner}" for inner, loss in final.items())
    + f" (unfiltered {np.mean(_last(cells[best])['baseline']):.3f}, random "
    f"{np.mean(_last(cells[best])['random']):.3f}; bits per byte on {objective}).",
    "difference": ""
    if best == largest
    else "Here the largest inner model is not the best at equal meta-steps.",
    "seeds": place.scale.seeds,
    "rater_seeds": place.scale.seeds[:1],
    "cells": cells,
  }


def _last(of: dict[str, Any]) -> dict[str, Any]:
  return of[max(of, key=int)]


def draw(results: Results) -> Figure:
  """Loss against meta-steps, a line a size of inner model."""
  with matplotlib.rc_context(STYLE):
    figure, axes = panel((720, 380))
    seen = []
    for i, (inner, of) in enumerate(results["cells"].items()):
      steps = [int(step) for step in of]
      stats = np.array([interval(found["loss"]) for found in of.values()])
      look = {"color": arm_colour(inner, i), "marker": "o", "capsize": 3, "label": f"inner {inner}"}
      axes.errorbar(steps, stats[:, 0], stats[:, 1], **look)
      seen += [stats[:, 0] - stats[:, 1], stats[:, 0] + stats[:, 1]]
    base = interval(next(iter(next(iter(results["cells"].values())).values()))["baseline"])[0]
    axes.axhline(base, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)), label="unfiltered")
    fit_height(axes, [*seen, np.array([base])])
    axes.set_xlabel("meta-steps")
    axes.set_xticks(sorted({int(step) for of in results["cells"].values() for step in of}))
    axes.margins(x=0.06)
    axes.set_title("held-out bits per byte of the smallest model on what the rater keeps")
    axes.legend(loc="center")
    return figure


EXPERIMENT = Experiment(
  name="fig9_inner_scale",
  title="Figure 9: inner models by size and length of meta-training",
  paper="Larger inner models are better; eight of 400M are best.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates", "fig4_discard_sweep"),
)

if __name__ == "__main__":
  main(EXPERIMENT)
