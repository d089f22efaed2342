"""What DsDm and TSDS claim for themselves.

    python -m experiments.selector_claims --preset cpu

DsDm: its scores predict the losses of models trained on random subsets (the linear datamodelling
score), better than products of gradients and likeness of embeddings do. Its ridge is chosen on one
half of the subsets; what is told is of the other half. TSDS: a selection of 1% beats the full data,
and near-copies of a document take no more probability than it had alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater.config import SelectionConfig
from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.evaluation.pool import kept_by_rating
from datarater.report.style import PALETTE, STYLE, interval, panels
from datarater.runtime.atomic import read_json, write_json
from datarater.scorer_config import DsdmConfig, TsdsConfig
from datarater.scorers.dsdm.lds import lds
from datarater.scorers.proxy import load_proxy
from datarater.scorers.tsds.scorer import probabilities
from datarater.scorers.tsds.vectors import whitened
from experiments.arms import Arm, cell, kept, random_drop, unfiltered
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, ModelJob
from experiments.lds import (
  BASELINES,
  METHODS,
  RIDGES,
  PredictionJob,
  RandomJob,
  predicted,
  tokens_of,
)
from experiments.selectors import DSDM_PROXIES, SELECTORS, Setting, proxy, target_texts
from experiments.statistics import compared

SUBSETS = {"cpu": 64, "gpu": 96, "paper": 96}
SUBSET_DISCARD = 0.9
"""A tenth is left, about as much text as a small model reads once."""

FEW = 0.99
"""Discarded: TSDS keeps 1%."""

COPIES = (100, 1000)
MOST_MASS = 1.2
SHOWN = ("tsds", "rater", "dsir")


@dataclasses.dataclass(frozen=True)
class CopiesJob(Job):
  """Probability of the likeliest document and of `copies` near-copies of it, without and with.

  A near-copy differs in one character. By KNN-Uniform (sigma 0) and KNN-KDE.
  """

  model: ModelJob
  data: DataConfig
  target: str
  copies: int
  kind = "copies"
  result_file = Path("copies.json")

  @property
  def name(self) -> str:
    return f"{self.copies} near-copies"

  @property
  def needs(self) -> tuple[ModelJob, ...]:
    return (self.model,)

  @property
  def flops(self) -> float:
    return self.model.flops

  def run(self, root: Path) -> None:
    source = open_source(self.data, "lm")
    embed = load_proxy(self.model.folder(root)).embed
    texts = [source[i].text for i in range(len(source))]
    pool = embed(texts)
    target = embed(target_texts(self.data, self.target))
    found = {}
    for name, sigma in (("KNN-Uniform", 0.0), ("KNN-KDE", TsdsConfig.sigma)):
      config = TsdsConfig(sigma=sigma)
      alone = _whitened_probabilities(pool, target, config)
      likeliest = int(np.argmax(alone))
      copies = embed(near_copies(texts[likeliest], self.copies))
      crowded = _whitened_probabilities(np.concatenate([pool, copies]), target, config)
      together = crowded[likeliest] + crowded[len(pool) :].sum()
      found[name] = {
        "alone": float(alone[likeliest]),
        "together": float(together),
        "ratio": float(together / alone[likeliest]),
      }
    write_json(self.result_path(root), found)

  def result(self, root: Path) -> dict[str, Any]:
    """Variant → probability alone, together with its copies, and their ratio."""
    return read_json(self.result_path(root), "copies")


def _whitened_probabilities(
  pool_NxD: np.ndarray, target_MxD: np.ndarray, config: TsdsConfig
) -> np.ndarray:
  """As `TsdsScorer` has them with a proxy's embeddings."""
  white_NxD, targets = whitened(pool_NxD, [target_MxD], config.C)
  return probabilities(white_NxD, targets, config)


def near_copies(text: str, number: int) -> list[str]:
  """Texts that differ from `text`, and from one another, in a character."""
  places = np.linspace(0, len(text) - 1, number).astype(int)
  return [f"{text[:at]}{'q' if text[at] != 'q' else 'z'}{text[at + 1 :]}" for at in places]


def _subsets(place: Place) -> list[RandomJob]:
  return [RandomJob(seed, place.scale.data) for seed in range(SUBSETS[place.scale.name])]


def _subset_models(place: Place) -> Arm:
  """One a subset; all of the first seed."""
  size, (first, *_) = place.scale.sizes[0], place.scale.seeds
  every = [job for pool in _subsets(place) for job in kept(place, size, SUBSET_DISCARD, [pool])]
  return [job for job in every if job.config.seed == first]


def _predictions(place: Place) -> PredictionJob:
  setting, seeds = Setting(place.scale.targets[0]), place.scale.seeds
  proxies = tuple(proxy(place, setting, len(seeds) * k) for k in range(DSDM_PROXIES))
  return PredictionJob(proxies, place.scale.data, DsdmConfig())


def _few(place: Place) -> dict[str, Arm]:
  setting, size = Setting(place.scale.targets[0]), place.scale.sizes[0]
  arms = {name: kept(place, size, FEW, SELECTORS[name](place, setting)) for name in SHOWN}
  return {**arms, "random": random_drop(place, size, FEW)}


def _copies(place: Place) -> list[CopiesJob]:
  setting = Setting(place.scale.targets[0])
  model = proxy(place, setting, place.scale.seeds[0])
  return [CopiesJob(model, place.scale.data, setting.target, number) for number in COPIES]


def jobs(place: Place) -> Sequence[Job]:
  """Models of the subsets, predictions, selections of 1%, near-copies."""
  few = [job for arm in _few(place).values() for job in arm]
  everything = unfiltered(place, place.scale.sizes[0])
  return [*_copies(place), *few, *everything, _predictions(place), *_subset_models(place)]


