"""Tables for the terminal, and the numbers of the arms that every report shows."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from datarater.report.style import interval, label, number, scientific

_ORDER = ("unfiltered", "random", "rater")


@dataclasses.dataclass(frozen=True)
class Arm:
  """One arm over its seeds, in bits per byte at the end of training.

  half_width: of the 95% t-interval of the mean; NaN with one seed. flops: of one run, rating and
  oversampling counted; training_flops: without them. Both are means over seeds.
  """

  name: str
  finals: tuple[float, ...]
  mean: float
  half_width: float
  flops: float
  training_flops: float


def summaries(results: Mapping[str, Any]) -> list[Arm]:
  """The arms of `results.json` that have runs: unfiltered, random, rater, then the others."""
  runs_by_arm = results.get("arms") or {}
  names = sorted(runs_by_arm, key=lambda a: _ORDER.index(a) if a in _ORDER else len(_ORDER))
  arms = []
  for name in names:
    runs = runs_by_arm[name] or []
    finals = tuple(number(run.get("bits_per_byte")) for run in runs)
    if runs:
      flops, training = ([run.get(key) for run in runs] for key in ("flops", "training_flops"))
      arms.append(Arm(name, finals, *interval(finals), interval(flops)[0], interval(training)[0]))
  return arms


def plus_minus(mean: float, half_width: float, digits: int = 3) -> str:
  """`2.612 ± 0.014`; without the interval where there is none, a dash where there is no mean."""
  if not math.isfinite(mean):
    return "–"
  width = f" ± {half_width:.{digits}f}" if math.isfinite(half_width) else ""
  return f"{mean:.{digits}f}{width}"


def arms(results: Mapping[str, Any]) -> Table:
  """Each arm's final bits per byte: mean with its 95% interval, then each seed, then its FLOPs."""
  table = _table("Bits per byte at the end of training")
  table.add_column("arm")
  table.add_column("mean ± 95%", justify="right")
  table.add_column("each seed", justify="right")
  table.add_column("FLOPs", justify="right")
  for arm in summaries(results):
    table.add_row(
      Text(label(arm.name)),
      plus_minus(arm.mean, arm.half_width),
      "  ".join(plus_minus(final, math.nan) for final in arm.finals),
      scientific(arm.flops),
      style="bold" if arm.name == "rater" else "",
    )
  return table


def ratings(results: Mapping[str, Any]) -> Table:
  """Mean rating by domain, the highest first, with the share of bytes before and after."""
  by_domain, mixture = results.get("rating_by_domain") or {}, results.get("mixture") or {}
  before, after = mixture.get("before") or {}, mixture.get("after") or {}
  table = _table("Rating by domain")
  table.add_column("domain")
  for column in ("mean", "deviation", "datapoints", "share before", "after"):
    table.add_column(column, justify="right")
  means = {domain: number(rating.get("mean")) for domain, rating in by_domain.items()}
  for domain in sorted(means, key=lambda d: -means[d] if math.isfinite(means[d]) else math.inf):
    rating, is_target = by_domain[domain], domain == results.get("target")
    table.add_row(
      Text(label(domain) + (" (target)" if is_target else "")),
      _shown(means[domain], "+.2f"),
      _shown(number(rating.get("std")), ".2f"),
      _shown(number(rating.get("n")), ",.0f"),
      _shown(number(before.get(domain)), ".1%"),
      _shown(number(after.get(domain)), ".1%"),
      style="bold" if is_target else "",
    )
  return table


def comparison(values: Mapping[str, Any]) -> Table:
  """What `evaluation.compare.compare_arms` found: compute gain seed by seed, difference in all."""
  table = _table("Against the baseline")
  table.add_column("")
  table.add_column("each seed", justify="right")
  table.add_column("mean ± 95%", justify="right")
  for name, text in (
    ("net_compute_gain", "net compute gain, rating counted"),
    ("gain_without_rating", "compute gain, rating not counted"),
  ):
    gains = [number(gain) for gain in values[name]]
    shown = [_shown(gain, "+.1%") if math.isfinite(gain) else "never reached" for gain in gains]
    table.add_row(text, "  ".join(shown), "")
  difference = values.get("difference") or {}
  table.add_row(
    "difference in bits per byte",
    "  ".join(f"{d:+.4f}" for d in difference.get("differences", [])),
    plus_minus(number(difference.get("mean")), number(difference.get("half_width")), 4),
  )
  return table


def tasks(values: Mapping[str, Any]) -> list[Table]:
  """What `evaluation.downstream.evaluate_runs` found, a column a run: accuracies and bits per byte
  with their 95% intervals, and how many of the answers did not fit a row of the model's.
  """
  runs = values["runs"]
  names = [Path(run).name for run in runs]
  names = names if len(set(names)) == len(names) else list(runs)
  accuracy = _table("Accuracy, normalised by length")
  bits = _table("Bits per byte of the right answer")
  too_long = _table("Context cut, answer split")
  for table in (accuracy, bits, too_long):
    table.add_column("task")
    table.add_column("items", justify="right")
    if table is accuracy:
      table.add_column("chance", justify="right")
    for name in names:
      table.add_column(Text(label(name)), justify="right")
  for task in next(iter(runs.values()))["tasks"]:
    rows = [run["tasks"][task] for run in runs.values()]
    first = [Text(label(task)), f"{rows[0]['items']:,}"]
    shares = [_between(row.get("accuracy_normalised") or row["accuracy"], ".1%") for row in rows]
    accuracy.add_row(*first, _shown(number(rows[0]["chance"]), ".1%"), *shares)
    bits.add_row(*first, *(_between(row["bits_per_byte"], ".3f") for row in rows))
    lengths = ("contexts_cut", "continuations_split")
    cells = ["  ".join(f"{row[key] / row['answers']:.1%}" for key in lengths) for row in rows]
    too_long.add_row(*first, *cells)
  return [accuracy, bits, too_long]


def _between(values: Mapping[str, Any], form: str) -> str:
  """`0.31 (0.29–0.33)`, without the interval where there is none."""
  value, low, high = (_shown(number(values[key]), form) for key in ("value", "low", "high"))
  return value if values["low"] is None else f"{value} ({low}–{high})"


def _table(title: str) -> Table:
  return Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)


def _shown(value: float, form: str) -> str:
  return format(value, form) if math.isfinite(value) else "–"
