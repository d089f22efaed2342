"""Figure 8 of the paper: the lowest-rated samples, and which kinds of bad text they are of.

    python -m experiments.fig8_worst_samples --preset cpu

Samples by the mean over seeds of standardised ratings. Kinds by `text_kinds`, among the worst 1% of
each seed against a random sample of the pool. Addresses and links in the samples are masked.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from datarater.data.sources import Source, open_source
from datarater.evaluation.results import excerpts
from datarater.report.distributions import draw_pairs
from datarater.report.style import STYLE, panels
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job
from experiments.ratings import pools, shown_objectives
from experiments.scale import HELDOUT
from experiments.statistics import over_seeds, standardised
from experiments.text_kinds import KINDS, kinds_of

WORST = 0.01
SAMPLES, SAMPLES_A_DOMAIN, BEST = 12, 2, 4
CHARACTERS = 240
"""Of a sample that are shown."""

BASE_DOCUMENTS = 5000
"""At most so many tell how common a kind is in the pool."""

_ADDRESS = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_LINK = re.compile(r"(?:https?://|ftp://|www\.)[^\s<>\"']+", re.IGNORECASE)


def jobs(place: Place) -> Sequence[Job]:
  """The pool's ratings by every seed's rater."""
  return [pool for objective in shown_objectives(place) for pool in pools(place, objective)]


def measure(place: Place) -> dict[str, Any]:
  """By objective: samples, and shares of kinds and domains among the worst and in the pool."""
  source = open_source(place.scale.data, "lm")
  base = _base(source)
  base_kinds, base_domains = _shares(source, base)
  found = {}
  for objective in shown_objectives(place):
    ratings = [pool.ratings(place.root).ratings for pool in pools(place, objective)]
    worst = [_shares(source, worst_of(each)) for each in ratings]
    mean = np.mean([standardised(each) for each in ratings], axis=0)
    found[objective] = {
      "kinds": {k: over_seeds([kinds[k] for kinds, _ in worst]) for k in base_kinds},
      "domains": {d: over_seeds([domains[d] for _, domains in worst]) for d in base_domains},
      "worst": _samples(source, mean)["worst"],
      "best": _samples(source, mean)["best"][:BEST],
    }
  return {
    "finding": " ".join(_told(o, of, base_kinds) for o, of in found.items()),
    "difference": _difference(found[HELDOUT], base_kinds),
    "seeds": place.scale.seeds,
    "worst_share": WORST,
    "kinds": {name: f"{what} at least {least}" for name, (what, _, least) in KINDS.items()},
    "base": {"documents": len(base), "kinds": base_kinds, "domains": base_domains},
    "objectives": found,
  }


def worst_of(ratings: np.ndarray) -> np.ndarray:
  """Indices of the lowest-rated 1% of the documents that have a rating, one at least."""
  rated = np.flatnonzero(np.isfinite(ratings))
  count = max(1, round(WORST * len(rated)))
  return rated[np.argsort(ratings[rated], kind="stable")[:count]]


def _base(source: Source) -> np.ndarray:
  count = min(len(source), BASE_DOCUMENTS)
  return np.sort(np.random.default_rng(0).choice(len(source), count, replace=False))


def _shares(source: Source, indices: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
  """(share of each kind, share of each domain) of the documents at `indices`."""
  kinds, domains = Counter(), Counter()
  for index in tqdm(indices, desc="kinds of text", unit=" documents", delay=1.0):
    record = source[int(index)]
    kinds.update(kinds_of(record.text))
    domains[record.domain] += 1
  return (
    {kind: kinds[kind] / len(indices) for kind in KINDS},
    {domain: domains[domain] / len(indices) for domain in source.domains},
  )


def _samples(source: Source, ratings: np.ndarray) -> dict[str, list[dict[str, Any]]]:
  lists = excerpts(source, ratings, SAMPLES, SAMPLES_A_DOMAIN)
  return {
    which: [sample | {"text": shown(sample["text"])} for sample in samples]
    for which, samples in lists.items()
  }


def shown(text: str) -> str:
  """The beginning of a text, its addresses and links masked."""
  return _LINK.sub("[link]", _ADDRESS.sub("[address]", text))[:CHARACTERS]


def _told(objective: str, of: Mapping[str, Any], base: Mapping[str, float]) -> str:
  more = sorted(base, key=lambda kind: base[kind] - of["kinds"][kind]["mean"])[:3]
  kinds = ", ".join(f"{k} {of['kinds'][k]['mean']:.0%} (of all {base[k]:.0%})" for k in more)
  domain = max(of["domains"], key=lambda d: of["domains"][d]["mean"])
  return (
    f"For {objective}, the worst {WORST:.0%} are mostly {domain} "
    f"({of['domains'][domain]['mean']:.0%}); their kinds: {kinds}."
  )


def _difference(of: Mapping[str, Any], base: Mapping[str, float]) -> str:
  usual = [k for k in base if k != "markup" and of["kinds"][k]["mean"] <= base[k]]
  return (
    f"Here, for {HELDOUT} as in the paper, not more common among the worst: {', '.join(usual)}."
    if usual
    else ""
  )


def draw(results: Results) -> Figure:
  """Share of each kind among the worst and in all text, a panel an objective."""
  base = results["base"]["kinds"]
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((920, 90 + 40 * len(base)), 1, len(results["objectives"]))
    names = ("of all documents", f"of the worst {results['worst_share']:.0%}")
    for axes, (objective, of) in zip(grid, results["objectives"].items(), strict=True):
      worst = {kind: found["mean"] for kind, found in of["kinds"].items()}
      draw_pairs(axes, base, worst, names=names)
      axes.set_title(objective)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


EXPERIMENT = Experiment(
  name="fig8_worst_samples",
  title="Figure 8: the lowest-rated samples",
  paper="The lowest-rated samples have bad encodings, OCR noise, white space, tables of numbers, "
  "keys, and text in capitals.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
