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

from datarater.evaluation.compare import paired_difference
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
  best_by_size = {
    objective: {size: best(sweep, "validation") for size, sweep in sizes.items()}
    for objective, sizes in cells.items()
  }
  smallest, headline = place.scale.sizes[0], place.scale.objectives[0]
  chosen = {objective: float(of[smallest]) for objective, of in best_by_size.items()}
  worse = _where_worse(cells[headline], best_by_size[headline], str(chosen[headline]))
  return {
    "finding": f"Best by validation loss for {headline}: {_told(cells, best_by_size, headline)}. "
    "Chosen at the smallest size: "
    + ", ".join(
      f"{_told(cells, {o: {smallest: of[smallest]}}, o)} for {o}" for o, of in best_by_size.items()
    )
    + ".",
    "difference": f"The fraction that is best at {smallest} is worse than the best one, beyond the "
    f"interval, at {', '.join(worse)}."
    if worse
    else "",
    "seeds": place.scale.seeds,
    "chosen": chosen,
    "best_by_size": best_by_size,
    "cells": cells,
  }


def _told(cells: Mapping[str, Any], best: Mapping[str, Mapping[str, str]], objective: str) -> str:
  """Each size's best fraction; whether it helps at all is read on the test split."""
  parts = []
  for size, fraction in best[objective].items():
    against = cells[objective][size][fraction]["against_unfiltered"]
    helps = against["beyond_interval"] and against["mean"] < 0
    note = "" if helps else " (no better than unfiltered beyond the interval)"
    parts.append(f"{float(fraction):.0%} at {size}{note}")
  return ", ".join(parts)


def _where_worse(
  sizes: Mapping[str, Any], best_by_size: Mapping[str, str], fraction: str
) -> list[str]:
  """Sizes at which another fraction than `fraction` is better, seed by seed."""
  found = []
  for size, sweep in sizes.items():
    gap = paired_difference(sweep[fraction]["loss"], sweep[best_by_size[size]]["loss"])
    if gap["mean"] > 0 and gap["beyond_interval"]:
      found.append(size)
  return found


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
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
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
      seen += [stats[:, 0] - stats[:, 1], stats[:, 0] + stats[:, 1]]
  base = interval(next(iter(sweep.values()))["baseline"])[0]
  axes.axhline(base, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)), label="unfiltered")
  fit_height(axes, [*seen, np.array([base])])
  axes.set_xticks(fractions, [f"{fraction:.0%}" for fraction in fractions])
  axes.margins(x=0.06)
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
