"""Rules: from ratings to keep or reject. Pure functions on arrays, and the settings that name them.

With discard fraction ρ, oversampled batch B and K = round((1-ρ)B), a document at p = F(rating) is
kept by

    P_accept = BinomialCDF(K-1; B-1, 1-p)          the chance to be among the best K of a batch of B

(Calian et al. 2025, section 3), whose mean over uniform p is K/B. A NaN rating is never kept.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy import stats

from datarater.config import InputError, require
from datarater.scorers.random import uniform_hash

Ids = Sequence[str] | np.ndarray
"""One string a document."""

NOT_A_NUMBER = "rating is not a number"


def top_fraction(
  ratings: np.ndarray, ids: Ids, discard_fraction: float, seed: int = 0
) -> np.ndarray:
  """bool[N]: the best round((1-ρ)N) of the N ratings that are numbers; ties by a hash of the id."""
  _require_fraction(discard_fraction)
  rated = np.flatnonzero(~np.isnan(ratings))
  number = round((1.0 - discard_fraction) * len(rated))
  keep = np.zeros(len(ratings), bool)
  if number == 0:
    return keep
  values = ratings[rated]
  cut = np.partition(values, len(values) - number)[len(values) - number]
  keep[rated[values > cut]] = True
  tied = rated[values == cut]
  # Ids are hashed for the ties alone: of ten million ratings few are tied.
  order = np.argsort(uniform_hash([str(ids[i]) for i in tied], seed, "ties"), kind="stable")
  keep[tied[order[: number - int(keep.sum())]]] = True
  return keep


def threshold(ratings: np.ndarray, minimum: float) -> np.ndarray:
  """bool[N]: ratings of at least `minimum`, compared in the ratings' own precision."""
  require(not math.isnan(minimum), f"threshold is {minimum}; give a number")
  with np.errstate(invalid="ignore"):
    return ratings >= np.asarray(minimum, ratings.dtype)


def kept_of_batch(discard_fraction: float, batch_size: int) -> int:
  """K = round((1-ρ)B), at least 1 and at most B, or InputError."""
  _require_fraction(discard_fraction)
  require(batch_size >= 1, f"batch size is {batch_size}; give the oversampled batch, 1 or more")
  keep = round((1.0 - discard_fraction) * batch_size)
  require(
    1 <= keep <= batch_size,
    f"batch size {batch_size} at discard fraction {discard_fraction} keeps {keep} of a batch; "
    "give a larger batch or a smaller fraction",
  )
  return keep


def pointwise_probability(p: np.ndarray, batch_size: int, keep: int) -> np.ndarray:
  """float64 like p, the chance to be kept: BinomialCDF(K-1; B-1, 1-p); p is the rank in [0, 1]."""
  require(
    1 <= keep <= batch_size,
    f"K is {keep} of a batch of {batch_size}; give a number from 1 to the batch size",
  )
  return stats.binom.cdf(keep - 1, batch_size - 1, 1.0 - np.asarray(p, np.float64))


