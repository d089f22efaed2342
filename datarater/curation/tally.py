"""Counts of a selection: documents and tokens before and after, by domain, and the histogram."""

from typing import Any

import numpy as np

from datarater.curation.candidates import UNKNOWN, Candidates
from datarater.curation.decisions import KEPT
from datarater.runtime.quantiles import QuantileSketch

BINS = 60
_TAIL = 0.001
"""What lies further out than this share of the ratings counts in the first and the last bin."""


def histogram_edges(sketch: QuantileSketch) -> np.ndarray | None:
  """float64 [BINS + 1] for the finite ratings of a sketch; None where there are none."""
  if not sketch.count:
    return None
  low, high = sketch.quantile([_TAIL, 1 - _TAIL])
  if low == high:
    low, high = low - 0.5, high + 0.5
  return np.linspace(low, high, BINS + 1)


class Tally:
  """Sums over parts of a corpus whose domains are numbered together.

  reasons: by code, the first of what is kept. edges: of the histogram.
  """

  def __init__(self, reasons: tuple[str, ...], edges: np.ndarray | None):
    self._reasons, self._edges = reasons, edges
    self._codes = np.zeros(len(reasons), np.int64)
    # By domain: documents before, after; tokens before, after; then the least rating kept.
    self._sums = np.zeros((4, 0))
    self._least = np.zeros(0)
    self._bins = np.zeros((2, BINS), np.int64)
    self._names: tuple[str, ...] = ()
    self._counted = False

  def add(self, part: Candidates, codes: np.ndarray) -> None:
    """part: with all its ratings. codes: int [N]."""
    self._grow(part.domains)
    kept = codes == KEPT
    self._codes += np.bincount(codes, minlength=len(self._reasons))
    known = part.tokens != UNKNOWN
    self._counted |= bool(known.any())
    tokens = np.where(known, part.tokens, 0)
    size = len(self._names)
    for row, (mask, weights) in enumerate(
      [(None, None), (kept, None), (None, tokens), (kept, tokens)]
    ):
      domain = part.domain if mask is None else part.domain[mask]
      weights = weights if mask is None or weights is None else weights[mask]
      self._sums[row] += np.bincount(domain, weights, minlength=size)
    np.minimum.at(self._least, part.domain[kept], part.ratings[kept])
    if self._edges is not None:
      for row, values in enumerate((part.ratings, part.ratings[kept])):
        self._bins[row] += self._histogram(values)

  def _grow(self, names: tuple[str, ...]) -> None:
    more = len(names) - len(self._names)
    if more:
      self._names = names
      self._sums = np.pad(self._sums, ((0, 0), (0, more)))
      self._least = np.pad(self._least, (0, more), constant_values=np.inf)

  def _histogram(self, ratings: np.ndarray) -> np.ndarray:
    assert self._edges is not None
    low, high = self._edges[[0, -1]]
    values = np.clip(ratings[~np.isnan(ratings)].astype(np.float64), low, high)
    return np.histogram(values, BINS, (low, high))[0]

  @property
  def kept(self) -> int:
    return int(self._codes[KEPT])

  def rejected(self) -> dict[str, int]:
    """Documents by reason, reasons in order."""
    found = zip(self._reasons[1:], self._codes[1:].tolist(), strict=True)
    return {reason: number for reason, number in sorted(found) if number}

  def mixture(self, after: bool) -> dict[str, Any]:
    """documents, tokens where they are known, and both by domain."""
    rows = {"documents": self._sums[int(after)]}
    if self._counted:
      rows["tokens"] = self._sums[2 + int(after)]
    domains = {
      name: {what: int(row[code]) for what, row in rows.items()}
      for name, code in sorted((name, code) for code, name in enumerate(self._names))
      if rows["documents"][code]
    }
    return {**{what: int(row.sum()) for what, row in rows.items()}, "domains": domains}

  def cut(self, cuts: str) -> float | dict[str, float] | None:
    """The least rating kept, of `all` or in each `domain`; None where nothing is kept, or where the
    rule has no cut. Infinite ones are not JSON: None.
    """
    least = {
      name: float(rating)
      for name, rating in sorted(zip(self._names, self._least.tolist(), strict=True))
      if np.isfinite(rating)
    }
    if cuts == "domain":
      return least
    return min(least.values(), default=None) if cuts == "all" else None

  def histogram(self) -> dict[str, Any] | None:
    """edges [BINS + 1], and how many ratings are in each bin before and after."""
    if self._edges is None:
      return None
    before, after = self._bins.tolist()
    return {"edges": self._edges.tolist(), "before": before, "after": after}
