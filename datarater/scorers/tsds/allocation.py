"""How much of the probability each neighbour of each target example gets.

The problem (Liu et al. 2024, TSDS): over γ_jk >= 0 with Σ_k γ_jk = 1/M, minimise

    (α/C) Σ_jk γ_jk d_jk + (1 - α) M max_jk ρ_k γ_jk

for M target examples j and points k. Let the maximum be t. Given t, each example by itself fills
its nearest points first, each up to t/ρ_k, and what is left lies on the next. With S_K = Σ_{k<=K}
1/ρ_k that fills K points where t S_K <= 1/M < t S_{K+1}, and the first term of example j is

    (α/C) [Σ_{k<=K} d_k t/ρ_k + d_{K+1} (1/M - t S_K)],

a convex function of t whose slope is -(α/C) cost_j, cost_j = d_{K+1} S_K - Σ_{k<=K} d_k/ρ_k >= 0.
So the least t pays as long as (α/C) Σ_j cost_j < (1 - α) M. Costs change only where t = 1/(M S_K)
for some example: raising s = 1/(M t) from 0 through all S_K in order, the first at which the sum
reaches (1 - α) M is the optimum, and any point between two optima is one. That is the paper's
greedy growth; it is the linear programme's exact solution when every point is a neighbour. Of
fewer, K, an example fills at most K - 1 and leaves the rest on the last, as the paper's program
does: its cost grows no further.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

_FIRST = 16
_MORE = 1.5
"""Densities that are asked for at first, and how many times as many after that."""


@dataclasses.dataclass(frozen=True)
class Allocation:
  """mass_MxK: float64, γ of each example's neighbours; each row sums to 1/M.

  s: 1 / (M max ρ γ), the sum of 1/ρ over the points that an example fills. filled_M: int64, how
  many it filled. exhausted: examples that needed more neighbours than they have.
  """

  mass_MxK: np.ndarray
  s: float
  filled_M: np.ndarray
  exhausted: int


def allocate(
  ids_MxK: np.ndarray,
  distances_MxK: np.ndarray,
  densities: Callable[[np.ndarray], np.ndarray],
  alpha: float,
  C: float,
  *,
  every_point: bool,
) -> Allocation:
  """The optimum for M examples with K neighbours each, nearest first.

  densities: ids int64 → ρ float64 of the same shape; called for what the growth reaches, and a
  little more. alpha: in [0, 1], weight of distance. C: above 0, the distances' scale. every_point:
  the neighbours are all points there are.
  """
  M, K = ids_MxK.shape
  most = K if every_point else max(1, K - 1)
  gaps_MxF = np.diff(distances_MxK, axis=1, append=distances_MxK[:, -1:])[:, :most]
  share_MxF = np.full((M, most), np.inf)
  known_M, wanted_M = np.zeros(M, np.int64), np.full(M, min(_FIRST, most))
  while True:
    place_F = np.arange(most)
    new = (place_F >= known_M[:, None]) & (place_F < wanted_M[:, None])
    share_MxF[new] = 1.0 / densities(ids_MxK[:, :most][new])
    known_M = wanted_M
    reach_MxF = np.cumsum(share_MxF[:, : known_M.max()], axis=1)
    last_M = np.where(known_M < most, reach_MxF[np.arange(M), known_M - 1], np.inf)
    horizon = float(last_M.min())
    s = _stop(reach_MxF, gaps_MxF, horizon, alpha, (1.0 - alpha) * M * C)
    if s is not None:
      return _allocation(reach_MxF, s, K, most)
    more = np.minimum(most, np.ceil(known_M * _MORE).astype(np.int64))
    wanted_M = np.where(last_M <= _MORE * horizon, more, known_M)


def _stop(
  reach_MxF: np.ndarray, gaps_MxF: np.ndarray, horizon: float, alpha: float, enough: float
) -> float | None:
  """The s at which α Σ cost >= `enough`; None where that lies beyond the horizon.

  reach_MxF: S_K, infinite where unknown. gaps_MxF: d_{K+1} - d_K. horizon: up to where all S are
  known; infinite when they all are, and then the greatest is the last possible answer.
  """
  known = reach_MxF <= min(horizon, np.finfo(np.float64).max)
  reach = reach_MxF[known]
  # With K one larger the cost is (d_{K+1} - d_K) S_K larger: no differences of large sums.
  steps = gaps_MxF[:, : reach_MxF.shape[1]][known] * reach
  order = np.argsort(reach, kind="stable")
  at = int(np.searchsorted(alpha * np.cumsum(steps[order]), enough))
  if at < len(order):
    return float(reach[order[at]])
  return float(reach.max()) if np.isinf(horizon) else None


def _allocation(reach_MxF: np.ndarray, s: float, K: int, most: int) -> Allocation:
  M, known = reach_MxF.shape
  ends_MxK = np.full((M, K), s)
  ends_MxK[:, :known] = np.minimum(reach_MxF, s)
  ends_MxK[:, -1] = s
  return Allocation(
    mass_MxK=np.diff(ends_MxK, axis=1, prepend=0.0) / (M * s),
    s=s,
    filled_M=np.count_nonzero(reach_MxF <= s, axis=1),
    exhausted=int(np.count_nonzero(reach_MxF[:, -1] < s)) if known == most < K else 0,
  )
