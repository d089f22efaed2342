"""The distribution over a pool that TSDS draws from, given vectors (Liu et al. 2024)."""

import dataclasses

import numpy as np

from datarater.scorer_config import TsdsConfig
from datarater.scorers.tsds.allocation import Allocation, allocate
from datarater.scorers.tsds.density import Densities
from datarater.scorers.tsds.inverted_lists import InvertedLists
from datarater.scorers.tsds.neighbours import ExactSearch, Search


@dataclasses.dataclass(frozen=True)
class Distribution:
  """probabilities_N: float64, sums to 1. ids_MxK: int64, each example's neighbours, nearest first.

  allocation: what they got. densities: how many points' density was computed.
  """

  probabilities_N: np.ndarray
  ids_MxK: np.ndarray
  allocation: Allocation
  densities: int


def search_of(points_NxD: np.ndarray, config: TsdsConfig) -> Search:
  """The search that `config` asks for."""
  if config.method == "exact":
    return ExactSearch(points_NxD)
  return InvertedLists(points_NxD, config.probes, config.seed)


def distribution(
  search: Search, points_NxD: np.ndarray, target_MxD: np.ndarray, config: TsdsConfig
) -> Distribution:
  """Of one target of M >= 1 examples. search: of the pool's points; all finite."""
  ids_MxK, distances_MxK = search.nearest(target_MxD, min(config.max_K, len(points_NxD)))
  kde_K = min(config.kde_K, len(points_NxD))
  densities = Densities(search, points_NxD, ids_MxK, config.sigma, kde_K)
  every_point = ids_MxK.shape[1] == len(points_NxD)
  allocation = allocate(
    ids_MxK, distances_MxK, densities, config.alpha, config.C, every_point=every_point
  )
  mass_N = np.bincount(ids_MxK.ravel(), allocation.mass_MxK.ravel(), minlength=len(points_NxD))
  return Distribution(mass_N, ids_MxK, allocation, densities.computed)
