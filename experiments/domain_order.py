"""Learned order of domains against a yardstick that knows no model (`yardstick`).

    python -m experiments.domain_order --preset cpu

For each target: rank correlation over domains of the mean rating with minus the bits per byte of
the target behind each domain. For two targets also: do the raters disagree where the yardsticks do?
Ratings and bits are standardised over domains before targets are compared, as raters have no scale.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarater.data.sources import open_source
from datarater.evaluation.results import rating_by_domain
from datarater.report.style import PALETTE, STYLE, interval, panels
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job
from experiments.ratings import pools
from experiments.statistics import over_seeds, spearman, standardised, told
from experiments.yardstick import NO_DOMAIN, YardstickJob

CRITERION = 0.7


def _yardsticks(place: Place) -> dict[str, YardstickJob]:
  scale = place.scale
  domains = open_source(scale.data, "lm").domains
  return {d: YardstickJob(scale.data, d, scale.targets) for d in (NO_DOMAIN, *domains)}


def jobs(place: Place) -> Sequence[Job]:
  """A yardstick a domain, and the pool's ratings for every target and seed."""
  rated = [pool for target in place.scale.targets for pool in pools(place, target)]
  return [*rated, *_yardsticks(place).values()]


def measure(place: Place) -> dict[str, Any]:
  """By target: bits and mean ratings by domain, their agreement; agreement of the differences."""
  source = open_source(place.scale.data, "lm")
  lengths = {d: job.result(place.root) for d, job in _yardsticks(place).items()}
  without = lengths.pop(NO_DOMAIN)
  found = {}
  for target in place.scale.targets:
    rated = [pool.ratings(place.root).ratings for pool in pools(place, target)]
    tables = [rating_by_domain(source, ratings) for ratings in rated]
    domains = [d for d in lengths if all(d in table for table in tables)]
    bits = {d: lengths[d]["bits_per_byte"][target] for d in domains}
    ratings = {d: [table[d]["mean"] for table in tables] for d in domains}
    found[target] = {
      "bits_per_byte": bits,
      "bits_per_byte_without": without["bits_per_byte"][target],
      "ratings": ratings,
      "agreement": agreement(bits, ratings),
      "agreement_without_target": agreement(*(_less(each, target) for each in (bits, ratings))),
    }
  met = all((of["agreement"]["mean"] or 0.0) >= CRITERION for of in found.values())
  differences = _differences(found, place.scale.targets)
  return {
    "finding": _told(found, differences),
    "difference": "The paper has no such measure.",
    "seeds": place.scale.seeds,
    "criterion": CRITERION,
    "met": met,
    "context_bytes": {d: each["context_bytes"] for d, each in lengths.items()},
    "targets": found,
    "between_targets": differences,
  }


def _less(table: Mapping[str, Any], domain: str) -> dict[str, Any]:
  return {d: value for d, value in table.items() if d != domain}


def agreement(bits: Mapping[str, float], ratings: Mapping[str, Sequence[float]]) -> dict[str, Any]:
  """Over seeds, Spearman of the mean rating with minus the bits: 1 where the order is the same."""
  lower_is_better = -np.array([bits[d] for d in ratings])
  return over_seeds([spearman(of, lower_is_better) for of in np.array(list(ratings.values())).T])


def _differences(found: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any] | None:
  """Whether the first two targets rank domains apart where the yardsticks do; None for one target.

  by domain: what the yardsticks say, and the ratings; above 0 where the first target gains more.
  """
  if len(targets) < 2:
    return None
  first, second = (found[target] for target in targets[:2])
  domains = [d for d in first["ratings"] if d in second["ratings"]]
  bits = [standardised(-_column(of["bits_per_byte"], domains)) for of in (first, second)]
  ratings = [
    [standardised(seed) for seed in _column(of["ratings"], domains).T] for of in (first, second)
  ]
  yardstick = bits[0] - bits[1]
  learned = [a - b for a, b in zip(*ratings, strict=True)]
  others = np.array([domain not in targets for domain in domains])
  return {
    "targets": list(targets[:2]),
    "agreement": over_seeds([spearman(each, yardstick) for each in learned]),
    "agreement_of_others": over_seeds(
      [spearman(each[others], yardstick[others]) for each in learned]
    ),
    "yardstick": dict(zip(domains, yardstick.tolist(), strict=True)),
    "ratings": dict(zip(domains, np.mean(learned, axis=0).tolist(), strict=True)),
  }


def _column(table: Mapping[str, Any], domains: Sequence[str]) -> np.ndarray:
  return np.array([table[d] for d in domains])


def _told(found: Mapping[str, Any], differences: Mapping[str, Any] | None) -> str:
  each = "; ".join(
    f"{target} {told(of['agreement'])} ({told(of['agreement_without_target'])} less its own domain)"
    for target, of in found.items()
  )
  text = f"Spearman of mean rating and yardstick over domains (criterion {CRITERION}): {each}."
  if differences is None:
    return text
  return (
    f"{text} Differences between {' and '.join(differences['targets'])}, of ratings against "
    f"yardsticks: {told(differences['agreement'])} "
    f"({told(differences['agreement_of_others'])} less their own domains)."
  )


def draw(results: Results) -> Figure:
  """A panel a target: domains in the yardstick's order, the best on top, against mean rating."""
  found = results["targets"]
  rows = max(len(of["ratings"]) for of in found.values())
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((460 * len(found), 100 + 22 * rows), 1, len(found))
    for axes, (target, of) in zip(grid, found.items(), strict=True):
      _draw_target(axes, target, of)
    return figure


def _draw_target(axes: Axes, target: str, of: Mapping[str, Any]) -> None:
  bits = of["bits_per_byte"]
  rows = sorted(of["ratings"], key=lambda domain: -bits[domain])
  by_seed = np.array([standardised(seed) for seed in _column(of["ratings"], rows).T])
  for i, domain in enumerate(rows):
    rating, error = interval(by_seed[:, i])
    colour = PALETTE["target" if domain == target else "rater"]
    axes.errorbar(rating, i, xerr=np.nan_to_num(error), fmt="o", color=colour, elinewidth=1.2)
  axes.set_yticks(range(len(rows)), [f"{domain}  {bits[domain]:.2f}" for domain in rows])
  axes.set_ylim(-0.6, len(rows) - 0.4)
  axes.margins(x=0.05)
  axes.grid(axis="x", visible=True)
  axes.set_xlabel("mean rating, standardised over domains")
  alone = f"{of['bits_per_byte_without']:.2f}"
  axes.set_title(
    f"{target}: Spearman {told(of['agreement'])}\nbits per byte behind each domain; alone {alone}"
  )


EXPERIMENT = Experiment(
  name="domain_order",
  title="Order of domains against a model-free yardstick",
  paper="Not in the paper, which shows that ratings differ by domain.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
