"""DsDm: documents by the effect that training on them has on the target's loss, as datamodels
predict it (Engstrom et al. 2024, arXiv 2401.12926), estimated with TRAK on small proxies.

The kernel's solution v turns into a direction w = P v in the proxy's parameters, so that a rating,
φ(z)·v, is the derivative of the document's loss in that direction: one forward-mode pass, no
gradient, no projection; and documents that the fit never saw are rated like those that it did.

    rating(z) = d/dε loss(z; θ + ε w) at ε = 0, averaged over proxies       larger is better

Ratings are those of the paper with the sign turned (`kernel`).
"""

import functools
import hashlib
import heapq
from collections.abc import Iterable, Sequence
from typing import Any, Self

import flax.traverse_util
import jax
import numpy as np
from tqdm import tqdm

from datarater.config import ModelConfig
from datarater.config_io import from_json, to_json
from datarater.data.blocks import blocks
from datarater.data.documents import rate_documents
from datarater.errors import require
from datarater.models.language_model import losses_fn
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm.features import Gradients
from datarater.scorers.dsdm.gradients import differentiable
from datarater.scorers.dsdm.kernel import Moments, require_numbers, solve
from datarater.scorers.dsdm.store import GradientStore, open_store, origin_of
from datarater.scorers.fitted import FittedScorer, Fitting, require_pool, require_proxies
from datarater.scorers.proxy import Proxy, proxy_of
from datarater.scorers.target import Example, Target
from datarater.types import Batch, PyTree

DIRECTION = "direction"
RATING_PASSES = 3
"""Forward passes that a rating costs: loss and derivative, each product with two tangents."""


class DsdmScorer(FittedScorer):
  """Needs proxies (`Fitting.proxies`) of one tokenizer, and targets. Keeps the pool's gradients in
  `Fitting.folder`, where another fit finds them.
  """

  name = "dsdm"
  config: DsdmConfig

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: DsdmConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  ) -> Self:
    """Raises InputError without proxies or targets, for a pool without text, or proxies that differ
    in their tokenizer; and for a folder with other gradients.
    """
    cls.check(targets, config, fitting)
    texts = draw(pool, config)
    require_pool(len(texts), cls.name)
    arrays: dict[str, np.ndarray] = {}
    proxies, flops = [], 0.0
    for number, proxy in enumerate(fitting.proxies):
      gradients = Gradients(proxy, config, number)
      folder = fitting.folder and fitting.folder / f"gradients-{number}"
      with open_store(folder, origin_of(config, proxy.fingerprint, texts, number)) as store:
        moments, spent = _moments(gradients, texts, store, fitting.progress)
      target_k, more = _target(gradients, targets)
      direction = gradients.direction(weights(moments, target_k, config))
      flat = flax.traverse_util.flatten_dict({DIRECTION: direction}, sep="/")
      learned = proxy.arrays() | {name: np.asarray(x) for name, x in flat.items()}
      arrays |= {f"{number}/{name}": x for name, x in learned.items()}
      proxies.append({"model": to_json(proxy.model), "length": proxy.length})
      flops += spent + more
    facts = {"proxies": proxies, "fit_flops": flops}
    return cls(config, arrays, fitting.proxies[0].tokenizer, facts)

  @classmethod
  def check(cls, targets: Sequence[Target], config: DsdmConfig, fitting: Fitting) -> None:
    """Needs targets, and proxies of one tokenizer."""
    super().check(targets, config, fitting)
    require_proxies(fitting, cls.name)
    kinds = {proxy.tokenizer.fingerprint for proxy in fitting.proxies}
    require(
      len(kinds) == 1,
      f"scorer {cls.name!r} was given proxies of {len(kinds)} tokenizers; give proxies of one",
    )

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N], NaN for a text without tokens."""
    return self.score_with_tokens(texts)[0]

  def score_with_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N])."""
    rated = []
    for proxy, direction in self._directed:
      rate = derivative_fn(proxy.model, proxy.tokenizer.vocab_size)
      rate = functools.partial(rate, proxy.theta, direction)
      rated.append(rate_documents(texts, proxy.tokenizer, rate, proxy.shapes))
    ratings = np.stack([ratings for ratings, _ in rated]).astype(np.float64)
    return ratings.mean(axis=0).astype(np.float32), rated[0][1]

  def score_flops(self, tokens: np.ndarray) -> float:
    """Of the derivatives, forward."""
    return RATING_PASSES * sum(proxy.forward_flops(tokens) for proxy, _ in self._directed)

  @functools.cached_property
  def _directed(self) -> list[tuple[Proxy, PyTree]]:
    """Each proxy and its direction, on the device."""
    assert self.tokenizer is not None
    directed = []
    for number, fact in enumerate(self.facts["proxies"]):
      prefix = f"{number}/"
      mine = {n[len(prefix) :]: x for n, x in self.arrays.items() if n.startswith(prefix)}
      model = from_json(ModelConfig, fact["model"])
      proxy = proxy_of(model, fact["length"], self.tokenizer, jax.device_put(mine))
      flat = {name: x for name, x in mine.items() if name.startswith(f"{DIRECTION}/")}
      direction = flax.traverse_util.unflatten_dict(flat, sep="/")[DIRECTION]
      directed.append((proxy, jax.device_put(direction)))
    return directed


