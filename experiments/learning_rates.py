"""The learning rate of each size of language model, chosen on the unfiltered arm alone.

    python -m experiments.learning_rates --preset cpu

All arms of a size then train with it, so that no arm was tuned but the baseline. Chosen by the loss
on the validation split of the pool's own distribution, one seed.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from datarater.errors import require
from datarater.report.style import STYLE, arm_colour, fit_height, panel
from experiments.arms import view
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, ModelJob
from experiments.scale import HELDOUT, keeps_model


def _sweep(place: Place) -> dict[str, dict[float, ModelJob]]:
  scale = place.scale
  return {
    each.size: {
      rate: ModelJob(
        scale.train_config(each.size, rate, scale.seeds[0]),
        keeps_model=keeps_model(scale, each.size),
      )
      for rate in each.learning_rates
    }
    for each in scale.models
  }


def jobs(place: Place) -> Sequence[Job]:
  """Every size at every rate."""
  return [job for sweep in _sweep(place).values() for job in sweep.values()]


def measure(place: Place) -> dict[str, Any]:
  """Validation loss by size and rate; None where training diverged."""
  losses: dict[str, dict[str, float | None]] = {}
  for size, sweep in _sweep(place).items():
    losses[size] = {
      str(rate): None
      if "diverged" in job.result(place.root)
      else view(place, job, HELDOUT)["validation"]
      for rate, job in sweep.items()
    }
  lost = [size for size, of in losses.items() if all(loss is None for loss in of.values())]
  require(not lost, f"every learning rate diverged at {', '.join(lost)}; try smaller ones")
  chosen = {
    size: float(min((loss, rate) for rate, loss in of.items() if loss is not None)[1])
    for size, of in losses.items()
  }
  at_the_edge = [
    size
    for size, rate in chosen.items()
    if str(rate) in (next(iter(losses[size])), list(losses[size])[-1])
  ]
  return {
    "finding": "Chosen: " + ", ".join(f"{rate:g} at {size}" for size, rate in chosen.items()) + ".",
    "difference": f"The best rate lies at the edge of the sweep at {', '.join(at_the_edge)}."
    if at_the_edge and len(next(iter(losses.values()))) > 1
    else "",
    "seeds": place.scale.seeds[:1],
    "chosen": chosen,
    "validation_loss": losses,
  }


def draw(results: Results) -> Figure:
  """Validation loss against rate, a line a size."""
  with matplotlib.rc_context(STYLE):
    figure, axes = panel((620, 360))
    seen = []
    for i, (size, losses) in enumerate(results["validation_loss"].items()):
      known = {float(rate): loss for rate, loss in losses.items() if loss is not None}
      axes.plot(
        list(known), list(known.values()), marker="o", color=arm_colour(size, i), label=size
      )
      seen.append(list(known.values()))
    axes.set_xscale("log")
    rates = sorted({float(rate) for of in results["validation_loss"].values() for rate in of})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.margins(x=0.05)
    axes.set_xlabel("learning rate")
    axes.set_title("validation loss of unfiltered training, bits per byte")
    axes.legend()
    fit_height(axes, seen)
    return figure


EXPERIMENT = Experiment(
  name="learning_rates",
  title="Learning rates, chosen on unfiltered text",
  paper="Adam at 1e-3 for 50M to 400M parameters and 2e-4 for 1B, the same for all arms.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
