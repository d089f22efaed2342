"""A clean corpus: the pool is the target's own domain alone. Is there anything to filter?

    python -m experiments.clean_corpus --preset cpu

Critics of learned filters say that gains vanish on text that is clean already. Where no arm beats
unfiltered text beyond its interval, the advice is: do not filter.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.report.style import STYLE, panels
from experiments.arms import (
  Arm,
  cell,
  kept,
  pool_data,
  random_drop,
  rater,
  unfiltered,
)
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig4_discard_sweep import draw_sweep
from experiments.jobs import Job, RatingJob

FRACTIONS = (0.25, 0.5)
"""A larger one would leave less than a model of the smallest size reads."""


def _sweep(place: Place) -> tuple[Arm, dict[float, tuple[Arm, Arm]]]:
  """(unfiltered, fraction → (the rater's arm, the random one)); the pool is its whole split."""
  target, size = place.scale.targets[0], place.scale.sizes[0]
  data = dataclasses.replace(pool_data(place.scale.data, only=(target,)), lm="lm")
  pool = RatingJob(rater(place, target, place.scale.seeds[0], only=(target,)), data)
  return unfiltered(place, size, data), {
    fraction: (kept(place, size, fraction, [pool]), random_drop(place, size, fraction, data))
    for fraction in FRACTIONS
  }


def jobs(place: Place) -> Sequence[Job]:
  """Both arms at every fraction, and unfiltered text."""
  baseline, sweep = _sweep(place)
  return [job for arm in (baseline, *(a for pair in sweep.values() for a in pair)) for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """fraction → cell, and the advice."""
  target = place.scale.targets[0]
  baseline, sweep = _sweep(place)
  cells = {
    str(fraction): cell(place, arm, baseline, control, target)
    for fraction, (arm, control) in sweep.items()
  }
  helped = [
    fraction
    for fraction, found in cells.items()
    if found["against_unfiltered"]["beyond_interval"] and found["against_unfiltered"]["mean"] < 0
  ]
  told = ", ".join(f"{float(f):.0%} discarded {np.mean(c['loss']):.3f}" for f, c in cells.items())
  advice = (
    f"Filtering helps at {', '.join(f'{float(f):.0%}' for f in helped)}."
    if helped
    else "No arm beats unfiltered text beyond its interval: do not filter."
  )
  return {
    "finding": f"{advice} Unfiltered {np.mean(next(iter(cells.values()))['baseline']):.3f}, {told} "
    "(bits per byte).",
    "difference": "The paper's cleanest corpus is a filtered crawl; here the pool is the target's "
    "own domain and nothing else.",
    "seeds": place.scale.seeds,
    "rater_seeds": place.scale.seeds[:1],
    "filtering_helps": bool(helped),
    "cells": cells,
  }


def draw(results: Results) -> Figure:
  """Loss against fraction."""
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((520, 340), 1, 1)
    draw_sweep(grid[0], results["cells"], "the pool is the target's domain alone")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


EXPERIMENT = Experiment(
  name="clean_corpus",
  title="A clean corpus: the target's own domain alone as pool",
  paper="On C4, the best filtered of its corpora, gains are smallest: 3.91 → 3.91 on Wikipedia and "
  "3.65 → 3.62 on validation at 50M.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
)

if __name__ == "__main__":
  main(EXPERIMENT)
