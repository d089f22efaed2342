"""From the options of a command line to the one rule that they mean."""

from collections.abc import Mapping

import numpy as np

from datarater.curation.rules import (
  PerDomain,
  Pointwise,
  Rule,
  Temperature,
  Threshold,
  TokenBudget,
  TopFraction,
)
from datarater.errors import InputError, require


def rule_from_options(
  discard_fraction: float | None = None,
  threshold: float | None = None,
  pointwise: bool = False,
  batch_size: int | None = None,
  seed: int = 0,
  cdf: np.ndarray | None = None,
  *,
  token_budget: int | None = None,
  by_domain: bool = False,
  group_fractions: Mapping[str, float] | None = None,
  temperature: float | None = None,
) -> Rule:
  """The one rule that a command line means; none, two, or half of one raises InputError.

  One of discard_fraction, threshold and token_budget says how much is kept; at most one of
  pointwise, by_domain (or group_fractions) and temperature says how it is chosen.
  group_fractions: discard fractions of domains by name; `discard_fraction` is that of all others.
  """
  sizes = {
    "discard fraction": discard_fraction,
    "threshold": threshold,
    "token budget": token_budget,
  }
  given = [f"{name} {value}" for name, value in sizes.items() if value is not None]
  if len(given) != 1:
    raise InputError(f"{' and '.join(given) or 'no rule'} is given; give one of {', '.join(sizes)}")
  grouped = by_domain or bool(group_fractions)
  ways = {"pointwise": pointwise, "by domain": grouped, "temperature": temperature is not None}
  meant = [way for way, is_meant in ways.items() if is_meant]
  require(len(meant) <= 1, f"{' and '.join(meant)} exclude each other; give one")
  fitting = {"threshold": [], "token budget": ["temperature"], "discard fraction": list(ways)}
  (size,) = (name for name, value in sizes.items() if value is not None)
  for way in meant:
    require(way in fitting[size], f"{given[0]} does not go with {way}; give a discard fraction")
  for name, value in (("batch size", batch_size), ("CDF", cdf)):
    require(pointwise or value is None, f"a {name} is given without the pointwise rule; add it")
  if threshold is not None:
    return Threshold(threshold)
  if pointwise:
    if batch_size is None:
      raise InputError("pointwise rule without batch size; give both (the oversampled batch)")
    return Pointwise(discard_fraction or 0.0, batch_size, seed, cdf)
  if grouped:
    return PerDomain(discard_fraction or 0.0, dict(group_fractions or {}), seed)
  if token_budget is not None:
    best = TokenBudget(token_budget, seed)
  else:
    best = TopFraction(discard_fraction or 0.0, seed)
  return best if temperature is None else Temperature(temperature, best, seed)
