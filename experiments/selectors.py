"""Every way to select data, as jobs that rate a pool for a target.

A selector is given what a rater is given: the target's text in `outer`, and models trained on
`inner`, never the pool that it rates, which is `lm`. A rater, a classifier and DsDm are fitted once
a seed; TSDS and DSIR draw once a seed from what they found; the others know no chance. The rater is
the headline's, and one that is meta-trained for longer, at a falling rate.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.evaluation.pool import RatedPool
from datarater.runtime.atomic import read_json, write_json
from datarater.scorer_config import (
  ClassifierConfig,
  DsdmConfig,
  DsirConfig,
  HeuristicsConfig,
  Keep,
  TsdsConfig,
)
from datarater.scorers.fitted import Fitting, scorer_class
from datarater.scorers.proxy import load_proxy
from datarater.scorers.target import texts_target
from experiments.arms import learning_rate, pool_data, rated_pool, rater
from experiments.experiment import Place
from experiments.jobs import ModelJob, PerplexityJob, PoolJob, RaterJob, pass_flops
from experiments.queue import seconds_of

COST = "cost.json"
DSDM_PROXIES = 2
PASSES = {"dsdm": 5, "tsds": 1}
"""Over the pool, of each proxy: about, for the progress bar."""


@dataclasses.dataclass(frozen=True)
class Setting:
  """What data is chosen for. without: domains that are not in the pool, nor seen by a proxy."""

  target: str
  without: tuple[str, ...] = ()

  @property
  def name(self) -> str:
    """For people."""
    return f"{self.target}, its own domain removed" if self.without else self.target

  def data(self, place: Place) -> DataConfig:
    """Whose `lm` is the pool."""
    return pool_data(place.scale.data, without=self.without)


@dataclasses.dataclass(frozen=True)
class SelectorJob(PoolJob):
  """By a scorer that is fitted to the pool and to the target's text in `outer`.

  draw: seed of Gumbel noise on the ratings, whose top share is then a draw without replacement with
  chances in proportion to exp(rating); None: none.
  """

  scorer: str
  settings: Any
  data: DataConfig
  target: str
  proxies: tuple[ModelJob, ...] = ()
  draw: int | None = None

  @property
  def name(self) -> str:
    return f"ratings by {self.scorer} for {self.target}"

  @property
  def needs(self) -> tuple["ModelJob | SelectorJob", ...]:
    return self.proxies if self.draw is None else (self._undrawn,)

  @property
  def flops(self) -> float:
    passes = PASSES.get(self.scorer, 0) if self.draw is None else 0
    return passes * sum(pass_flops(proxy, self.data) for proxy in self.proxies)

  @property
  def _undrawn(self) -> "SelectorJob":
    return dataclasses.replace(self, draw=None)

  def rate(self, root: Path, source: Source) -> RatedPool:
    if self.draw is not None:
      rated = RatedPool.load(self._undrawn.result_path(root), source)
      noise = np.random.default_rng(self.draw).gumbel(size=len(rated.ratings))
      return dataclasses.replace(rated, ratings=(rated.ratings + noise).astype(np.float32))
    texts = [source[i].text for i in range(len(source))]
    proxies = tuple(load_proxy(job.folder(root)) for job in self.proxies)
    clock = time.perf_counter()
    fitting = Fitting(proxies, self.folder(root))
    targets = [texts_target(self.target, target_texts(self.data, self.target))]
    scorer = scorer_class(self.scorer).fit(texts, targets, self.settings, fitting)
    fitted = time.perf_counter()
    ratings = scorer.score(texts)
    scored = time.perf_counter()
    tokenizer = load_tokenizer(self.data.tokenizer)
    tokens = np.array([len(tokenizer.encode(text)) for text in texts], np.int32)
    flops = scorer.score_flops(tokens)
    cost = {
      "fit_flops": scorer.fit_flops,
      "score_flops": flops,
      "fit_seconds": fitted - clock,
      "score_seconds": scored - fitted,
    }
    write_json(self.folder(root) / COST, cost)
    return RatedPool(ratings, flops, tokens)


def target_texts(data: DataConfig, target: str) -> list[str]:
  """The target's documents in `outer`, which a rater learns from too."""
  source = open_source(dataclasses.replace(data, target_domain=target, exclude_domains=()), "outer")
  return [source[i].text for i in range(len(source))]


