"""Quality classifier: how much a text looks like the target and not like the pool.

    rating = log odds of a logistic regression on hashed word n-grams, target against pool

The classifiers that chose the web text of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix A)
and DCLM (Li et al. 2024, arXiv 2406.11794) are of this kind; theirs and fastText's (Joulin et al.
2017, arXiv 1607.01759) put a bottleneck between n-grams and classes, which two classes do not need.
Words are those of `data/ngrams.py`; a text's counts are scaled to length 1, and its bits
depend on no other text. Pool and target weigh the same, and so does each of several targets.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from datarater.data.ngrams import batches_of, words_of
from datarater.errors import InputError
from datarater.scorer_config import ClassifierConfig
from datarater.scorers.fitted import FittedScorer, Fitting, require_pool
from datarater.scorers.target import Target

_TOLERANCE = 1e-7
"""On the gradient of the mean loss: rare n-grams have small ones."""


class ClassifierScorer(FittedScorer):
  """config: ClassifierConfig. arrays: coefficients float64 [buckets], intercept float64 [1]."""

  name = "classifier"
  config: ClassifierConfig

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: ClassifierConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  ) -> Self:
    """Goes through the pool once. InputError for a pool of one document, without scikit-learn."""
    cls.check(targets, config, fitting)
    vectorizer = _vectorizer(config)
    drawn, size = sample(pool, config.pool_documents, config.seed)
    require_pool(size, cls.name)
    groups = [drawn, *(target.texts for target in targets)]
    counts_NxB = vectorizer.transform([text for group in groups for text in group])
    shares = [0.5, *[0.5 / len(targets)] * len(targets)]
    weights_N = np.repeat([s / len(g) for s, g in zip(shares, groups, strict=True)], _sizes(groups))
    is_target_N = np.arange(len(weights_N)) >= len(drawn)
    model = _fitted(counts_NxB, is_target_N, weights_N, config.penalty)
    return cls(config, {"coefficients": model.coef_[0], "intercept": model.intercept_})

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N]: log odds; NaN for a text without words."""
    coefficients_B, intercept = self.arrays["coefficients"], self.arrays["intercept"]
    ratings = [np.zeros(0)]
    for batch in batches_of(texts):
      counts_NxB = self._vectorizer.transform(batch)
      log_odds_N = counts_NxB @ coefficients_B + intercept
      ratings.append(np.where([bool(text.strip()) for text in batch], log_odds_N, np.nan))
    return np.concatenate(ratings).astype(np.float32)

  @functools.cached_property
  def _vectorizer(self) -> Any:
    return _vectorizer(self.config)


def sample(texts: Iterable[str], number: int, seed: int) -> tuple[list[str], int]:
  """(`number` of the texts, or all there are, in their order; how many there were).

  Each has the same chance; seed and order decide. No more than twice as many are held at a time.
  """
  random = np.random.default_rng(seed)
  kept, size = [], 0
  for text in texts:
    kept.append((random.random(), size, text))
    size += 1
    if len(kept) == 2 * number:
      kept = _smallest(kept, number)
  return [text for _, _, text in sorted(_smallest(kept, number), key=lambda row: row[1])], size


def _smallest(rows: list[tuple[float, int, str]], number: int) -> list[tuple[float, int, str]]:
  return sorted(rows)[:number]


def _sizes(groups: Sequence[Sequence[str]]) -> list[int]:
  return [len(group) for group in groups]


def _vectorizer(config: ClassifierConfig) -> Any:
  try:
    from sklearn.feature_extraction.text import HashingVectorizer
  except ImportError as error:
    raise InputError(
      "scorer 'classifier' needs scikit-learn; pip install 'datarater[selectors]'"
    ) from error
  return HashingVectorizer(
    preprocessor=_valid,
    tokenizer=words_of,
    token_pattern=None,  # type: ignore[arg-type]  (no pattern beside a tokenizer)
    ngram_range=(1, config.ngrams),
    n_features=config.buckets,
  )


def _valid(text: str) -> str:
  """Without lone surrogates, which have no UTF-8."""
  return text.encode("utf-8", "replace").decode()


def _fitted(counts_NxB: Any, is_target_N: np.ndarray, weights_N: np.ndarray, penalty: float) -> Any:
  """The logistic regression; one thread, so that the bits do not depend on how many there are."""
  from sklearn.linear_model import LogisticRegression
  from threadpoolctl import threadpool_limits

  model = LogisticRegression(C=1 / penalty, tol=_TOLERANCE, max_iter=1000)
  with threadpool_limits(1):
    return model.fit(counts_NxB, is_target_N, sample_weight=weights_N)
