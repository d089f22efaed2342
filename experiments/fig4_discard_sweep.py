"""Figure 4 of the paper: how much to discard, by size of the language model.

    python -m experiments.fig4_discard_sweep --preset cpu

The first objective is swept at every size, the others at the smallest, which is how the paper
chooses: the fraction with the best validation loss there. Every later figure uses that choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarater.report.style import PALETTE, STYLE, arm_colour, fit_height, interval, panels
from experiments.arms import (
  Arm,
  cell,
  kept,
  random_drop,
  rated_pool,
  rater,
  unfiltered,
  views,
)
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job


def _swept_sizes(place: Place, objective: str) -> tuple[str, ...]:
  sizes = place.scale.sizes
  return sizes if objective == place.scale.objectives[0] else sizes[:1]


def _arms(place: Place) -> dict[tuple[str, str, float], Arm]:
  """(objective, size, fraction) → the arm that the rater's ratings leave."""
  arms = {}
  for objective in place.scale.objectives:
    pools = [rated_pool(place, rater(place, objective, seed)) for seed in place.scale.seeds]
    for size in _swept_sizes(place, objective):
      for fraction in place.scale.discard_fractions:
        arms[objective, size, fraction] = kept(place, size, fraction, pools)
  return arms


def _controls(place: Place) -> dict[float, Arm]:
  """Random shares, at the smallest size."""
  scale = place.scale
  return {f: random_drop(place, scale.sizes[0], f) for f in scale.discard_fractions}


def jobs(place: Place) -> Sequence[Job]:
  """The sweep, its controls, and unfiltered text."""
  baselines = [unfiltered(place, size) for size in place.scale.sizes]
  arms = [*baselines, *_arms(place).values(), *_controls(place).values()]
  return [job for arm in arms for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """Losses by objective, size and fraction, against unfiltered and random text; the choice."""
  controls = _controls(place)
  cells: dict[str, Any] = {}
  for (objective, size, fraction), arm in _arms(place).items():
    control = controls[fraction] if size == place.scale.sizes[0] else None
    found = cell(place, arm, unfiltered(place, size), control, objective)
    found["validation"] = [run["validation"] for run in views(place, arm, objective)]
    cells.setdefault(objective, {}).setdefault(size, {})[str(fraction)] = found
  by_loss = {
    objective: {size: best(sweep, "loss") for size, sweep in sizes.items()}
    for objective, sizes in cells.items()
  }
  chosen = {
    objective: float(best(sizes[place.scale.sizes[0]], "validation"))
    for objective, sizes in cells.items()
  }
  headline = place.scale.objectives[0]
  shared = len(set(by_loss[headline].values())) == 1
  by_size = ", ".join(f"{float(f):.0%} at {size}" for size, f in by_loss[headline].items())
  return {
    "finding": f"For {headline} the best fraction to discard is {by_size}. Chosen at the smallest "
    "size, by validation loss: "
    + ", ".join(f"{fraction:.0%} for {objective}" for objective, fraction in chosen.items())
    + ".",
    "difference": "" if shared else "Here the sizes do not share one best fraction.",
    "seeds": place.scale.seeds,
    "chosen": chosen,
    "best_by_size": by_loss,
    "cells": cells,
  }


def best(sweep: Mapping[str, Mapping[str, Any]], by: str) -> str:
  """The fraction whose mean over seeds of `loss` or `validation` is least."""
  return min(sweep, key=lambda fraction: np.mean(sweep[fraction][by]))


def draw(results: Results) -> Figure:
  """Loss against fraction, a panel an objective and size."""
  shown = [(o, size) for o, sizes in results["cells"].items() for size in sizes]
  columns = min(3, len(shown))
  rows = -(-len(shown) // columns)
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, 300 * rows), rows, columns)
    for axes, (objective, size) in zip(grid, shown, strict=False):
      draw_sweep(axes, results["cells"][objective][size], f"{objective}, {size}")
    for axes in grid[len(shown) :]:
      axes.set_visible(False)
    grid[0].legend()
    return figure


def draw_sweep(axes: Axes, sweep: Mapping[str, Any], title: str) -> None:
  """Loss of the arm and of random text against the fraction; the line is unfiltered text."""
  fractions = np.array([float(f) for f in sweep])
  seen = []
  for key, name in (("random", "random"), ("loss", "rater")):
    stats = np.array([interval(found.get(key)) for found in sweep.values()])
    if np.isfinite(stats[:, 0]).any():
      colour = arm_colour(name)
      axes.errorbar(
        fractions, stats[:, 0], stats[:, 1], color=colour, marker="o", capsize=3, label=name
      )
      seen.append(stats[:, 0])
  base = interval(next(iter(sweep.values()))["baseline"])[0]
  axes.axhline(base, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)), label="unfiltered")
  fit_height(axes, [*seen, np.array([base])])
  axes.set_title(title)
  axes.set_xlabel("fraction discarded")
  axes.set_ylabel("bits per byte")


EXPERIMENT = Experiment(
  name="fig4_discard_sweep",
  title="Figure 4: how much to discard, by model size",
  paper="The best fraction is shared by all sizes (50M to 1B): 10% for C4, 50% for C4/noclean, 75% "
  "for the Pile.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
)

if __name__ == "__main__":
  main(EXPERIMENT)