def proxy(place: Place, setting: Setting, seed: int) -> ModelJob:
  """A small language model trained on `inner`, which no final model sees."""
  size = place.scale.sizes[0]
  data = dataclasses.replace(setting.data(place), lm=place.scale.proxy)
  config = place.scale.train_config(size, learning_rate(place, size), seed, data)
  return ModelJob(dataclasses.replace(config, name=f"{size} proxy"), keeps_model=True)


def _raters(place: Place, setting: Setting) -> list[PoolJob]:
  return [
    rated_pool(place, rater(place, setting.target, seed, setting.without))
    for seed in place.scale.seeds
  ]


def _longer_raters(place: Place, setting: Setting) -> list[PoolJob]:
  """After twice the headline's meta-steps, at a rate that falls to zero."""
  pools = []
  for seed in place.scale.seeds:
    config = rater(place, setting.target, seed, setting.without).config
    meta = dataclasses.replace(
      config.meta,
      steps=2 * config.meta.steps,
      lifetime=2 * config.meta.lifetime,
      schedule="cosine",
    )
    config = dataclasses.replace(config, meta=meta, name=f"{config.name}, longer", snapshot_every=0)
    pools.append(rated_pool(place, RaterJob(config)))
  return pools


def _perplexity(keep: Keep) -> Callable[[Place, Setting], list[PoolJob]]:
  def pools(place: Place, setting: Setting) -> list[PoolJob]:
    model = proxy(place, setting, place.scale.seeds[0])
    return [PerplexityJob(model, setting.data(place), keep)]

  return pools


def _dsdm(place: Place, setting: Setting) -> list[PoolJob]:
  seeds = place.scale.seeds
  return [
    SelectorJob(
      "dsdm",
      DsdmConfig(seed=seed),
      setting.data(place),
      setting.target,
      tuple(proxy(place, setting, seed + len(seeds) * k) for k in range(DSDM_PROXIES)),
    )
    for seed in seeds
  ]


def _tsds(place: Place, setting: Setting) -> list[PoolJob]:
  model = proxy(place, setting, place.scale.seeds[0])
  data = setting.data(place)
  return [
    SelectorJob("tsds", TsdsConfig(), data, setting.target, (model,), draw=seed)
    for seed in place.scale.seeds
  ]


def _dsir(place: Place, setting: Setting) -> list[PoolJob]:
  data = setting.data(place)
  return [
    SelectorJob("dsir", DsirConfig(), data, setting.target, draw=seed) for seed in place.scale.seeds
  ]


def _classifier(place: Place, setting: Setting) -> list[PoolJob]:
  data = setting.data(place)
  return [
    SelectorJob("classifier", ClassifierConfig(seed=seed), data, setting.target)
    for seed in place.scale.seeds
  ]


def _heuristics(place: Place, setting: Setting) -> list[PoolJob]:
  return [SelectorJob("heuristics", HeuristicsConfig(), setting.data(place), setting.target)]


SELECTORS: Mapping[str, Callable[[Place, Setting], Sequence[PoolJob]]] = {
  "rater": _raters,
  "longer rater": _longer_raters,
  "dsdm": _dsdm,
  "tsds": _tsds,
  "dsir": _dsir,
  "classifier": _classifier,
  "low perplexity": _perplexity("low"),
  "middle perplexity": _perplexity("middle"),
  "high perplexity": _perplexity("high"),
  "heuristics": _heuristics,
}
"""name → its pools, one a seed, or one for all seeds."""

RATERS = ("rater", "longer rater")


def selection_cost(place: Place, setting: Setting, selector: str) -> dict[str, float]:
  """What one seed of a selector takes: flops of models that it trains and runs, and minutes of a
  core; the pool's rating included.
  """
  pool, *_ = SELECTORS[selector](place, setting)
  trained = sum(job.flops for job in _trained(pool))
  seconds = seconds_of([pool], place.root)
  return {"flops": trained + _run_flops(pool, place), "minutes": sum(seconds.values()) / 60}


def _trained(pool: PoolJob) -> list[RaterJob | ModelJob]:
  """Models that were trained for a pool's ratings."""
  found: list[RaterJob | ModelJob] = []
  for job in pool.needs:
    found += _trained(job) if isinstance(job, PoolJob) else [job]  # type: ignore[list-item]
  return found


def _run_flops(pool: PoolJob, place: Place) -> float:
  if isinstance(pool, SelectorJob):
    undrawn = dataclasses.replace(pool, draw=None)
    cost = read_json(undrawn.folder(place.root) / COST, "cost of a selector")
    return cost["fit_flops"] + cost["score_flops"]
  return pool.ratings(place.root).flops
