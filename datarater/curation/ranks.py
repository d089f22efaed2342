"""Which ratings to keep: pure functions on arrays, each one rule.

With discard fraction ρ, oversampled batch B and K = round((1-ρ)B), a document at p = F(rating) is
kept by the pointwise rule with

    P_accept = BinomialCDF(K-1; B-1, 1-p)          the chance to be among the best K of a batch of B

(Calian et al. 2025, section 3), whose mean over uniform p is K/B. A NaN rating is never kept, and
counts nowhere.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from datarater.errors import require
from datarater.scorers.random import uniform_hash

Ids = Sequence[str] | np.ndarray
"""One string a document."""

Draws = Callable[[np.ndarray], np.ndarray]
"""Indices [M] of documents, rising -> float64 [M] in [0, 1), each a hash of the document's id."""


def hashed(ids: Ids, seed: int, purpose: str) -> Draws:
  """Draws of documents whose ids are at hand."""
  return lambda at: uniform_hash([str(ids[i]) for i in at], seed, purpose)


def top_fraction(
  ratings: np.ndarray, ids: Ids, discard_fraction: float, seed: int = 0
) -> np.ndarray:
  """bool[N]: the best round((1-ρ)N) of the N ratings that are numbers; ties by a hash of the id."""
  require_fraction(discard_fraction)
  number = kept_number(discard_fraction, int(np.count_nonzero(~np.isnan(ratings))))
  return top_number(ratings, number, hashed(ids, seed, "ties"))


def kept_number(discard_fraction: float, documents: int) -> int:
  """round((1-ρ)N)."""
  return round((1.0 - discard_fraction) * documents)


def top_number(values: np.ndarray, number: int, draws: Draws) -> np.ndarray:
  """bool[N]: the best `number` of the values that are numbers; ties by the smaller draw."""
  return top_numbers(values, [np.flatnonzero(~np.isnan(values))], [number], draws)


def top_numbers(
  values: np.ndarray, groups: Sequence[np.ndarray], numbers: Sequence[int], draws: Draws
) -> np.ndarray:
  """bool[N]: of each group its best `number`.

  groups: indices into `values` [N], disjoint, none of a NaN. numbers: at most the group's size.
  """
  keep = np.zeros(len(values), bool)
  tied, owner, places = [], [], np.zeros(len(groups), np.int64)
  for group, (members, number) in enumerate(zip(groups, numbers, strict=True)):
    if number == 0:
      continue
    own = values[members]
    cut = np.partition(own, len(own) - number)[len(own) - number]
    above = members[own > cut]
    keep[above] = True
    at_cut = members[own == cut]
    tied.append(at_cut)
    owner.append(np.full(len(at_cut), group, np.int32))
    places[group] = number - len(above)
  if tied:
    # Drawn for the ties alone, of all groups at once: of ten million ratings few are tied.
    _fill(keep, np.concatenate(tied), np.concatenate(owner), places, draws)
  return keep


def _fill(
  keep: np.ndarray, tied: np.ndarray, owner: np.ndarray, places: np.ndarray, draws: Draws
) -> None:
  """Gives each group's places to those of its ties that draw the smallest numbers."""
  rising = np.argsort(tied)
  tied, owner = tied[rising], owner[rising]
  order = np.lexsort((draws(tied), owner))
  tied, owner = tied[order], owner[order]
  first = np.searchsorted(owner, owner, "left")
  keep[tied[np.arange(len(tied)) - first < places[owner]]] = True


def within_budget(values: np.ndarray, tokens: np.ndarray, budget: int, draws: Draws) -> np.ndarray:
  """bool[N]: the best values in turn, until the next one would exceed `budget` tokens.

  tokens: int [N]. Ties in turn of their draws.
  """
  keep = np.zeros(len(values), bool)
  rated = np.flatnonzero(~np.isnan(values))
  order = rated[np.argsort(-values[rated])]
  fitting = int(np.searchsorted(np.cumsum(tokens[order], dtype=np.int64), budget, "right"))
  if fitting == len(order):
    keep[rated] = True
    return keep
  cut = values[order[fitting]]
  with np.errstate(invalid="ignore"):
    keep[values > cut] = True
    tied = np.flatnonzero(values == cut)
  tied = tied[np.argsort(draws(tied), kind="stable")]
  left = budget - int(tokens[keep].sum(dtype=np.int64))
  keep[tied[np.cumsum(tokens[tied], dtype=np.int64) <= left]] = True
  return keep


def perturbed(ratings: np.ndarray, temperature: float, draws: Draws) -> np.ndarray:
  """float64[N]: rating / temperature plus Gumbel noise.

  The best K of these are a sample of K without replacement, one after the other with probability
  proportional to exp(rating / temperature) (Kool et al. 2019, arXiv 1903.06059). NaN stays NaN.
  """
  values = np.full(len(ratings), np.nan)
  rated = np.flatnonzero(~np.isnan(ratings))
  # A draw of exactly 0, one in 2^53, would be minus infinity.
  noise = -np.log(-np.log(np.maximum(draws(rated), 2.0**-54)))
  with np.errstate(over="ignore"):
    values[rated] = ratings[rated].astype(np.float64) / temperature + noise
  return values


def threshold(ratings: np.ndarray, minimum: float) -> np.ndarray:
  """bool[N]: ratings of at least `minimum`, compared in the ratings' own precision."""
  require(not math.isnan(minimum), f"threshold is {minimum}; give a number")
  with np.errstate(invalid="ignore"):
    return ratings >= np.asarray(minimum, ratings.dtype)


def kept_of_batch(discard_fraction: float, batch_size: int) -> int:
  """K = round((1-ρ)B), at least 1 and at most B, or InputError."""
  require_fraction(discard_fraction)
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
  # Looked up in their own order: a search jumps about in memory otherwise, which costs ten times.
  order = np.argsort(ratings)
  rising = ratings[order]
  ranks = np.empty(len(ratings))
  both = np.searchsorted(ordered, rising, "left") + np.searchsorted(ordered, rising, "right")
  ranks[order] = both / (2.0 * len(ordered))
  ranks[np.isnan(ratings)] = np.nan
  return ranks


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
  return drawn(pointwise_probability(p, batch_size, keep), hashed(ids, seed, "pointwise"))


def drawn(chance: np.ndarray, draws: Draws) -> np.ndarray:
  """bool[N]: draw < chance; NaN is never drawn, and what is certain needs no draw."""
  with np.errstate(invalid="ignore"):
    keep = chance >= 1.0
    open_ = np.flatnonzero((chance > 0.0) & (chance < 1.0))
  keep[open_] = draws(open_) < chance[open_]
  return keep


def batch_top_k(ratings: np.ndarray, keep: int) -> np.ndarray:
  """bool like ratings [..., B]: the best K along the last axis, earlier ones first among equals."""
  size = ratings.shape[-1]
  require(1 <= keep <= size, f"K is {keep} of a batch of {size}; give a number from 1 to the size")
  # NaN sorts last, behind minus infinity, and is taken out again where it came among the first K.
  order = np.argsort(-ratings, axis=-1, kind="stable")
  mask = np.zeros(ratings.shape, bool)
  np.put_along_axis(mask, order[..., :keep], True, axis=-1)
  return mask & ~np.isnan(ratings)


def require_fraction(discard_fraction: float, name: str = "discard fraction") -> None:
  """InputError unless it is in [0, 1)."""
  require(
    0.0 <= discard_fraction < 1.0,
    f"{name} is {discard_fraction}; give a number from 0 up to, not including, 1",
  )
