"""Settings of scorers other than the rater: one class each."""

import dataclasses
import math
from typing import Literal

from datarater.errors import require, require_at_least

Keep = Literal["low", "middle", "high"]


@dataclasses.dataclass(frozen=True)
class PerplexityConfig:
  """Perplexity under a language model trained elsewhere.

  Args:
    keep: Which perplexities are good; `middle` looks at the pool's distribution.
  """

  keep: Keep = "low"


@dataclasses.dataclass(frozen=True)
class DsirConfig:
  """Importance weights of hashed n-grams (`scorers/dsir.py`).

  Args:
    ngrams: Longest n-gram, in words: 1, or 2 for words and pairs.
    buckets: What n-grams are hashed into.
    min_words: Documents of fewer words get no rating, so that none of them is kept; the published
      package has 100.
  """

  ngrams: int = 2
  buckets: int = 10_000
  min_words: int = 1

  def __post_init__(self) -> None:
    require(self.ngrams in (1, 2), f"DsirConfig.ngrams is {self.ngrams}; give 1 or 2")
    require(
      2 <= self.buckets <= 1 << 24,
      f"DsirConfig.buckets is {self.buckets}; give a number from 2 to {1 << 24}",
    )
    require_at_least(self, 1, "min_words")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
  """Linear classifier of n-grams, target against pool (`scorers/classifier.py`).

  Args:
    ngrams: Longest n-gram, in words.
    buckets: What n-grams are hashed into.
    pool_documents: How many documents of the pool, drawn at random, stand for it.
    penalty: Of the squared coefficients, halved, against the mean log loss.
    seed: Of the draw.
  """

  ngrams: int = 2
  buckets: int = 1 << 18
  pool_documents: int = 20_000
  penalty: float = 1e-4
  seed: int = 0

  def __post_init__(self) -> None:
    require_at_least(self, 1, "ngrams", "pool_documents")
    require(
      2 <= self.buckets <= 1 << 28,
      f"ClassifierConfig.buckets is {self.buckets}; give a number from 2 to {1 << 28}",
    )
    require(self.penalty > 0, f"ClassifierConfig.penalty is {self.penalty}; give a number above 0")


@dataclasses.dataclass(frozen=True)
class HeuristicsConfig:
  """Rules that were written by hand (`scorers/heuristics.py`).

  Args:
    rule: `c4`, `gopher` or `all`: the share of these rules that a document passes. Or a signal of
      `datarater score --signals`, such as `words`: larger is better; `-words`: smaller is better.
  """

  rule: str = "all"


@dataclasses.dataclass(frozen=True)
class DsdmConfig:
  """Datamodels by TRAK: whose gradient would lower the target's loss (`scorers/dsdm`).

  Args:
    projection: Numbers that a document's gradient is projected to. Scores of two random projections
      agree the more, the more of them there are.
    kind: `factored` projects each matrix from both sides and makes no gradient; `dense` projects
      whole gradients with random signs, as TRAK's reference does, in several times the time.
    kernel: Divide by how gradients of the pool vary, as TRAK; without it, the gradients' plain
      products.
    ridge: λ that is added to their second moments, relative to the mean of its eigenvalues; the
      larger, the nearer to plain products. Of 0.1 to 100 the default was chosen by its linear
      datamodelling score, on a pool of 3,445 documents (`experiments/selector_claims.py`).
    pool_documents: Documents of the pool, drawn at random, whose gradients are taken; 0: all, held
      in memory.
    rows_a_document: Most rows of a document, evenly spaced, that make up its gradient; ratings look
      at all rows.
    stored: How gradients are kept on disk; half the size in `float16`.
    seed: Of projections and of the draw.
  """

  projection: int = 2048
  kind: Literal["factored", "dense"] = "factored"
  kernel: bool = True
  ridge: float = 10.0
  pool_documents: int = 10_000
  rows_a_document: int = 8
  stored: Literal["float32", "float16"] = "float32"
  seed: int = 0

  def __post_init__(self) -> None:
    require_at_least(self, 1, "projection", "rows_a_document")
    require_at_least(self, 0, "pool_documents", "seed")
    require(self.ridge > 0, f"DsdmConfig.ridge is {self.ridge}; give a number above 0, as 10")
    require(
      self.pool_documents != 1, "DsdmConfig.pool_documents is 1; give at least 2, or 0 for all"
    )


@dataclasses.dataclass(frozen=True)
class TsdsConfig:
  """Optimal transport from a pool to a target, with diversity (`scorers/tsds`).

  Args:
    alpha: Weight of closeness to the target, from 0 to 1; the rest is diversity's.
    C: Scale of distances, about the length of a vector.
    sigma: Distance within which documents count as near-copies, which share their probability; 0:
      none do.
    max_K: Most neighbours of a target example.
    kde_K: Most near-copies of a document that count.
    method: `exact` looks at every document, `approximate` at those of a few inverted lists (extra
      `selectors`).
    probes: How many of the √N / 2 lists the approximate search looks at.
    seed: Of the approximate search.
    whiten: Give a proxy's embeddings the same variance in all directions, and a length of C, for
      which σ is meant.
    vectors: A .npz or .safetensors file of embeddings, `pool` [N, D] and `target` [M, D] in the
      order of their documents (several targets one after the other), in place of a proxy's; taken
      as they are.
  """

  alpha: float = 0.5
  C: float = 5.0
  sigma: float = 0.75
  max_K: int = 5000
  kde_K: int = 1000
  method: Literal["exact", "approximate"] = "exact"
  probes: int = 10
  seed: int = 0
  whiten: bool = True
  vectors: str = ""

  def __post_init__(self) -> None:
    require(0 <= self.alpha <= 1, f"TsdsConfig.alpha is {self.alpha}; give a number from 0 to 1")
    require(0 < self.C < math.inf, f"TsdsConfig.C is {self.C}; give a number above 0")
    require(
      0 <= self.sigma < math.inf,
      f"TsdsConfig.sigma is {self.sigma}; give 0, or a distance above",
    )
    require_at_least(self, 1, "max_K", "kde_K", "probes")
    require_at_least(self, 0, "seed")


@dataclasses.dataclass(frozen=True)
class ScorersConfig:
  """Of each scorer."""

  classifier: ClassifierConfig = ClassifierConfig()
  dsdm: DsdmConfig = DsdmConfig()
  dsir: DsirConfig = DsirConfig()
  heuristics: HeuristicsConfig = HeuristicsConfig()
  perplexity: PerplexityConfig = PerplexityConfig()
  tsds: TsdsConfig = TsdsConfig()