def measure(place: Place) -> dict[str, Any]:
  """lds by method; cells of 1%; near-copies."""
  target, size = place.scale.targets[0], place.scale.sizes[0]
  scores, chosen = datamodelling(place)
  arms = _few(place)
  cells = {
    name: cell(
      place, arm, unfiltered(place, size), None if name == "random" else arms["random"], target
    )
    for name, arm in arms.items()
  }
  copies = {str(job.copies): job.result(place.root) for job in _copies(place)}
  tsds = cells["tsds"]
  told = "; ".join(
    f"{name} {scores[name]['mean']:.2f} [{scores[name]['low']:.2f}, {scores[name]['high']:.2f}]"
    for name in (chosen, *BASELINES)
  )
  losses = ", ".join(f"{name} {np.mean(of['loss']):.3f}" for name, of in cells.items())
  ratios = "; ".join(
    f"{number} near-copies: {of['KNN-KDE']['ratio']:.2f} (KNN-KDE), "
    f"{of['KNN-Uniform']['ratio']:.2f} (KNN-Uniform)"
    for number, of in copies.items()
  )
  half = SUBSETS[place.scale.name] // 2
  return {
    "finding": f"Linear datamodelling score over {half} subsets and "
    f"{len(scores[chosen]['by_target'])} domains, with bootstrap intervals, the ridge chosen on "
    f"{half} others: {told}. On 1% of the pool, bits per byte on {target}: {losses}, everything "
    f"{np.mean(tsds['baseline']):.3f}; TSDS is {compared(tsds['against_unfiltered'])} everything "
    f"and {compared(tsds['against_random'])} random. Probability of the likeliest document and its "
    f"copies over what it had alone: {ratios}.",
    "difference": "Engstrom et al. 2024 report no score on so small models; for TSDS 1% beats the "
    "full data on several tasks, when tuning models that were trained before.",
    "seeds": place.scale.seeds,
    "lds": scores,
    "lds_chosen": chosen,
    "lds_differences": _differences(scores, chosen),
    "few": cells,
    "discard_fraction": FEW,
    "copies": copies,
    "most_mass": MOST_MASS,
  }


def datamodelling(place: Place) -> tuple[dict[str, Any], str]:
  """(method → its linear datamodelling score on every second subset, DsDm at the ridge that is best
  on the others).
  """
  source = open_source(place.scale.data, "lm")
  tokens = tokens_of(place.scale.data, source)
  selection = SelectionConfig(kind="ratings", ratings="of the job", discard_fraction=SUBSET_DISCARD)
  members = [
    kept_by_rating(source, pool.ratings(place.root), selection) for pool in _subsets(place)
  ]
  results = [job.result(place.root)["by_domain"] for job in _subset_models(place)]
  measured = np.array([[of[domain][-1] for of in results] for domain in source.domains])
  scores = _predictions(place).scores(place.root)
  losses = {method: predicted(of, members, tokens) for method, of in scores.items()}
  choosing, telling = slice(0, None, 2), slice(1, None, 2)
  chosen = max(
    METHODS[: len(RIDGES)], key=lambda m: lds(losses[m][:, choosing], measured[:, choosing]).mean
  )
  found = {
    m: dataclasses.asdict(lds(of[:, telling], measured[:, telling])) for m, of in losses.items()
  }
  return found, chosen


def _differences(scores: Mapping[str, Any], chosen: str) -> dict[str, Any]:
  """DsDm's correlation less another method's, over domains: mean and 95% t-interval."""
  mine = np.array(scores[chosen]["by_target"])
  found = {}
  for name in BASELINES:
    mean, half_width = interval((mine - np.array(scores[name]["by_target"])).tolist())
    found[name] = {"mean": mean, "half_width": half_width}
  return found


def draw(results: Results) -> Figure:
  """The score of each method by domain; losses on 1%."""
  with matplotlib.rc_context(STYLE):
    figure, (left, right) = panels((920, 300), 1, 2)
    for y, (name, of) in enumerate(reversed(results["lds"].items())):
      colour = PALETTE["rater" if name == results["lds_chosen"] else "unfiltered"]
      left.plot(of["by_target"], np.full(len(of["by_target"]), y), "o", color=colour, alpha=0.25)
      error = [[of["mean"] - of["low"]], [of["high"] - of["mean"]]]
      left.errorbar(of["mean"], y, xerr=error, fmt="o", color=colour, elinewidth=2)
    left.axvline(0, color=PALETTE["random"], linestyle=(0, (4, 2)))
    left.set_yticks(range(len(results["lds"])), list(reversed(results["lds"])))
    left.set_title("linear datamodelling score (pale: each domain)")
    few = results["few"]
    for y, (name, of) in enumerate(reversed(few.items())):
      mean, half_width = interval(of["loss"])
      colour = PALETTE["rater" if name == "rater" else "unfiltered"]
      right.errorbar(mean, y, xerr=half_width, fmt="o", color=colour)
    base = np.mean(next(iter(few.values()))["baseline"])
    right.axvline(base, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)))
    right.set_yticks(range(len(few)), list(reversed(few)))
    right.set_title("bits per byte on 1% of the pool (dotted: everything)")
    for axes in (left, right):
      axes.grid(axis="x", visible=True)
      axes.margins(x=0.05, y=0.2)
    return figure


EXPERIMENT = Experiment(
  name="selector_claims",
  title="What DsDm and TSDS claim for themselves",
  paper="Not in the paper.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  after=("learning_rates",),
)

if __name__ == "__main__":
  main(EXPERIMENT)
