"""What the project claims for its rater, checked against the results that are there."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from datarater.report.style import interval
from experiments.arms import mean
from experiments.fig1_compute_gain import TARGET_SHARE, TARGET_SHARE_NET
from experiments.fig6_grid import FAULTS
from experiments.jobs import RaterJob
from experiments.scale import HELDOUT
from experiments.selectors import RATERS
from experiments.statistics import told

Results = Mapping[str, Any]
RATER_JOBS = f"{RaterJob.kind}/"
MOST_HOURS, MOST_RATER_MINUTES, MOST_FIGURE_MINUTES = 4, 8, 30


@dataclasses.dataclass(frozen=True)
class Claim:
  """text: what was hoped for. found: what was measured. met: None where nothing was hoped for."""

  text: str
  found: str
  met: bool | None = None


def claims(results: Mapping[str, Results]) -> list[Claim]:
  """By the results of experiments, name → results of one preset; what lacks them is left out."""
  makers: Mapping[str, Callable[[Results], Iterable[Claim]]] = {
    "fig1_compute_gain": _compute,
    "domain_order": _order,
    "clean_corpus": _clean,
    "fig4_discard_sweep": _sweep,
    "fig6_grid": _grid,
    "compare_selectors": _selectors,
    "selector_claims": _others,
  }
  found = [
    claim for name, make in makers.items() if name in results for claim in make(results[name])
  ]
  timed = [of for of in results.values() if of["preset"] == "cpu" and "seconds_by_job" in of]
  return [*found, *(_time(timed) if timed else ())]


def _time(results: Sequence[Results]) -> Iterable[Claim]:
  """How long the cpu preset takes, by the seconds of its jobs, which the workers share."""
  every = {name: s for of in results for name, s in of["seconds_by_job"].items()}
  raters = [s for name, s in every.items() if name.startswith(RATER_JOBS)]
  papers = [of for of in results if of["experiment"].startswith(("fig", "table"))]
  figures = {of["experiment"]: _minutes_without_raters(of) for of in papers or results}
  longest = max(figures, key=lambda name: figures[name])
  hours = sum(every.values()) / results[0]["workers"] / 3600
  yield Claim(
    f"All experiments in at most {MOST_HOURS} hours on two cores",
    f"{hours:.1f} h, {len(every)} jobs of {len(results)} experiments",
    hours <= MOST_HOURS,
  )
  yield Claim(
    f"Each rater in at most {MOST_RATER_MINUTES} minutes",
    f"{max(raters, default=0) / 60:.1f} min at most, {len(raters)} raters",
    max(raters, default=0) <= 60 * MOST_RATER_MINUTES,
  )
  yield Claim(
    f"Each figure of the paper in at most {MOST_FIGURE_MINUTES} minutes where its raters are there",
    f"{figures[longest]:.0f} min at most ({longest})",
    figures[longest] <= MOST_FIGURE_MINUTES,
  )


def _minutes_without_raters(of: Results) -> float:
  seconds = [s for name, s in of["seconds_by_job"].items() if not name.startswith(RATER_JOBS)]
  return sum(seconds) / of["workers"] / 60


def _compute(results: Results) -> Iterable[Claim]:
  headline = results["scale"]["targets"][0]
  sizes = results["cells"][headline]
  for size, found in sizes.items():
    share = mean(found["flops_share"])
    yield Claim(
      f"{headline}, {size}: final loss of unfiltered training with at most {TARGET_SHARE:.0%} of "
      "its training FLOPs",
      _shares(found["flops_share"]),
      share is not None and share <= TARGET_SHARE,
    )
  largest, found = list(sizes.items())[-1]
  net = mean(found["flops_share_net"])
  yield Claim(
    f"{headline}, {largest}: with at most {TARGET_SHARE_NET:.0%}, rating and oversampling counted",
    _shares(found["flops_share_net"]),
    net is not None and net <= TARGET_SHARE_NET,
  )
  for size, found in sizes.items():
    paired = found["against_random"]
    yield Claim(
      f"{headline}, {size}: better than random drop, intervals apart",
      f"{_loss(found['loss'])} against {_loss(found['random'])} over {len(found['loss'])} seeds; "
      f"paired {paired['mean']:+.3f} ± {paired['half_width']:.3f}",
      _apart(found["loss"], found["random"]),
    )
  for size, found in results["cells"][HELDOUT].items():
    shares = _shares(found["flops_share"]), _shares(found["flops_share_net"])
    text = "{} of the FLOPs, {} with rating".format(*shares)
    yield Claim(f"{HELDOUT}, {size} (the paper: up to 46.6% saved net, at 1B)", text)


def _order(results: Results) -> Iterable[Claim]:
  criterion = results["criterion"]
  for target, of in results["targets"].items():
    agreement = of["agreement"]
    yield Claim(
      f"{target}: rank correlation of the mean rating by domain with the yardstick at least "
      f"{criterion}",
      f"{told(agreement)}; without its own domain {told(of['agreement_without_target'])}",
      (agreement["mean"] or 0.0) >= criterion,
    )
  if results["between_targets"]:
    between = results["between_targets"]
    agreement = between["agreement"]
    yield Claim(
      "The targets rank domains differently, as the yardsticks do (rank correlation of the "
      "differences above 0, beyond the interval)",
      f"{told(agreement)}; less their own domains {told(between['agreement_of_others'])}",
      (agreement["mean"] or 0.0) > (agreement["half_width"] or 0.0),
    )


def _clean(results: Results) -> Iterable[Claim]:
  yield Claim("A clean corpus: whether filtering helps at all", results["finding"])


def _sweep(results: Results) -> Iterable[Claim]:
  for objective, sizes in results["best_by_size"].items():
    text = ", ".join(f"{float(fraction):.0%} at {size}" for size, fraction in sizes.items())
    yield Claim(f"{objective}: best discard fraction by size", text)


def _grid(results: Results) -> Iterable[Claim]:
  expected = dict(zip(FAULTS, ("no gain", "harm", "no gain"), strict=True))
  for fault, sizes in results["faults"].items():
    against = {size: found["against_random"] for size, found in sizes.items()}
    harm = all(d["mean"] > 0 and d["beyond_interval"] for d in against.values())
    gain = any(d["mean"] < 0 and d["beyond_interval"] for d in against.values())
    text = ", ".join(f"{d['mean']:+.3f} ± {d['half_width']:.3f} at {s}" for s, d in against.items())
    yield Claim(
      f"A deliberate fault, {fault}: {expected[fault]} against random drop",
      f"{text} bits per byte",
      harm if expected[fault] == "harm" else not gain,
    )


def _selectors(results: Results) -> Iterable[Claim]:
  ranks, hoped = results["ranks"], results["hoped_share"]
  for name in RATERS:
    of = ranks[name]
    share = of["tied"] / of["cells"]
    yield Claim(
      f"The {name} is first, or tied with the first, in {hoped:.0%} of the cells of all selectors",
      f"{of['tied']} of {of['cells']} ({share:.0%}), first in {of['first']}; mean rank "
      f"{of['mean_rank']:.1f} of {len(ranks)}",
      share >= hoped,
    )
  dsdm = ranks["dsdm"]
  *_, (size, multipliers) = results["compute_multipliers"].items()
  multiplier = multipliers["dsdm"]
  reached = f"{multiplier:.1f} at {size}" if multiplier else f"none at {size}"
  yield Claim(
    "DsDm, in the same cells",
    f"first or tied in {dsdm['tied']}; mean rank {dsdm['mean_rank']:.1f}; compute multiplier "
    f"{reached}",
  )


def _others(results: Results) -> Iterable[Claim]:
  for name, of in results["lds_differences"].items():
    mine, other = results["lds"][results["lds_chosen"]], results["lds"][name]
    yield Claim(
      f"DsDm's linear datamodelling score is above that of {name}, beyond the interval",
      f"{mine['mean']:.2f} against {other['mean']:.2f}; by domain {of['mean']:+.2f} ± "
      f"{of['half_width']:.2f}",
      of["mean"] > of["half_width"],
    )
  few = results["few"]["tsds"]
  paired = few["against_unfiltered"]
  yield Claim(
    "TSDS: 1% of the pool beats all of it",
    f"{_loss(few['loss'])} against {_loss(few['baseline'])} bits per byte",
    paired["beyond_interval"] and paired["mean"] < 0,
  )
  for number, of in results["copies"].items():
    ratio, most = of["KNN-KDE"]["ratio"], results["most_mass"]
    yield Claim(
      f"TSDS (KNN-KDE): {number} near-copies have at most {most} times the probability of one "
      "document alone",
      f"{ratio:.2f} times; {of['KNN-Uniform']['ratio']:.2f} by KNN-Uniform",
      ratio <= most,
    )


def _apart(a: Any, b: Any) -> bool:
  """a's interval lies wholly below b's."""
  (mean_a, half_a), (mean_b, half_b) = interval(a), interval(b)
  return bool(mean_a + half_a < mean_b - half_b)


def _loss(values: Any) -> str:
  centre, half_width = interval(values)
  return f"{centre:.3f} ± {half_width:.3f}"


def _shares(shares: Any) -> str:
  if any(share is None for share in shares):
    return "never, in " + f"{sum(s is None for s in shares)} of {len(shares)} seeds"
  centre, half_width = interval(shares)
  return f"{centre:.0%} ± {half_width:.0%}"
