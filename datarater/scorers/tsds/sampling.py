"""Draws from a distribution over documents."""

import numpy as np

from datarater.errors import require

_SLACK = 1e-6
"""How far a sum of probabilities may be from 1."""


def draw(probabilities_N: np.ndarray, size: int, seed: int, replacement: bool) -> np.ndarray:
  """int64 [N], how often each was drawn: with replacement as the paper does, or without.

  Without: one after the other, each time in proportion to the probability among those left, and so
  at most as many as have one. Raises InputError for what is no distribution, or too large a size.
  """
  probabilities_N = np.asarray(probabilities_N, np.float64)
  total = float(probabilities_N.sum())
  require(
    bool(np.all(probabilities_N >= 0)) and abs(total - 1.0) <= _SLACK,
    f"probabilities sum to {total}; give none below 0, and a sum of 1",
  )
  require(size >= 0, f"size is {size}; give a number of at least 0")
  random = np.random.default_rng(seed)
  if replacement:
    return random.multinomial(size, probabilities_N / total).astype(np.int64)
  possible = np.flatnonzero(probabilities_N)
  require(
    size <= len(possible),
    f"size is {size}, but {len(possible)} of {len(probabilities_N)} documents have a probability "
    "above 0; draw fewer, or with replacement",
  )
  # The first of exponential clocks at rates p: an order drawn in proportion to p, without repeats.
  times = random.exponential(size=len(possible)) / probabilities_N[possible]
  counts = np.zeros(len(probabilities_N), np.int64)
  counts[possible[np.argsort(times, kind="stable")[:size]]] = 1
  return counts
