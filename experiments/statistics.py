"""Numbers that figures share: correlations, None where there is none, and intervals over seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from datarater.report.style import interval


def pearson(a: np.ndarray, b: np.ndarray) -> float | None:
  """Correlation of the pairs that are finite; None where one side does not vary."""
  return _correlation(scipy.stats.pearsonr, a, b)


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
  """Rank correlation of the pairs that are finite; equal values share their mean rank."""
  return _correlation(scipy.stats.spearmanr, a, b)


def standardised(values: np.ndarray) -> np.ndarray:
  """Mean 0 and deviation 1 over the finite values, NaN stays; 0 where none varies."""
  values = np.asarray(values, np.float64)
  centred = values - np.nanmean(values)
  spread = np.nanstd(values)
  return centred / spread if spread > 0 else 0.0 * centred


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
  """by_seed; mean and half width of the 95% t-interval over the seeds that have a value.

  None where no seed has one, and a half width of None where fewer than two have.
  """
  mean, half_width = (None if math.isnan(x) else x for x in interval(values))
  return {"by_seed": list(values), "mean": mean, "half_width": half_width}


def told(found: dict[str, Any], digits: int = 2) -> str:
  """0.71 ± 0.05, for a sentence; `found` as `over_seeds` gives it."""
  if found["mean"] is None:
    return "undefined"
  mean = f"{found['mean']:.{digits}f}"
  return mean if found["half_width"] is None else f"{mean} ± {found['half_width']:.{digits}f}"


def compared(difference: Mapping[str, Any]) -> str:
  """better than, worse than, no different from: what a `paired_difference` of losses says."""
  if not difference["beyond_interval"]:
    return "no different from"
  return "better than" if difference["mean"] < 0 else "worse than"


def _correlation(of: Callable[..., Any], a: np.ndarray, b: np.ndarray) -> float | None:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  finite = np.isfinite(a) & np.isfinite(b)
  a, b = a[finite], b[finite]
  if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
    return None
  return float(of(a, b).statistic)
