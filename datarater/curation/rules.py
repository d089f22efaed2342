"""Rules: settings that say which candidates to keep. Each is a function of them alone.

    TopFraction(0.5).keep(candidates)    bool[N]; ratings that are NaN are never kept

A rule may have more than the protocol asks for; it is used where it is there:

    cuts                     "all": what is kept is rated at least so high; "domain": in each domain
    approximate(sketches)    a rule that decides document by document, from sketches of the ratings:
                             {None: of all}, or of each domain by name where `by_domain` is true
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from datarater.curation.candidates import UNKNOWN, Candidates
from datarater.curation.ranks import (
  Draws,
  batch_top_k,
  drawn,
  empirical_cdf,
  kept_number,
  kept_of_batch,
  perturbed,
  pointwise,
  pointwise_probability,
  require_fraction,
  threshold,
  top_fraction,
  top_number,
  top_numbers,
  within_budget,
)
from datarater.curation.sketched import SketchedCuts, SketchedPointwise, Sketches, cut_of
from datarater.errors import InputError, require

__all__ = [
  "NOT_A_NUMBER",
  "PerDomain",
  "Pointwise",
  "Rule",
  "Temperature",
  "Threshold",
  "TokenBudget",
  "TopFraction",
  "batch_top_k",
  "empirical_cdf",
  "kept_of_batch",
  "pointwise",
  "pointwise_probability",
  "threshold",
  "top_fraction",
]

NOT_A_NUMBER = "rating is not a number"


class Rule(Protocol):
  """Settings of a rule. reason: what is said of a document that it rejects."""

  @property
  def reason(self) -> str: ...

  def keep(self, candidates: Candidates, /) -> np.ndarray: ...

  def as_config(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class TopFraction:
  """The exact, global top 1-ρ."""

  discard_fraction: float
  seed: int = 0

  reason = "not in the top fraction"
  cuts = "all"

  def __post_init__(self) -> None:
    require_fraction(self.discard_fraction)

  def keep(self, candidates: Candidates) -> np.ndarray:
    rated = int(np.count_nonzero(~np.isnan(candidates.ratings)))
    number = kept_number(self.discard_fraction, rated)
    return top_number(candidates.ratings, number, candidates.draws(self.seed, "ties"))

  def approximate(self, sketches: Sketches) -> SketchedCuts:
    sketch = sketches[None]
    return SketchedCuts({None: cut_of(sketch, self.discard_fraction)}, self.seed, self.reason)

  def as_config(self) -> dict[str, Any]:
    return {"kind": "top_fraction", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class PerDomain:
  """The exact top 1-ρ of each domain. fractions: ρ of those that differ, by name."""

  discard_fraction: float
  fractions: Mapping[str, float] = dataclasses.field(default_factory=dict)
  seed: int = 0

  reason = "not in the top fraction of its domain"
  cuts = "domain"
  by_domain = True

  def __post_init__(self) -> None:
    require_fraction(self.discard_fraction)
    for name, fraction in self.fractions.items():
      require_fraction(fraction, f"discard fraction of domain {name!r}")

  def keep(self, candidates: Candidates) -> np.ndarray:
    self._require_known(candidates.domains)
    rated = np.flatnonzero(~np.isnan(candidates.ratings))
    codes = candidates.domain[rated]
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(candidates.domains) + 1))
    groups = [rated[part] for part in np.split(order, edges[1:-1])] if len(edges) > 1 else []
    numbers = [
      kept_number(self._fraction(name), len(group))
      for name, group in zip(candidates.domains, groups, strict=True)
    ]
    draws = candidates.draws(self.seed, "ties")
    return top_numbers(candidates.ratings, groups, numbers, draws)

  def approximate(self, sketches: Sketches) -> SketchedCuts:
    self._require_known([name for name in sketches if name is not None])
    cuts = {name: cut_of(s, self._fraction(str(name))) for name, s in sketches.items()}
    return SketchedCuts(cuts, self.seed, self.reason)

  def as_config(self) -> dict[str, Any]:
    fractions = dict(sorted(self.fractions.items()))
    return {"kind": "per_domain", **dataclasses.asdict(self), "fractions": fractions}

  def _fraction(self, domain: str) -> float:
    return self.fractions.get(domain, self.discard_fraction)

  def _require_known(self, domains: Sequence[str]) -> None:
    unknown = sorted(self.fractions.keys() - set(domains))
    if unknown:
      raise InputError(
        f"domain {unknown[0]!r} is given a fraction, but no document is of it; "
        f"there are: {_some(sorted(domains))}"
      )


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Ratings of at least `minimum`."""

  minimum: float

  reason = "below the threshold"
  cuts = "all"

  def __post_init__(self) -> None:
    require(math.isfinite(self.minimum), f"threshold is {self.minimum}; give a finite number")

  def keep(self, candidates: Candidates) -> np.ndarray:
    return threshold(candidates.ratings, self.minimum)

  def approximate(self, sketches: Sketches) -> "Threshold":
    del sketches  # it looks at one document at a time anyway
    return self

  def as_config(self) -> dict[str, Any]:
    return {"kind": "threshold", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Pointwise:
  """The paper's rule for parallel pipelines. cdf: ratings that stand for F; None: those at hand."""

  discard_fraction: float
  batch_size: int
  seed: int = 0
  cdf: np.ndarray | None = dataclasses.field(default=None, compare=False)

  reason = "not drawn by the pointwise rule"

  def __post_init__(self) -> None:
    kept_of_batch(self.discard_fraction, self.batch_size)

  def keep(self, candidates: Candidates) -> np.ndarray:
    ratings = candidates.ratings
    if np.all(np.isnan(ratings)):
      return np.zeros(len(ratings), bool)
    reference = ratings if self.cdf is None else np.asarray(self.cdf, ratings.dtype)
    return drawn(
      self._chance(empirical_cdf(ratings, reference)), candidates.draws(self.seed, "pointwise")
    )

  def approximate(self, sketches: Sketches) -> "Pointwise | SketchedPointwise":
    if self.cdf is not None:
      return self
    return SketchedPointwise(sketches[None], self._chance, self.seed, self.reason)

  def as_config(self) -> dict[str, Any]:
    source = "ratings"
    if self.cdf is not None:
      source = hashlib.blake2b(np.sort(self.cdf).tobytes(), digest_size=8).hexdigest()
    return {
      "kind": "pointwise",
      "discard_fraction": self.discard_fraction,
      "batch_size": self.batch_size,
      "seed": self.seed,
      "cdf": source,
    }

  def _chance(self, p: np.ndarray) -> np.ndarray:
    keep = kept_of_batch(self.discard_fraction, self.batch_size)
    return pointwise_probability(p, self.batch_size, keep)


@dataclasses.dataclass(frozen=True)
class TokenBudget:
  """The best rated documents, in turn, until the next one would exceed `tokens` tokens."""

  tokens: int
  seed: int = 0

  reason = "beyond the token budget"
  cuts = "all"

  def __post_init__(self) -> None:
    require(self.tokens >= 1, f"token budget is {self.tokens}; give 1 or more")

  def keep(self, candidates: Candidates) -> np.ndarray:
    return self.best(candidates, candidates.ratings, candidates.draws(self.seed, "ties"))

  def best(self, candidates: Candidates, values: np.ndarray, draws: Draws) -> np.ndarray:
    """bool[N], by other values than the ratings."""
    missing = int(np.count_nonzero((candidates.tokens == UNKNOWN) & ~np.isnan(values)))
    require(
      not missing,
      f"token budget is {self.tokens}, but {missing} documents have no token count; "
      "score with a scorer that counts tokens, or give a discard fraction",
    )
    return within_budget(values, candidates.tokens, self.tokens, draws)

  def as_config(self) -> dict[str, Any]:
    return {"kind": "token_budget", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Temperature:
  """A sample without replacement, each draw with probability proportional to exp(rating / T).

  temperature: T; towards 0 it is the rule `size`, towards infinity a uniform sample.
  size: how much is drawn: its fraction, or its tokens.
  """

  temperature: float
  size: TopFraction | TokenBudget
  seed: int = 0

  reason = "not drawn at this temperature"

  def __post_init__(self) -> None:
    require(
      0 < self.temperature < math.inf,
      f"temperature is {self.temperature}; give a number above 0",
    )

  def keep(self, candidates: Candidates) -> np.ndarray:
    draws = candidates.draws(self.seed, "gumbel")
    values = perturbed(candidates.ratings, self.temperature, draws)
    ties = candidates.draws(self.seed, "ties")
    if isinstance(self.size, TokenBudget):
      return self.size.best(candidates, values, ties)
    rated = int(np.count_nonzero(~np.isnan(values)))
    return top_number(values, kept_number(self.size.discard_fraction, rated), ties)

  def as_config(self) -> dict[str, Any]:
    size = {k: v for k, v in self.size.as_config().items() if k not in ("kind", "seed")}
    return {"kind": "temperature", "temperature": self.temperature, **size, "seed": self.seed}


def _some(names: Sequence[str]) -> str:
  more = len(names) - 20
  return ", ".join(map(repr, names[:20])) + (f" and {more} more" if more > 0 else "")
