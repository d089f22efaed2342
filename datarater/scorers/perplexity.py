"""Perplexity under a language model that was trained elsewhere: a filter without a target.

    rating = -nll            keeps low perplexity
             +nll            keeps high perplexity
             -|F(nll) - ½|   keeps the middle, F the distribution of nll over the pool

with nll the mean nats a token of a document. Train the model on text that is no part of the pool,
or it knows by heart what it rates. The perplexity filters of Ankner et al. 2024 (arXiv 2405.20541),
which Calian et al. 2025 compare with in figures 10 and 11.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from datarater.config import ModelConfig
from datarater.config_io import from_json, to_json
from datarater.data.blocks import blocks
from datarater.runtime.quantiles import QuantileSketch, RatingsCdf
from datarater.scorer_config import PerplexityConfig
from datarater.scorers.fitted import FittedScorer, Fitting, require_pool, require_proxies
from datarater.scorers.proxy import Proxy, proxy_of
from datarater.scorers.target import Target


class PerplexityScorer(FittedScorer):
  """Rates texts by their perplexity.

  arrays: the model's parameters. facts: its shape, and for `middle` the pool's distribution of nll.
  """

  name = "perplexity"
  config: PerplexityConfig

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: PerplexityConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  ) -> Self:
    """Takes the first proxy; only `middle` looks at the pool, nothing at a target."""
    cls.check(targets, config, fitting)
    proxy, *_ = fitting.proxies
    facts = {"model": to_json(proxy.model), "length": proxy.length}
    if config.keep == "middle":
      facts |= _distribution(proxy, pool, fitting.progress)
    return cls(config, proxy.arrays(), proxy.tokenizer, facts)

  @classmethod
  def check(cls, targets: Sequence[Target], config: PerplexityConfig, fitting: Fitting) -> None:
    """Needs a proxy, and no target."""
    del targets, config
    require_proxies(fitting, cls.name)

  @functools.cached_property
  def proxy(self) -> Proxy:
    """Its language model."""
    assert self.tokenizer is not None
    model = from_json(ModelConfig, self.facts["model"])
    return proxy_of(model, self.facts["length"], self.tokenizer, self.arrays)

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N], NaN for a text without tokens."""
    return self.score_with_tokens(texts)[0]

  def score_with_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(ratings float32 [N], tokens int32 [N])."""
    nll, tokens = self.proxy.nll(texts)
    return self._rating(nll).astype(np.float32), tokens

  def score_flops(self, tokens: np.ndarray) -> float:
    return self.proxy.forward_flops(tokens)

  def _rating(self, nll: np.ndarray) -> np.ndarray:
    if self.config.keep == "low":
      return -nll
    if self.config.keep == "high":
      return nll
    return np.where(np.isfinite(nll), -np.abs(self._cdf(nll) - 0.5), np.nan)

  @functools.cached_property
  def _cdf(self) -> RatingsCdf:
    return from_json(RatingsCdf, self.facts["cdf"])


def _distribution(proxy: Proxy, pool: Iterable[str], progress: bool) -> dict[str, Any]:
  """cdf of nll over the pool, and the fit_flops that it took; bounded memory."""
  sketch, documents, flops = QuantileSketch(), 0, 0.0
  with tqdm(desc="perplexity of the pool", unit=" documents", disable=not progress) as bar:
    for block in blocks(pool, len):
      nll, tokens = proxy.nll(block)
      sketch.add(nll[np.isfinite(nll)].astype(np.float64))
      documents, flops = documents + len(block), flops + proxy.forward_flops(tokens)
      bar.update(len(block))
  require_pool(documents, PerplexityScorer.name)
  return {"cdf": to_json(RatingsCdf.of_sketch(sketch)), "fit_flops": flops}
