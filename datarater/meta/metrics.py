"""A meta-step's metrics as one JSON row: device arrays in, plain numbers out."""

from typing import Any

import numpy as np

DIGITS = 7
"""Significant digits kept: float32 has no more."""


def metrics_row(
  step: int,
  metrics: dict[str, Any],
  domains: tuple[str, ...],
) -> dict[str, Any]:
  """One row; lists run over members. Ratings are summarised over all datapoints of the step."""
  row: dict[str, Any] = {"step": step}
  for name in ("outer_loss", "age", "meta_gradient_norm", "update_norm"):
    row[name] = [_number(x) for x in np.asarray(metrics[name])]
  for name in ("weight_entropy", "effective_sample_size"):
    row[name] = _number(np.mean(np.asarray(metrics[name])))
  for name in ("learning_rate", "skipped", "skipped_in_row"):
    row[name] = _number(np.asarray(metrics[name]))
  ratings = np.asarray(metrics["ratings"])
  domain_ids = np.asarray(metrics["domain_ids"])
  present = domain_ids >= 0
  row["datapoints_per_batch"] = _number(present.sum() / np.prod(present.shape[:2]))
  row |= _spread(ratings[present])
  by_domain = {
    name: _spread(ratings[domain_ids == i])
    for i, name in enumerate(domains)
    if (domain_ids == i).any()
  }
  row["rating_by_domain"] = by_domain
  row["tokens"] = _number(np.asarray(metrics["tokens"]))
  return row


def _spread(ratings: np.ndarray) -> dict[str, Any]:
  return {"rating_mean": _number(ratings.mean()), "rating_std": _number(ratings.std())}


def _number(value: Any) -> float | int | None:
  """A JSON number; None for what is not finite."""
  value = value.item()
  if isinstance(value, int):
    return value
  return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
