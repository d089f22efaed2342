"""TSDS: a distribution over the pool that is near a target and spread out, as ratings.

    rating = log p(document),        Σ p = 1 over the pool

Task-specific data selection (Liu et al. 2024, arXiv 2410.11303). `select --temperature 1` keeps
documents drawn one after the other with chances in proportion to exp(rating): the paper's draw, but
without replacement. Copies of one text have one rating, the log of their mean p.

A document without probability is rated below all that have some, by the rank of its distance to
the nearest example of any target. Ranks are further apart than the Gumbel noise of a temperature of
1 reaches, so a selection of more documents than have a probability is filled by the nearest.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from datarater.data.fingerprints import DIGEST_BYTES, digests
from datarater.errors import require
from datarater.scorer_config import TsdsConfig
from datarater.scorers.fitted import FittedScorer, Fitting, require_pool
from datarater.scorers.proxy import Proxy
from datarater.scorers.target import Target, require_targets
from datarater.scorers.tsds.distribution import distribution, search_of
from datarater.scorers.tsds.neighbours import ExactSearch
from datarater.scorers.tsds.vectors import (
  Embed,
  digests_of,
  embed_all,
  read_vectors,
  usable,
  whitened,
)

WITHOUT = -1024.0
"""Ratings below are of documents without probability: log p of a float64 is above -745."""

STEP = 64.0
"""From one of them to the next; Gumbel noise of 53-bit draws lies between -3.7 and 37.5."""


class TsdsScorer(FittedScorer):
  """Knows the documents of its pool and no other. Needs targets, and a proxy or vectors.

  arrays: digests uint8 [T, 16], increasing; ratings float32 [T].
  """

  name = "tsds"
  config: TsdsConfig

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: TsdsConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
    *,
    embed: Embed | None = None,
  ) -> Self:
    """Goes through the pool twice; holds its vectors in memory.

    Vectors are those of `config.vectors`, of `embed`, or of the first proxy, in this order; only a
    proxy's are whitened. Several targets weigh the same. Raises InputError where there are no
    vectors, for such as are not finite, of a wrong number or width, and for a pool of one document.
    """
    if embed is None:
      cls.check(targets, config, fitting)
    require_targets(targets, cls.name)
    digests_Nx, has_text_N = digests_of(pool)
    require_pool(len(digests_Nx), cls.name)
    of_proxy = None
    if config.vectors:
      pool_NxD, target_MxD = read_vectors(config.vectors)
    else:
      if embed is None:
        embed = of_proxy = _Counting(fitting.proxies[0])
      pool_NxD = embed_all(pool, embed, "pool", fitting.progress)
      examples = [text for target in targets for text in target.texts]
      target_MxD = embed_all(examples, embed, "target")
    known_N = usable(pool_NxD, has_text_N, "pool")
    groups = _by_target(target_MxD, targets, pool_NxD.shape[1])
    pool_nxD = pool_NxD[known_N]
    if of_proxy and config.whiten:
      pool_nxD, groups = whitened(pool_nxD, groups, config.C)
    p_N = probabilities(pool_nxD, groups, config)
    distance_N = ExactSearch(np.concatenate(groups)).nearest(pool_nxD, 1)[1][:, 0]
    ratings_T, digests_Tx = rate(digests_Nx[known_N], p_N, distance_N)
    facts = {"fit_flops": of_proxy.flops} if of_proxy else {}
    return cls(config, {"digests": digests_Tx, "ratings": ratings_T}, facts=facts)

  @classmethod
  def check(cls, targets: Sequence[Target], config: TsdsConfig, fitting: Fitting) -> None:
    """Needs targets, and a proxy or vectors."""
    super().check(targets, config, fitting)
    require(
      bool(config.vectors or fitting.proxies),
      f"scorer {cls.name!r} compares vectors; give a language model that makes them (--proxy RUN), "
      "or a file of them (--tsds.vectors FILE)",
    )

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N]; NaN for a text that is not in the pool, or has no vector there."""
    known_Tx = self.arrays["digests"]
    wanted_Nx = np.frombuffer(b"".join(digests(texts)), np.uint8).reshape(-1, DIGEST_BYTES)
    firsts_N = np.searchsorted(self._keys, _keys(wanted_Nx), "left")
    counts_N = np.searchsorted(self._keys, _keys(wanted_Nx), "right") - firsts_N
    ratings_N = np.full(len(texts), np.nan, np.float32)
    for step in range(int(counts_N.max(initial=0))):  # more than one: 64 bits in common
      places_N = np.minimum(firsts_N + step, len(known_Tx) - 1)
      same_N = (step < counts_N) & (known_Tx[places_N] == wanted_Nx).all(axis=1)
      ratings_N[same_N] = self.arrays["ratings"][places_N[same_N]]
    return ratings_N

  @functools.cached_property
  def _keys(self) -> np.ndarray:
    return _keys(self.arrays["digests"])


def probabilities(
  pool_NxD: np.ndarray, targets: Sequence[np.ndarray], config: TsdsConfig
) -> np.ndarray:
  """float64 [N], sums to 1: the mean of the targets' distributions. targets: vectors [M, D] each.

  `sampling.draw` draws from them.
  """
  search = search_of(pool_NxD, config)
  found = [distribution(search, pool_NxD, x, config).probabilities_N for x in targets]
  return np.mean(found, axis=0)


def rate(
  digests_Nx: np.ndarray, p_N: np.ndarray, distance_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(ratings float32 [T], digests uint8 [T, 16], increasing) of the pool's T different texts.

  p_N: their documents' probabilities. distance_N: to the nearest example.
  """
  digests_Tx, text_N = np.unique(digests_Nx, axis=0, return_inverse=True)
  p_T = np.bincount(text_N, p_N) / np.bincount(text_N)
  distance_T = np.full(len(p_T), np.inf)
  np.minimum.at(distance_T, text_N, distance_N)
  some_T = p_T > 0
  ratings_T = np.full(len(p_T), WITHOUT)
  ratings_T[some_T] = np.log(p_T[some_T])
  rank = np.unique(distance_T[~some_T], return_inverse=True)[1]
  ratings_T[~some_T] -= STEP * (1 + rank)
  return ratings_T.astype(np.float32), digests_Tx


class _Counting:
  """A proxy's embeddings, and the operations that they took."""

  def __init__(self, proxy: Proxy):
    self._proxy, self.flops = proxy, 0.0

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    vectors_NxD, tokens_N = self._proxy.embed_with_tokens(texts)
    self.flops += self._proxy.forward_flops(tokens_N)
    return vectors_NxD


def _by_target(target_MxD: np.ndarray, targets: Sequence[Target], width: int) -> list[np.ndarray]:
  """Each target's vectors, less those of examples without text."""
  has_text_M = np.array([bool(text.strip()) for target in targets for text in target.texts])
  known_M = usable(target_MxD, has_text_M, "target")
  require(
    target_MxD.shape[1] == width,
    f"vectors of the target have width {target_MxD.shape[1]}, those of the pool {width}; "
    "embed both the same way",
  )
  ends = np.cumsum([len(target.examples) for target in targets])[:-1]
  parts = zip(np.split(target_MxD, ends), np.split(known_M, ends), strict=True)
  return [vectors_mxD[known_m] for vectors_mxD, known_m in parts]


def _keys(digests_Nx: np.ndarray) -> np.ndarray:
  """uint64 [N]: the first half of each digest, in the digests' order."""
  return np.ascontiguousarray(digests_Nx).view(">u8")[:, 0].astype(np.uint64)
