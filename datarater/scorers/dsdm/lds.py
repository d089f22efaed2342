"""Linear datamodelling score: whether predicted losses rank subsets of the pool as training does.

For each target the Spearman correlation, over subsets, of the loss predicted for a model trained on
the subset and that measured; then their mean (Park et al. 2023, arXiv 2303.14186, definition 2.3).
"""

import dataclasses

import numpy as np
import scipy.stats

from datarater.errors import require


@dataclasses.dataclass(frozen=True)
class Lds:
  """mean: of the correlations by_target. low, high: of a bootstrap interval of 95%."""

  mean: float
  low: float
  high: float
  by_target: tuple[float, ...]


def predicted_losses(scores_MxN: np.ndarray, members_KxN: np.ndarray) -> np.ndarray:
  """float64 [M, K], up to a constant: each document lowers a target's loss by its score.

  members_KxN: bool, which documents of the pool each of K subsets holds.
  """
  return -np.asarray(scores_MxN, np.float64) @ np.asarray(members_KxN, np.float64).T


def lds(
  predicted_MxK: np.ndarray, measured_MxK: np.ndarray, seed: int = 0, draws: int = 1000
) -> Lds:
  """Of losses of M targets by K subsets. The bootstrap draws targets and subsets anew, both: models
  are few, and the targets share them.

  Raises InputError for shapes that differ, fewer than three subsets, or values that do not vary.
  """
  predicted, measured = (np.asarray(x, np.float64) for x in (predicted_MxK, measured_MxK))
  require(
    predicted.ndim == 2 and predicted.shape == measured.shape and predicted.shape[1] > 2,
    f"predicted losses have shape {predicted.shape}, measured {measured.shape}; give both as "
    "targets x subsets, of at least 3 subsets",
  )
  for name, values in (("predicted", predicted), ("measured", measured)):
    require(
      bool(np.isfinite(values).all() and (np.ptp(values, axis=1) > 0).all()),
      f"{name} losses of a target are all the same or not numbers; leave that target out",
    )
  by_target = _correlations(predicted, measured)
  random = np.random.default_rng(seed)
  means = []
  for _ in range(draws):
    targets = random.integers(0, len(predicted), len(predicted))
    subsets = random.integers(0, predicted.shape[1], predicted.shape[1])
    rows = np.ix_(targets, subsets)
    found = _correlations(predicted[rows], measured[rows])
    if np.isfinite(found).any():  # a draw of one subset over and over ranks nothing
      means.append(np.nanmean(found))
  low, high = np.quantile(means, (0.025, 0.975))
  return Lds(float(by_target.mean()), float(low), float(high), tuple(by_target.tolist()))


def _correlations(a_MxK: np.ndarray, b_MxK: np.ndarray) -> np.ndarray:
  """Spearman's, float64 [M]; NaN for a row that does not vary."""
  a, b = (scipy.stats.rankdata(x, axis=1) for x in (a_MxK, b_MxK))
  a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
  with np.errstate(invalid="ignore"):
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