def empirical_cdf(ratings: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """float64[N]: mid-rank of each rating among the reference's numbers, (below + equal/2) / all.

  NaN gives NaN. Raises InputError for a reference without a number.
  """
  ordered = np.sort(reference[~np.isnan(reference)])
  require(len(ordered) > 0, "the CDF of ratings is empty; score at least one document")
  below = np.searchsorted(ordered, ratings, "left")
  ranks = (below + np.searchsorted(ordered, ratings, "right")) / (2.0 * len(ordered))
  return np.where(np.isnan(ratings), np.nan, ranks)


def pointwise(
  ratings: np.ndarray,
  ids: Ids,
  discard_fraction: float,
  batch_size: int,
  cdf: np.ndarray | None = None,
  seed: int = 0,
) -> np.ndarray:
  """bool[N]: each document is drawn by itself with its chance to be kept, the draw a hash of its
  id.

  cdf: ratings that stand for the distribution (any order); None: those given.
  """
  keep = kept_of_batch(discard_fraction, batch_size)
  if not len(ratings):
    return np.zeros(0, bool)
  p = empirical_cdf(ratings, ratings if cdf is None else np.asarray(cdf, ratings.dtype))
  chance = pointwise_probability(p, batch_size, keep)
  with np.errstate(invalid="ignore"):
    return uniform_hash(ids, seed, "pointwise") < chance


def batch_top_k(ratings: np.ndarray, keep: int) -> np.ndarray:
  """bool like ratings [..., B]: the best K along the last axis, earlier ones first among equals."""
  size = ratings.shape[-1]
  require(1 <= keep <= size, f"K is {keep} of a batch of {size}; give a number from 1 to the size")
  # NaN sorts last, behind minus infinity, and is taken out again where it came among the first K.
  order = np.argsort(-ratings, axis=-1, kind="stable")
  mask = np.zeros(ratings.shape, bool)
  np.put_along_axis(mask, order[..., :keep], True, axis=-1)
  return mask & ~np.isnan(ratings)


class Rule(Protocol):
  """Settings of a rule. reason: what is said of a document that it rejects."""

  @property
  def reason(self) -> str: ...

  def keep(self, ratings: np.ndarray, ids: Ids) -> np.ndarray: ...

  def as_config(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class TopFraction:
  """The exact, global top 1-ρ."""

  discard_fraction: float
  seed: int = 0

  def __post_init__(self) -> None:
    _require_fraction(self.discard_fraction)

  @property
  def reason(self) -> str:
    return "not in the top fraction"

  def keep(self, ratings: np.ndarray, ids: Ids) -> np.ndarray:
    return top_fraction(ratings, ids, self.discard_fraction, self.seed)

  def as_config(self) -> dict[str, Any]:
    return {"kind": "top_fraction", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Ratings of at least `minimum`."""

  minimum: float

  def __post_init__(self) -> None:
    require(math.isfinite(self.minimum), f"threshold is {self.minimum}; give a finite number")

  @property
  def reason(self) -> str:
    return "below the threshold"

  def keep(self, ratings: np.ndarray, ids: Ids) -> np.ndarray:
    del ids
    return threshold(ratings, self.minimum)

  def as_config(self) -> dict[str, Any]:
    return {"kind": "threshold", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Pointwise:
  """The paper's rule for parallel pipelines. cdf: ratings that stand for F; None: those at hand."""

  discard_fraction: float
  batch_size: int
  seed: int = 0
  cdf: np.ndarray | None = dataclasses.field(default=None, compare=False)

  def __post_init__(self) -> None:
    kept_of_batch(self.discard_fraction, self.batch_size)

  @property
  def reason(self) -> str:
    return "not drawn by the pointwise rule"

  def keep(self, ratings: np.ndarray, ids: Ids) -> np.ndarray:
    return pointwise(ratings, ids, self.discard_fraction, self.batch_size, self.cdf, self.seed)

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


def rule_from_options(
  discard_fraction: float | None = None,
  threshold: float | None = None,
  pointwise: bool = False,
  batch_size: int | None = None,
  seed: int = 0,
  cdf: np.ndarray | None = None,
) -> Rule:
  """The one rule that a command line means; none, two, or half of one raises InputError."""
  if (discard_fraction is None) == (threshold is None):
    raise InputError(
      f"discard fraction is {discard_fraction} and threshold {threshold}; give one of the two"
    )
  if not pointwise:
    require(batch_size is None, f"batch size is {batch_size} without the pointwise rule; add it")
    if threshold is not None:
      return Threshold(threshold)
    return TopFraction(discard_fraction or 0.0, seed)
  if discard_fraction is None or batch_size is None:
    raise InputError(
      f"pointwise rule with discard fraction {discard_fraction} and batch size {batch_size}; "
      "give both (batch size: the oversampled batch)"
    )
  return Pointwise(discard_fraction, batch_size, seed, cdf)


def _require_fraction(discard_fraction: float) -> None:
  require(
    0.0 <= discard_fraction < 1.0,
    f"discard fraction is {discard_fraction}; give a number from 0 up to, not including, 1",
  )
