"""Figure 5 of the paper: learning curves of the largest model, filtered and not.

    python -m experiments.fig5_curves --preset cpu

Held-out loss against FLOPs, with rating counted as the pool is drawn. The language models are those
of figure 6.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from datarater.evaluation.compare import paired_difference
from datarater.report.style import STYLE, arm_colours, fit_height, numbers, panels
from experiments.arms import Arm, discard_fraction, random_drop, unfiltered, views
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig6_grid import arms
from experiments.jobs import Job
from experiments.statistics import compared


def _arms(place: Place) -> dict[str, dict[str, Arm]]:
  """objective → name → arm, at the largest size."""
  size = place.scale.sizes[-1]
  return {
    objective: {
      "unfiltered": unfiltered(place, size),
      "random": random_drop(place, size, discard_fraction(place, objective)),
      "rater": arms(place)[objective, size],
    }
    for objective in place.scale.objectives
  }


def jobs(place: Place) -> Sequence[Job]:
  """The three arms of each objective."""
  return [job for arms in _arms(place).values() for arm in arms.values() for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """objective → arm → runs, with their curves."""
  curves = {
    objective: {name: views(place, arm, objective) for name, arm in arms.items()}
    for objective, arms in _arms(place).items()
  }
  below, behind = [], []
  for objective, of in curves.items():
    mine, base = (numbers([run["curve"] for run in of[name]])[..., 1] for name in _PAIR)
    ahead = (mine.mean(axis=0) < base.mean(axis=0)).mean()
    at_end = compared(paired_difference(list(mine[:, -1]), list(base[:, -1])))
    if at_end != "better than":
      behind.append(objective)
    below.append(f"{objective} at {ahead:.0%} of the points, and at the end {at_end} it")
  return {
    "finding": "At equal steps the filtered model is ahead of the unfiltered one for "
    + "; ".join(below)
    + ".",
    "difference": f"Here the filtered model does not end better for {', '.join(behind)}."
    if behind
    else "",
    "seeds": place.scale.seeds,
    "size": place.scale.sizes[-1],
    "curves": curves,
  }


_PAIR = ("rater", "unfiltered")


def draw(results: Results) -> Figure:
  """A panel an objective: mean over seeds, band from least to most."""
  with matplotlib.rc_context(STYLE):
    count = len(results["curves"])
    figure, grid = panels((920, 320), 1, count)
    for axes, (objective, of) in zip(grid, results["curves"].items(), strict=True):
      seen = []
      for name, colour in arm_colours(of).items():
        curves = numbers([run["curve"] for run in of[name]])
        flops, losses = curves[0, :, 0], curves[..., 1]
        axes.plot(flops, losses.mean(axis=0), color=colour, label=name)
        axes.fill_between(
          flops, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.15, linewidth=0
        )
        seen.append(losses[:, 1:])
      fit_height(axes, seen)
      axes.set_title(f"{objective}, bits per byte")
      axes.set_xlabel("FLOPs, rating counted")
    grid[-1].legend()
    return figure


EXPERIMENT = Experiment(
  name="fig5_curves",
  title="Figure 5: learning curves of the largest model",
  paper="At 1B the filtered model learns faster, and often ends better.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates", "fig4_discard_sweep"),
)

if __name__ == "__main__":
  main(EXPERIMENT)
