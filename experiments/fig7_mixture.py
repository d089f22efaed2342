"""Figure 7 of the paper: how ratings spread within domains, and the mixture after filtering.

    python -m experiments.fig7_mixture --preset cpu

Both for the headline objective and for the pool's own distribution, which is the paper's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from datarater.config import SelectionConfig
from datarater.data.sources import Source, open_source
from datarater.evaluation.pool import RatedPool, kept_by_rating
from datarater.evaluation.results import mixture, rating_by_domain
from datarater.report.distributions import draw_ridges, rating_order
from datarater.report.style import PALETTE, STYLE, panels
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job
from experiments.ratings import pools, shown_objectives
from experiments.statistics import over_seeds, standardised

FAR = 2.0
"""Deviations from a domain's mean beyond which a rating counts to its tail."""

BOUND = 2.0
"""The colours of shares end at a change by so many doublings."""


def jobs(place: Place) -> Sequence[Job]:
  """The pool's ratings by every seed's rater."""
  return [pool for objective in shown_objectives(place) for pool in pools(place, objective)]


def measure(place: Place) -> dict[str, Any]:
  """By objective: ratings by domain and seed, their tails, and shares of bytes by fraction."""
  source = open_source(place.scale.data, "lm")
  found = {}
  for objective in shown_objectives(place):
    rated = [pool.ratings(place.root) for pool in pools(place, objective)]
    by_seed = [rating_by_domain(source, each.ratings) for each in rated]
    found[objective] = {
      "rating_by_domain": by_seed,
      "tails": _tails(source, rated),
      "share": _shares(source, rated, place.scale.discard_fractions),
    }
  return {
    "finding": " ".join(_told(objective, of) for objective, of in found.items()),
    "difference": _difference(found),
    "seeds": place.scale.seeds,
    "objectives": found,
  }


def _tails(source: Source, rated: Sequence[RatedPool]) -> dict[str, Any]:
  """domain → skewness, and the shares of its ratings that lie `FAR` deviations below and above."""
  labels = np.array([source.domain_index(i) for i in range(len(source))])
  found = {}
  for i, name in enumerate(source.domains):
    tails = [tails_of(each.ratings[labels == i]) for each in rated]
    found[name] = {key: over_seeds([tail[key] for tail in tails]) for key in tails[0]}
  return found


def tails_of(ratings: np.ndarray) -> dict[str, float | None]:
  """skewness, left, right; None where no rating differs from another."""
  values = ratings[np.isfinite(ratings)].astype(np.float64)
  if len(values) < 2 or np.ptp(values) == 0:
    return dict.fromkeys(("skewness", "left", "right"))
  scores = standardised(values)
  return {
    "skewness": float(scipy.stats.skew(values)),
    "left": float(np.mean(scores < -FAR)),
    "right": float(np.mean(scores > FAR)),
  }


def _shares(
  source: Source, rated: Sequence[RatedPool], fractions: Sequence[float]
) -> dict[str, dict[str, Any]]:
  """fraction discarded → domain → its share of the bytes that are left, over seeds."""
  found = {}
  for fraction in (0.0, *fractions):
    selection = SelectionConfig(kind="ratings", ratings="pool", discard_fraction=fraction)
    left = [mixture(source, kept_by_rating(source, r, selection))["after"] for r in rated]
    found[str(fraction)] = {name: over_seeds([m[name] for m in left]) for name in source.domains}
  return found


def _left_leaning(of: Mapping[str, Any]) -> list[bool]:
  """Of each domain with a skewness, whether its left tail is the longer one."""
  means = [tail["skewness"]["mean"] for tail in of["tails"].values()]
  return [mean < 0 for mean in means if mean is not None]


def _told(objective: str, of: Mapping[str, Any]) -> str:
  left = _left_leaning(of)
  fraction = min(of["share"], key=lambda f: abs(float(f) - 0.5))
  before, after = ({d: s["mean"] for d, s in of["share"][f].items()} for f in ("0.0", fraction))
  order = sorted(before, key=lambda d: after[d] - before[d])
  least, most = (f"{d} ({before[d]:.1%} → {after[d]:.1%})" for d in (order[0], order[-1]))
  return (
    f"For {objective}, ratings lean to the left in {sum(left)} of {len(left)} domains; discarding "
    f"{float(fraction):.0%} grows {most} most and shrinks {least} most."
  )


def _difference(found: Mapping[str, Any]) -> str:
  right = [o for o, of in found.items() if 2 * sum(_left_leaning(of)) <= len(_left_leaning(of))]
  return f"For {' and '.join(right)} the heavy tails are not mostly on the left." if right else ""


def draw(results: Results) -> Figure:
  """A row an objective: ratings of the first seed by domain; shares of bytes by fraction."""
  found = results["objectives"]
  height = 110 + 27 * len(next(iter(found.values()))["tails"])
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, height * len(found)), len(found), 2)
    for i, (objective, of) in enumerate(found.items()):
      ridges, shares = grid[2 * i : 2 * i + 2]
      ratings = of["rating_by_domain"][0]
      seed = results["seeds"][0]
      draw_ridges(ridges, ratings, target=objective, xlabel=f"rating, seed {seed}")
      ridges.set_title(f"{objective}: ratings by domain")
      _draw_shares(shares, of["share"], rating_order(ratings))
      shares.set_ylim(ridges.get_ylim())
    return figure


def _draw_shares(axes: Axes, share: Mapping[str, Any], order: Sequence[str]) -> None:
  """A row a domain, on the heights of `draw_ridges`; coloured by its change."""
  rows = order[::-1]
  table = np.array([[of[name]["mean"] for of in share.values()] for name in rows])
  with np.errstate(divide="ignore", invalid="ignore"):
    change = np.nan_to_num(np.log2(table / table[:, :1]), neginf=-BOUND)
  axes.pcolormesh(
    np.arange(len(share) + 1),
    np.arange(len(rows) + 1),
    change,
    cmap="RdBu",
    vmin=-BOUND,
    vmax=BOUND,
  )
  for (i, j), value in np.ndenumerate(table):
    colour = PALETTE["paper"] if abs(change[i, j]) > 0.6 * BOUND else PALETTE["ink"]
    axes.text(j + 0.5, i + 0.5, f"{value:.1%}", ha="center", va="center", size=10, color=colour)
  axes.grid(visible=False)
  axes.yaxis.set_major_locator(NullLocator())
  axes.set_xticks(np.arange(len(share)) + 0.5, [f"{float(f):.0%}" for f in share])
  axes.set_xlabel("discarded")
  axes.set_title("share of the bytes that are left; blue: grown, red: shrunk")


EXPERIMENT = Experiment(
  name="fig7_mixture",
  title="Figure 7: ratings by domain, and the mixture after filtering",
  paper="Ratings have heavy left tails within the Pile's subsets, and filtering re-weights the "
  "mixture of subsets.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