def draw(pool: Iterable[str], config: DsdmConfig) -> list[str]:
  """The pool's texts, or `pool_documents` of them, whichever order the pool has them in: those with
  the smallest keyed digests, sorted by these.
  """
  key = config.seed.to_bytes(8, "little")

  def keyed(text: str) -> tuple[bytes, str]:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=key).digest(), text

  texts = map(keyed, (text for text in pool if text))
  most = config.pool_documents
  chosen = heapq.nsmallest(most, texts) if most else sorted(texts)
  return [text for _, text in chosen]


def weights(moments: Moments, target_k: np.ndarray, config: DsdmConfig) -> np.ndarray:
  """v, float64 [k], such that φ·v has a standard deviation of 1 in the pool."""
  require_numbers(moments, target_k)
  v_k = solve(moments, target_k, config.ridge) if config.kernel else target_k
  return v_k / (moments.deviation(v_k) or 1.0)


@functools.lru_cache(maxsize=4)
def derivative_fn(model: ModelConfig, vocab_size: int) -> Any:
  """(theta, direction, batch) → BxS: the derivative of each segment's mean loss, compiled."""
  losses = losses_fn(differentiable(model), vocab_size, "document")

  @jax.jit
  def derivative(theta: PyTree, direction: PyTree, batch: Batch) -> jax.Array:
    return jax.jvp(lambda theta: losses(theta, batch), (theta,), (direction,))[1]

  return derivative


def _moments(
  gradients: Gradients, texts: Sequence[str], store: GradientStore, progress: bool
) -> tuple[Moments, float]:
  """Of the pool, and FLOPs that its gradients take or took."""
  moments, flops = Moments(gradients.dimension), 0.0
  bar = tqdm(total=len(texts), desc="gradients", unit=" documents", disable=not progress)
  with bar:
    for number, block in enumerate(blocks(texts, len)):
      found = store.block(number, lambda block=block: gradients([*map(Example, block)]))
      moments.add(found.counted)
      flops += gradients.flops(found.tokens)
      bar.update(len(block))
  return moments, flops


def _target(gradients: Gradients, targets: Sequence[Target]) -> tuple[np.ndarray, float]:
  """(mean gradient float64 [k], FLOPs); targets weigh the same, and so do a target's examples."""
  means, flops = [], 0.0
  for target in targets:
    found = gradients(target.examples)
    require(
      bool(found.tokens.any()),
      f"target {target.name!r} has no tokens for the proxy's tokenizer; give other examples",
    )
    means.append(found.counted.mean(axis=0, dtype=np.float64))
    flops += gradients.flops(found.tokens)
  return np.mean(means, axis=0), flops
