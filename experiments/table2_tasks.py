"""Table 2 of the paper, its tasks: multiple choice and LAMBADA for the largest language models.

    datarater data build eval-suite --out data/eval_suite
    python -m experiments.table2_tasks --preset cpu

Accuracy by length-normalised log-likelihood, and bits per byte of the right answer: models this
small answer near chance, and differ in the latter alone. The language models are those of figure 6.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.errors import require
from datarater.evaluation.compare import paired_difference
from datarater.report.style import PALETTE, STYLE, arm_colours, interval, panels
from experiments.arms import discard_fraction, random_drop, unfiltered
from experiments.experiment import Experiment, Place, Results, main
from experiments.fig6_grid import arms
from experiments.jobs import Job, TaskJob
from experiments.scale import HELDOUT

Asked = Mapping[str, Sequence[TaskJob]]
"""Name of an arm → its models' jobs, one a seed."""


def _asked(place: Place) -> Asked:
  scale = place.scale
  headline, size = scale.objectives[0], scale.sizes[-1]
  models = {
    "unfiltered": unfiltered(place, size),
    "random": random_drop(place, size, discard_fraction(place, headline)),
    f"rater, {headline}": arms(place)[headline, size],
    f"rater, {HELDOUT}": arms(place)[HELDOUT, size],
  }
  return {
    name: [TaskJob(job, scale.suite, scale.task_items) for job in arm]
    for name, arm in models.items()
  }


def check(place: Place) -> None:
  """Raises InputError where the tasks are not there."""
  suite = place.scale.suite
  require(
    Path(suite).is_dir(),
    f"suite {suite!r} does not exist; build it: datarater data build eval-suite --out {suite}",
  )


def jobs(place: Place) -> Sequence[Job]:
  """Every arm's models, asked."""
  return [job for arm in _asked(place).values() for job in arm]


def measure(place: Place) -> dict[str, Any]:
  """task → arm → accuracy and bits per byte by seed, and the difference to unfiltered text."""
  found: dict[str, Any] = {}
  chance: dict[str, float] = {}
  for name, arm in _asked(place).items():
    for result in (job.result(place.root) for job in arm):
      for task, numbers in result.items():
        chance[task] = numbers["chance"]
        of = found.setdefault(task, {}).setdefault(name, {"accuracy": [], "bits_per_byte": []})
        accuracy = numbers.get("accuracy_normalised", numbers["accuracy"])
        of["accuracy"].append(accuracy["value"])
        of["bits_per_byte"].append(numbers["bits_per_byte"]["value"])
  for of in found.values():
    for name in list(of)[1:]:
      of[name]["against_unfiltered"] = paired_difference(
        of[name]["bits_per_byte"], of["unfiltered"]["bits_per_byte"]
      )
  told = []
  for name in list(_asked(place))[1:]:
    differences = [of[name]["against_unfiltered"] for of in found.values()]
    better = sum(d["mean"] < 0 for d in differences)
    clearly = sum(d["mean"] < 0 and d["beyond_interval"] for d in differences)
    told.append(f"{name}: {better} of {len(differences)} ({clearly} beyond the interval)")
  return {
    "finding": f"Tasks whose right answers take fewer bits than for unfiltered text, at "
    f"{place.scale.sizes[-1]}: {'; '.join(told)}. {_above_chance(found, chance)}",
    "difference": "The paper compares accuracies, of models of 50M parameters and more.",
    "seeds": place.scale.seeds,
    "items_a_task": place.scale.task_items,
    "chance": chance,
    "tasks": found,
  }


def _above_chance(tasks: Mapping[str, Any], chance: Mapping[str, float]) -> str:
  above = [
    task for task, of in tasks.items() if _lower(of["unfiltered"]["accuracy"]) > chance[task]
  ]
  return f"Accuracy is above chance, beyond the interval, in {len(above)} of {len(tasks)} tasks."


def _lower(values: Sequence[float]) -> float:
  mean, half_width = interval(values)
  return mean - half_width


def draw(results: Results) -> Figure:
  """Bits per byte of the right answer against unfiltered text, and accuracy beside chance."""
  tasks = results["tasks"]
  names = list(next(iter(tasks.values())))
  colours = arm_colours(dict.fromkeys(names))
  with matplotlib.rc_context(STYLE):
    figure, (left, right) = panels((920, 60 + 52 * len(tasks)), 1, 2)
    for axes in (left, right):
      axes.grid(axis="x")
      axes.grid(axis="y", visible=False)
      axes.set_ylim(-0.7, len(tasks) - 0.3)
    for y, (task, of) in enumerate(reversed(tasks.items())):
      for i, name in enumerate(names):
        at = y + 0.2 * (1.5 - i)
        if name != "unfiltered":
          difference = of[name]["against_unfiltered"]
          left.errorbar(
            difference["mean"], at, xerr=difference["half_width"], fmt="o", color=colours[name]
          )
        mean, half_width = interval(of[name]["accuracy"])
        right.errorbar(mean, at, xerr=half_width, fmt="o", color=colours[name], label=name)
      right.plot(np.full(2, results["chance"][task]), [y - 0.4, y + 0.4], color=PALETTE["ink"])
    left.axvline(0, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)))
    left.set_yticks(range(len(tasks)), list(reversed(tasks)))
    right.set_yticks([])
    left.set_title("bits per byte of the right answer, less that of unfiltered")
    right.set_title("accuracy (line: chance)")
    handles, labels = right.get_legend_handles_labels()
    right.legend(handles[: len(names)], labels[: len(names)], loc="best", fontsize=9)
    return figure


EXPERIMENT = Experiment(
  name="table2_tasks",
  title="Table 2: downstream tasks",
  paper="HellaSwag, SIQA, PIQA, ARC-Easy and CommonsenseQA improve in most cells.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates", "fig4_discard_sweep"),
  check=check,
)

if __name__ == "__main__":
  main(EXPERIMENT)
