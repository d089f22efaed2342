"""A target whose own domain is not in the pool: is likeness to the target all that a rater learns?

    python -m experiments.own_domain --preset cpu

For each target the domain that it comes from is taken out of meta-training's pool and out of the
final models' pool, so that what is kept must help without being of the same kind. A few discard
fractions are tried with the smallest language model, and chosen among by validation loss.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.data_config import DataConfig
from datarater.report.style import STYLE, panels
from experiments.arms import (
  Arm,
  cell,
  kept,
  pool_data,
  random_drop,
  rated_pool,
  rater,
  unfiltered,
  views,
)
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig4_discard_sweep import best, draw_sweep
from experiments.jobs import Job
from experiments.statistics import compared

FRACTIONS = (0.5, 0.75)


def _data(place: Place, target: str) -> DataConfig:
  return pool_data(place.scale.data, without=(target,))


def _sweep(place: Place, target: str) -> dict[float, tuple[Arm, Arm]]:
  """fraction → (the rater's arm, the random one)."""
  size = place.scale.sizes[0]
  pool = rated_pool(place, rater(place, target, place.scale.seeds[0], without=(target,)))
  return {
    fraction: (
      kept(place, size, fraction, [pool]),
      random_drop(place, size, fraction, _data(place, target)),
    )
    for fraction in FRACTIONS
  }


def jobs(place: Place) -> Sequence[Job]:
  """Both arms at every fraction, and unfiltered text, for each target."""
  every: list[Arm] = []
  for target in place.scale.targets:
    every.append(unfiltered(place, place.scale.sizes[0], _data(place, target)))
    every += [arm for pair in _sweep(place, target).values() for arm in pair]
  return [job for arm in every for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """target → fraction → cell, and the choice."""
  cells: dict[str, Any] = {}
  for target in place.scale.targets:
    baseline = unfiltered(place, place.scale.sizes[0], _data(place, target))
    for fraction, (arm, control) in _sweep(place, target).items():
      found = cell(place, arm, baseline, control, target)
      found["validation"] = [run["validation"] for run in views(place, arm, target)]
      cells.setdefault(target, {})[str(fraction)] = found
  chosen = {target: best(sweep, "validation") for target, sweep in cells.items()}
  told = []
  for target, fraction in chosen.items():
    found = cells[target][fraction]
    told.append(
      f"{target}: {np.mean(found['loss']):.3f}, {compared(found['against_random'])} random "
      f"({np.mean(found['random']):.3f}), {compared(found['against_unfiltered'])} unfiltered "
      f"({np.mean(found['baseline']):.3f}), discarding {float(fraction):.0%}"
    )
  return {
    "finding": "Without the target's own domain in the pool, bits per byte: "
    + "; ".join(told)
    + ".",
    "difference": "The paper reports no such control.",
    "seeds": place.scale.seeds,
    "rater_seeds": place.scale.seeds[:1],
    "chosen": {target: float(fraction) for target, fraction in chosen.items()},
    "cells": cells,
  }


def draw(results: Results) -> Figure:
  """Loss against fraction, a panel a target."""
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, 340), 1, len(results["cells"]))
    for axes, (target, sweep) in zip(grid, results["cells"].items(), strict=True):
      draw_sweep(axes, sweep, f"{target}, its own domain removed")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


EXPERIMENT = Experiment(
  name="own_domain",
  title="A target whose own domain is not in the pool",
  paper="Not in the paper.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
)

if __name__ == "__main__":
  main(EXPERIMENT)
