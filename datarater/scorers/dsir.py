"""DSIR: importance weights of hashed n-grams (Xie et al. 2023, arXiv 2302.03169).

    rating = Σ_g log p_target(g) - log p_pool(g)      over the n-grams g of a document, with repeats

with p the shares of the buckets that n-grams are hashed into (`data/ngrams.py`), each + 1e-8. It is
the log of a ratio of likelihoods, so the paper's sample of k documents without replacement, with
Gumbel noise, is `select --temperature 1`. Long documents have large weights of either sign.
Of several targets the mean of their distributions counts.

For one target the values are those of the package `data-selection` 1.0.3 with nltk 3.10, which
leaves documents of fewer than 100 words out: `min_words`.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from datarater.data.ngrams import HashedNgrams, batches_of
from datarater.errors import require
from datarater.scorer_config import DsirConfig
from datarater.scorers.fitted import FittedScorer, Fitting, require_pool
from datarater.scorers.target import Target

SMOOTHING = 1e-8
"""What every bucket has beside its share: the package's."""


class DsirScorer(FittedScorer):
  """config: DsirConfig. arrays: log_ratio float64 [buckets]."""

  name = "dsir"
  config: DsirConfig

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: DsirConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  ) -> Self:
    """Goes through the pool once. InputError for a pool without words or of one document."""
    cls.check(targets, config, fitting)
    ngrams = HashedNgrams(config.ngrams, config.buckets)
    pool_B, size = _counts(pool, ngrams, config.buckets)
    require_pool(size, cls.name)
    require(
      bool(pool_B.any()),
      f"scorer 'dsir' found no words in the {size} documents of its pool; give text",
    )
    target_B = np.mean([_shares(_counts(t.texts, ngrams, config.buckets)[0]) for t in targets], 0)
    log_ratio = np.log(target_B + SMOOTHING) - np.log(_shares(pool_B) + SMOOTHING)
    return cls(config, {"log_ratio": log_ratio})

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N]; NaN for a text of fewer than `min_words` words."""
    weights_N, words_N = self.log_weights(texts)
    return np.where(words_N >= self.config.min_words, weights_N, np.nan).astype(np.float32)

  def log_weights(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(log importance weights float64 [N], words int64 [N]); 0 for a text without words."""
    log_ratio_B, parts = self.arrays["log_ratio"], []
    for batch in batches_of(texts):
      buckets_G, text_G = self._ngrams.of(batch)
      weights = np.bincount(text_G, weights=log_ratio_B[buckets_G], minlength=len(batch))
      grams = np.bincount(text_G, minlength=len(batch))
      parts.append((weights, grams))
    weights_N = np.concatenate([weights for weights, _ in parts] or [np.zeros(0)])
    grams_N = np.concatenate([grams for _, grams in parts] or [np.zeros(0, np.int64)])
    n = self.config.ngrams
    words_N = np.where(grams_N > 0, (grams_N + n - 1) // n, 0)  # n W - (n - 1) n-grams, n = 1, 2
    return weights_N, words_N

  @functools.cached_property
  def _ngrams(self) -> HashedNgrams:
    return HashedNgrams(self.config.ngrams, self.config.buckets)


def _counts(texts: Iterable[str], ngrams: HashedNgrams, buckets: int) -> tuple[np.ndarray, int]:
  """(n-grams by bucket int64 [B], number of texts)."""
  counts_B, size = np.zeros(buckets, np.int64), 0
  for batch in batches_of(texts):
    counts_B += np.bincount(ngrams.of(batch)[0], minlength=buckets)
    size += len(batch)
  return counts_B, size


def _shares(counts_B: np.ndarray) -> np.ndarray:
  return counts_B / counts_B.sum()
