"""Arms against each other: paired differences with intervals, and the net compute gain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from datarater.errors import InputError

Curve = Sequence[Sequence[float]]
"""[[flops, loss], ...], FLOPs rising."""


def flops_to_reach(curve: Curve, loss: float) -> float | None:
  """FLOPs at which a curve first is at `loss` or below, linear between points; None if never."""
  for i, (flops, value) in enumerate(curve):
    if value <= loss:
      if i == 0 or value == loss:
        return float(flops)
      before_flops, before = curve[i - 1]
      share = (before - loss) / (before - value)
      return float(before_flops + share * (flops - before_flops))
  return None


def net_compute_gain(arm: Curve, baseline: Curve) -> float | None:
  """1 - F_arm / F_baseline, F the FLOPs to reach the baseline's final loss (Calian et al. 2025,
  figure 1). None where the arm never reaches it.
  """
  flops = flops_to_reach(arm, baseline[-1][1])
  return None if flops is None else 1.0 - flops / float(baseline[-1][0])


def without_rating(result: Mapping[str, Any]) -> list[list[float]]:
  """An arm's curve over training FLOPs alone, as if ratings were free."""
  losses = [loss for _, loss in result["curve"]]
  return [list(pair) for pair in zip(result["curve_training_flops"], losses, strict=True)]


def paired_difference(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
  """a - b seed by seed, with the half width of the 95% t-interval of the mean.

  beyond_interval: the interval lies on one side of zero. Needs two pairs or more.
  """
  differences = np.asarray(a, float) - np.asarray(b, float)
  count = len(differences)
  if count < 2:
    raise InputError(f"{count} pair of runs gives no interval; give two seeds or more")
  error = differences.std(ddof=1) / np.sqrt(count)
  half_width = float(scipy.stats.t.ppf(0.975, count - 1) * error)
  mean = float(differences.mean())
  return {
    "differences": differences.tolist(),
    "mean": mean,
    "half_width": half_width,
    "beyond_interval": abs(mean) > half_width,
  }


def pair_by_seed(
  arm: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
  """(arm's, baseline's) results of equal seeds; InputError names seeds without a partner."""
  by_seed = [{result["seed"]: result for result in results} for results in (arm, baseline)]
  alone = sorted(by_seed[0].keys() ^ by_seed[1].keys())
  if alone:
    raise InputError(f"seeds {alone} are in one arm only; train both arms with the same seeds")
  return [(by_seed[0][seed], by_seed[1][seed]) for seed in sorted(by_seed[0])]


def compare_arms(
  arm: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
  """Gain by seed, with and without the rating counted, and the paired difference in bits per byte.

  The difference is arm - baseline: below zero where the arm is better.
  """
  pairs = pair_by_seed(arm, baseline)
  losses = [[result["bits_per_byte"] for result in side] for side in zip(*pairs, strict=True)]
  return {
    "net_compute_gain": [net_compute_gain(a["curve"], b["curve"]) for a, b in pairs],
    "gain_without_rating": [
      net_compute_gain(without_rating(a), without_rating(b)) for a, b in pairs
    ],
    "difference": paired_difference(*losses) if len(pairs) > 1 else None,
  }
