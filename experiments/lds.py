"""Jobs behind the linear datamodelling score: random subsets, and what methods predict for them.

Each domain is a target. A method gives every document of the pool a score for it, from the target's
text in `outer` alone; the predicted loss of a subset is minus the mean score of its documents,
weighted by tokens, as they weigh in training. Language models trained on the subsets, alike but for
the subset, tell the measured loss.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from datarater.data.blocks import blocks
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.evaluation.pool import RatedPool
from datarater.runtime.atomic import atomic_file
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm.features import Gradients
from datarater.scorers.dsdm.kernel import attribute, gradient_products, similarities
from datarater.scorers.proxy import Proxy, load_proxy
from datarater.scorers.random import RandomScorer
from datarater.scorers.target import Example
from experiments.jobs import Job, ModelJob, PoolJob

RIDGES = (0.1, 1.0, 10.0, 100.0)
"""λ of DsDm that are tried; see `DsdmConfig.ridge`."""

BASELINES = ("gradient products", "embedding similarity")
METHODS = (*(f"DsDm, ridge {ridge:g}" for ridge in RIDGES), *BASELINES)


@dataclasses.dataclass(frozen=True)
class RandomJob(PoolJob):
  """Ratings that know nothing, of a seed that is not the language model's."""

  seed: int
  data: DataConfig

  @property
  def name(self) -> str:
    return f"random ratings {self.seed}"

  def rate(self, root: Path, source: Source) -> RatedPool:
    del root
    ids = [str(source.position(i)) for i in range(len(source))]
    ratings = RandomScorer(self.seed).score_documents(ids, ids)
    return RatedPool(ratings, 0.0, tokens_of(self.data, source))


def tokens_of(data: DataConfig, source: Source) -> np.ndarray:
  """int32 [N], of each document."""
  tokenizer = load_tokenizer(data.tokenizer)
  return np.array([len(tokenizer.encode(source[i].text)) for i in range(len(source))], np.int32)


@dataclasses.dataclass(frozen=True)
class PredictionJob(Job):
  """Scores of every document of a pool for every domain, by each of `METHODS`.

  most: documents of `outer` that stand for a domain.
  """

  proxies: tuple[ModelJob, ...]
  data: DataConfig
  settings: DsdmConfig
  most: int = 32
  kind = "predictions"
  result_file = Path("scores.safetensors")

  @property
  def name(self) -> str:
    return "scores for every domain"

  @property
  def needs(self) -> tuple[ModelJob, ...]:
    return self.proxies

  @property
  def flops(self) -> float:
    return sum(proxy.flops for proxy in self.proxies)

  def run(self, root: Path) -> None:
    source = open_source(self.data, "lm")
    texts = [source[i].text for i in range(len(source))]
    targets = _targets(self.data, self.most)
    total = {method: np.zeros((len(targets), len(texts))) for method in METHODS}
    for number, job in enumerate(self.proxies):
      for method, scores in self._scores(load_proxy(job.folder(root)), number, texts, targets):
        total[method] += scores / scores.std()
    content = safetensors.numpy.save({_key(method): total[method] for method in METHODS})
    with atomic_file(self.result_path(root)) as file:
      file.write(content)

  def _scores(
    self, proxy: Proxy, number: int, texts: Sequence[str], targets: Mapping[str, list[str]]
  ) -> list[tuple[str, np.ndarray]]:
    """(method, scores [targets, N]) of one proxy."""
    gradients = Gradients(proxy, self.settings, number)
    pool = np.concatenate([gradients([*map(Example, b)]).values for b in blocks(texts, len)])
    goal = np.stack(
      [gradients([*map(Example, of)]).counted.mean(axis=0) for of in targets.values()]
    )
    near = np.stack([np.nanmean(proxy.embed(of), axis=0) for of in targets.values()])
    found = (
      *(attribute(pool, goal, ridge) for ridge in RIDGES),
      gradient_products(pool, goal),
      similarities(proxy.embed(texts), near),
    )
    return list(zip(METHODS, found, strict=True))

  def scores(self, root: Path) -> dict[str, np.ndarray]:
    """method → [domains, N], the domains in order."""
    arrays = safetensors.numpy.load_file(self.result_path(root))
    return {method: arrays[_key(method)] for method in METHODS}


def _key(method: str) -> str:
  return method.replace(", ", "_").replace(" ", "_")


def _targets(data: DataConfig, most: int) -> dict[str, list[str]]:
  """domain → texts of `outer`."""
  source = open_source(dataclasses.replace(data, target_domain=""), "outer")
  found: dict[str, list[str]] = {domain: [] for domain in source.domains}
  for i in range(len(source)):
    of = found[source.domains[source.domain_index(i)]]
    if len(of) < most:
      of.append(source[i].text)
  return found


def predicted(
  scores_MxN: np.ndarray, members: Sequence[np.ndarray], tokens_N: np.ndarray
) -> np.ndarray:
  """float64 [M, K]: minus the mean score by tokens of each subset. members: indices, K arrays."""
  columns = [np.average(scores_MxN[:, of], axis=1, weights=tokens_N[of]) for of in members]
  return -np.stack(columns, axis=1)
