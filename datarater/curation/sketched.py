"""Rules whose cut comes from a sketch of the ratings: they decide document by document."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from datarater.curation.candidates import Candidates
from datarater.curation.ranks import drawn, kept_number
from datarater.runtime.quantiles import QuantileSketch

Sketches = Mapping[str | None, QuantileSketch]
"""Of the ratings of each domain by name, or of all of them under None."""


@dataclasses.dataclass(frozen=True)
class Cut:
  """Where ratings are cut. ties: the share that is kept of those rated exactly so."""

  rating: float
  ties: float


def cut_of(sketch: QuantileSketch, discard_fraction: float) -> Cut:
  """The cut that keeps 1-ρ of what the sketch has seen, up to its rank error either way."""
  number = kept_number(discard_fraction, sketch.count)
  if number == 0:
    return Cut(np.inf, 0.0)
  rating = sketch.order_statistic(sketch.count - number)
  below, upto = (sketch.rank([rating], side)[0] for side in ("left", "right"))
  return Cut(rating, float((number - (sketch.count - upto)) / (upto - below)))


@dataclasses.dataclass(frozen=True)
class SketchedCuts:
  """Ratings above the cut, and of those at it the share that draws small numbers.

  cuts: by name of the domain, or one for all under None.
  """

  cuts: Mapping[str | None, Cut]
  seed: int
  reason: str

  def keep(self, candidates: Candidates) -> np.ndarray:
    """bool[N]."""
    ratings = candidates.ratings.astype(np.float64)
    if None in self.cuts:
      cut, ties = self.cuts[None].rating, self.cuts[None].ties
    else:
      none = Cut(np.inf, 0.0)
      own = [self.cuts.get(name, none) for name in candidates.domains]
      cut = np.array([each.rating for each in own])[candidates.domain]
      ties = np.array([each.ties for each in own])[candidates.domain]
    with np.errstate(invalid="ignore"):
      chance = np.where(ratings > cut, 1.0, np.where(ratings == cut, ties, 0.0))
    return drawn(chance, candidates.draws(self.seed, "ties"))


@dataclasses.dataclass(frozen=True)
class SketchedPointwise:
  """The pointwise rule, ranks by the sketch. chance: ranks [N] in [0, 1] -> chances to be kept."""

  sketch: QuantileSketch
  chance: Callable[[np.ndarray], np.ndarray]
  seed: int
  reason: str

  def keep(self, candidates: Candidates) -> np.ndarray:
    """bool[N]."""
    if not self.sketch.count:
      return np.zeros(len(candidates), bool)
    p = self.sketch.cdf(candidates.ratings)
    return drawn(self.chance(p), candidates.draws(self.seed, "pointwise"))
