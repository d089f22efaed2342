"""Figure 1 of the paper: the FLOPs that a filtered model needs to match the unfiltered one.

    python -m experiments.fig1_compute_gain --preset cpu

At the largest size, for each objective: the share of the baseline's FLOPs at which the arm reaches
the baseline's final loss, with the rating of all that was drawn counted, and without. Shares by
size are there too. The language models are those of figure 6; of the smallest, whose losses spread
most over seeds, there are more for the headline's objective.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.data.tokenizers import load_tokenizer
from datarater.models import cost
from datarater.report.style import PALETTE, STYLE, panel
from experiments.arms import Arm, cell, discard_fraction, mean, random_drop, unfiltered
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig6_grid import arm
from experiments.jobs import Job
from experiments.scale import HELDOUT, Preset

TARGET_SHARE, TARGET_SHARE_NET = 0.5, 0.6
"""What we hoped for: at most so much of the baseline's FLOPs, without and with rating counted."""


MORE_SEEDS: Mapping[Preset, tuple[int, ...]] = {"cpu": (3, 4)}
"""Of the smallest size, for the headline's objective."""


def _arms(place: Place) -> Iterator[tuple[str, str, Arm, Arm, Arm]]:
  """(objective, size, the rater's arm, unfiltered, random)."""
  scale = place.scale
  more = (scale.objectives[0], scale.sizes[0])
  for objective in scale.objectives:
    for size in scale.sizes:
      seeds = (*scale.seeds, *MORE_SEEDS.get(scale.name, ())) if (objective, size) == more else ()
      here = place.with_seeds(seeds) if seeds else place
      control = random_drop(here, size, discard_fraction(here, objective))
      yield objective, size, arm(here, objective, size), unfiltered(here, size), control


def jobs(place: Place) -> Sequence[Job]:
  """The arms of figure 6 with their baselines and controls."""
  return [job for _, _, *arms in _arms(place) for each in arms for job in each]


def measure(place: Place) -> dict[str, Any]:
  """objective → size → cell."""
  cells: dict[str, Any] = {}
  for objective, size, mine, baseline, control in _arms(place):
    cells.setdefault(objective, {})[size] = cell(place, mine, baseline, control, objective)
  largest = place.scale.sizes[-1]
  told = [
    f"{objective} {_percent(found[largest]['flops_share_net'])} "
    f"({_percent(found[largest]['flops_share'])} without rating)"
    for objective, found in cells.items()
  ]
  return {
    "finding": f"At {largest}, with rating and oversampling counted, the loss of unfiltered "
    f"training is reached with this share of its FLOPs: {'; '.join(told)}.",
    "difference": f"The paper's objective is the pool's own distribution ({HELDOUT}). Small models "
    f"pay more for the rating: the rater has {_rater_shares(place)} parameters."
    f"{_more_seeds(place)}",
    "seeds": place.scale.seeds,
    "more_seeds_of_the_smallest": MORE_SEEDS.get(place.scale.name, ()),
    "discard_fraction": {o: discard_fraction(place, o) for o in place.scale.objectives},
    "cells": cells,
  }


def _more_seeds(place: Place) -> str:
  more = len(MORE_SEEDS.get(place.scale.name, ()))
  if not more:
    return ""
  return (
    f" The smallest model has {more} further seeds for {place.scale.objectives[0]}, added after "
    "the intervals of the first three had touched random drop's; figure 6 has those three."
  )


def _rater_shares(place: Place) -> str:
  """The rater's parameters over those of each size, vocabulary included."""
  scale = place.scale
  vocab_size = load_tokenizer(scale.data.tokenizer).vocab_size
  mine = cost.rater_parameters(scale.model(scale.rater), vocab_size)
  shares = (
    f"{mine / cost.language_model_parameters(scale.model(size), vocab_size):.0%} of the {size} "
    "model's"
    for size in scale.sizes
  )
  return ", ".join(shares)


def _percent(shares: Sequence[float | None]) -> str:
  share = mean(shares)
  missed = sum(each is None for each in shares)
  return f"not in {missed} of {len(shares)} seeds" if share is None else f"{share:.0%}"


def draw(results: Results) -> Figure:
  """Bars of FLOPs needed: an objective and size each, rating on top of training."""
  rows = [(o, size) for o, sizes in results["cells"].items() for size in sizes]
  with matplotlib.rc_context(STYLE):
    figure, axes = panel((920, 60 + 34 * len(rows)))
    axes.grid(axis="x")
    for y, (objective, size) in enumerate(reversed(rows)):
      _draw_bar(axes, y, results["cells"][objective][size])
    axes.axvline(100, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)))
    axes.set_yticks(range(len(rows)), [f"{o}, {size}" for o, size in reversed(rows)])
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    shares = [s for o, size in rows for s in results["cells"][o][size]["flops_share_net"] if s]
    axes.set_xlim(0, max([110.0, *(105 * share for share in shares)]))
    axes.set_title(
      "FLOPs to unfiltered training's final loss, per cent of its own (pale: rating; dots: seeds)"
    )
    return figure


def _draw_bar(axes: Any, y: int, found: Mapping[str, Any]) -> None:
  free, net = mean(found["flops_share"]), mean(found["flops_share_net"])
  if net is None or free is None:
    axes.text(2, y, "not reached by every seed", va="center", color=PALETTE["muted"])
  else:
    axes.barh(y, 100 * free, color=PALETTE["rater"], height=0.6)
    axes.barh(
      y, 100 * (net - free), left=100 * free, color=PALETTE["rater"], alpha=0.35, height=0.6
    )
  seeds = [100 * share for share in found["flops_share_net"] if share is not None]
  axes.plot(seeds, np.full(len(seeds), y), "o", color=PALETTE["ink"], markersize=3.5)


EXPERIMENT = Experiment(
  name="fig1_compute_gain",
  title="Figure 1: FLOPs to match unfiltered training",
  paper="Up to 46.6% net compute gain at 1B, rating and oversampling counted; undefined where the "
  "baseline is never matched.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates", "fig4_discard_sweep"),
)

if __name__ == "__main__":
  main(EXPERIMENT)
