"""Figures 12 and 13 of the paper: meta-updates by member, and ratings from snapshot to snapshot.

    python -m experiments.fig12_stability --preset cpu

The norm is of a member's update as its Adam gives it, before the learning rate. Autocorrelation:
Pearson over a fixed sample of the pool's documents between a snapshot and the one before, and
between every snapshot and the last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from datarater.data.sources import open_source
from datarater.report.style import PALETTE, STYLE, fit_height, interval, numbers, panels
from datarater.scorers.rater import load_rater
from experiments.arms import rater
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, RaterJob
from experiments.statistics import over_seeds, pearson, told

SAMPLE = 300
"""Documents."""

STABLE = 0.95
POINTS = 400
"""Most steps that are kept of a norm's curve; statistics are of all."""


def _raters(place: Place) -> list[RaterJob]:
  return [rater(place, place.scale.objectives[0], seed) for seed in place.scale.seeds]


def jobs(place: Place) -> Sequence[Job]:
  """The headline's raters."""
  return _raters(place)


def snapshot_steps(job: RaterJob) -> list[int]:
  """Meta-steps of a rater's snapshots, the end included."""
  every, last = job.config.snapshot_every, job.config.meta.steps
  return sorted({*range(every, last + 1, every), last})


def measure(place: Place) -> dict[str, Any]:
  """Norms by seed and member; autocorrelations by snapshot."""
  raters = _raters(place)
  norms = [update_norms(job.metrics(place.root)) for job in raters]
  texts = _sample(place)
  ratings = [
    _snapshot_ratings(place, job, texts) for job in tqdm(raters, desc="snapshots", delay=1.0)
  ]
  steps = snapshot_steps(raters[0])
  correlations = autocorrelations(ratings)
  return {
    "finding": _told(norms, correlations, steps),
    "difference": _difference(correlations, steps),
    "seeds": place.scale.seeds,
    "objective": place.scale.objectives[0],
    "norms": norms,
    "documents": len(texts),
    "snapshot_steps": steps,
    **correlations,
  }


def _sample(place: Place) -> list[str]:
  source = open_source(place.scale.data, "lm")
  order = np.random.default_rng(0).permutation(len(source))[:SAMPLE]
  return [source[int(i)].text for i in np.sort(order)]


def _snapshot_ratings(place: Place, job: RaterJob, texts: Sequence[str]) -> np.ndarray:
  """float32 [snapshots, documents]; the last snapshot is the rater itself."""
  steps = snapshot_steps(job)
  folders = [job.rater(place.root, step) for step in steps[:-1]] + [job.rater(place.root)]
  return np.array([load_rater(folder).rate(texts) for folder in folders])


def update_norms(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Of one run: norms [steps][members], thinned; median and largest of all; late over early.

  late_over_early: mean of the last quarter of the steps over the mean of the second, when warm-up
  is past.
  """
  table = numbers([row["update_norm"] for row in rows])
  quarter = len(table) // 4
  early, late = table[quarter : 2 * quarter], table[len(table) - quarter :]
  stride = max(1, -(-len(table) // POINTS))
  return {
    "step": [row["step"] for row in rows[::stride]],
    "update_norm": [row["update_norm"] for row in rows[::stride]],
    "median": float(np.nanmedian(table)),
    "largest": float(np.nanmax(table)),
    "late_over_early": float(np.nanmean(late) / np.nanmean(early)) if quarter else None,
    "skipped": rows[-1]["skipped"],
  }


def autocorrelations(ratings: Sequence[np.ndarray]) -> dict[str, Any]:
  """ratings: a seed [snapshots, documents]. with_previous: from the second snapshot on, over seeds;
  with_last: of all but the last.
  """
  count = len(ratings[0])
  return {
    "with_previous": [
      over_seeds([pearson(r[i - 1], r[i]) for r in ratings]) for i in range(1, count)
    ],
    "with_last": [over_seeds([pearson(r[i], r[-1]) for r in ratings]) for i in range(count - 1)],
  }


def _told(
  norms: Sequence[Mapping[str, Any]], correlations: Mapping[str, Any], steps: Sequence[int]
) -> str:
  largest = max(of["largest"] / of["median"] for of in norms)
  growth = over_seeds([of["late_over_early"] for of in norms])
  text = (
    f"The norm of a member's update is at most {largest:.1f} times its median, and in the last "
    f"quarter {told(growth)} times what it was in the second."
  )
  if len(steps) < 2:
    return text
  last = correlations["with_previous"][-1]
  return (
    f"{text} Ratings after {steps[-1]} meta-steps correlate {told(last, 3)} with those after "
    f"{steps[-2]}, and those after {steps[0]} {told(correlations['with_last'][0], 3)} with the end."
  )


def _difference(correlations: Mapping[str, Any], steps: Sequence[int]) -> str:
  last = correlations["with_previous"][-1:]
  if last and (last[0]["mean"] or 0.0) >= STABLE:
    return ""
  return f"Here ratings still move by the end, after {steps[-1]} meta-steps: below {STABLE}."


def draw(results: Results) -> Figure:
  """Norms by member and seed; autocorrelations over meta-steps."""
  with matplotlib.rc_context(STYLE):
    figure, (norms, correlations) = panels((920, 340), 1, 2)
    _draw_norms(norms, results["norms"])
    _draw_correlations(correlations, results)
    return figure


def _draw_norms(axes: Axes, norms: Sequence[Mapping[str, Any]]) -> None:
  """A thin line a member; the first seed's first member stands out, for one life to be followed."""
  seen = []
  for seed, of in reversed(list(enumerate(norms))):
    table = numbers(of["update_norm"])
    for member in reversed(range(table.shape[1])):
      accent = seed == member == 0
      colour = PALETTE["rater" if accent else "context"]
      axes.plot(of["step"], table[:, member], color=colour, linewidth=1.4 if accent else 0.7)
    seen.append(table)
  axes.set_ylim(0, 1.05 * max(float(np.nanmax(table)) for table in seen))
  axes.set_xlabel("meta-step")
  axes.set_title(f"norm of the update by member, {len(norms)} seeds")


def _draw_correlations(axes: Axes, results: Results) -> None:
  steps = results["snapshot_steps"]
  seen = [np.array([STABLE, 1.0])]
  lines = (
    ("with_previous", steps[1:], "rater", "with the snapshot before"),
    ("with_last", steps[:-1], "random", "with the last"),
  )
  for key, at, colour, label in lines:
    stats = np.array([interval(of["by_seed"]) for of in results[key]]).reshape(-1, 2)
    axes.errorbar(
      at, stats[:, 0], stats[:, 1], color=PALETTE[colour], marker="o", capsize=3, label=label
    )
    seen += [stats[:, 0], stats[:, 0] - stats[:, 1]]
  axes.axhline(STABLE, color=PALETTE["ink"], linewidth=1.2, linestyle=(0, (1, 2)))
  fit_height(axes, seen)
  axes.margins(x=0.05)
  axes.set_xlabel("meta-step")
  axes.set_title("correlation of ratings (dotted: 0.95)")
  axes.legend()


EXPERIMENT = Experiment(
  name="fig12_stability",
  title="Figures 12 and 13: meta-updates and ratings over meta-training",
  paper="The norms of the members' updates stay bounded, and the autocorrelation of ratings is "
  "above 0.95 after a few thousand meta-steps.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
