"""DSIR: the published package's weights, its distributions, sampling, and what is refused."""

import pickle

import numpy as np
import pytest

from datarater.data.ngrams import HashedNgrams
from datarater.errors import InputError
from datarater.scorer_config import DsirConfig
from datarater.scorers.dsir import SMOOTHING, DsirScorer
from datarater.scorers.fitted import load_scorer
from datarater.scorers.target import texts_target

POOL = [
  "The cat sat on the mat.",
  "It's 3.50 EUR; isn't it?",
  "naïve café — ＡＢＣ 你好 世界_1\u2028line",
  "the cat sat on the hat, the HAT!",
  "...",
]
TARGET = ["A cat is on a mat.", "The café is naïve."]
PUBLISHED = {
  (10_000, 2): [
    *(-84.817453148472, -341.39298796941665, -153.39474347865234),
    *(-204.80676452279954, -14.158001576910799),
  ],
  (97, 2): [
    *(-70.9510691928011, -272.7748756648827, -141.6486222498486),
    *(-149.12276960920508, -14.158001576910799),
  ],
  (97, 1): [
    *(-14.628590646733013, -163.77442092940817, -73.80734039192232),
    *(-64.0654710546433, -14.78309496422591),
  ],
}
"""Log importance weights of POOL from data-selection 1.0.3, by (buckets, ngrams)."""


def fit(pool, *targets, **settings):
  named = [texts_target(str(i), texts) for i, texts in enumerate(targets)]
  return DsirScorer.fit(pool, named, DsirConfig(**settings))


@pytest.mark.parametrize(("buckets", "longest"), PUBLISHED)
def test_weights_are_those_of_the_package(buckets, longest):
  scorer = fit(iter(POOL), TARGET, buckets=buckets, ngrams=longest)
  expected = PUBLISHED[buckets, longest]
  np.testing.assert_allclose(scorer.log_weights(POOL)[0], expected, rtol=0, atol=1e-9)
  np.testing.assert_array_equal(scorer.score(POOL), np.float32(expected))


def test_several_targets_weigh_the_same():
  few, many = ["blue green"], ["red yellow"] * 50
  counts = [
    np.bincount(HashedNgrams(2, 50).of(texts)[0], minlength=50) for texts in (few, many, POOL)
  ]
  shares = [count / count.sum() for count in counts]
  expected = np.log((shares[0] + shares[1]) / 2 + SMOOTHING) - np.log(shares[2] + SMOOTHING)
  scorer = fit(POOL, few, many, buckets=50)
  np.testing.assert_allclose(scorer.arrays["log_ratio"], expected, atol=1e-12)


def test_exact_for_distributions_that_are_known():
  scorer = fit(["a a a b", "a a a b"], ["a b b b"], ngrams=1)
  weights, words = scorer.log_weights(["a", "b b", "a b"])
  np.testing.assert_allclose(weights, [-np.log(3), 2 * np.log(3), 0], atol=1e-6)
  assert words.tolist() == [1, 2, 2]


def test_a_batch_is_no_matter():
  scorer = fit(POOL, TARGET)
  alone = np.concatenate([scorer.score([text]) for text in POOL])
  np.testing.assert_array_equal(scorer.score(POOL), alone)
  many = [*POOL, "long " * (1 << 19), *POOL]  # more than one batch
  np.testing.assert_array_equal(scorer.score(many)[[*range(5), *range(6, 11)]], [*alone, *alone])
  assert fit(POOL, TARGET).fingerprint == scorer.fingerprint
  assert scorer.score([]).shape == (0,)


def test_short_texts_have_no_rating():
  ratings = fit(POOL, TARGET).score(["", " \n", "cat"])
  assert np.isnan(ratings).tolist() == [True, True, False]
  for longest in (1, 2):
    scorer = fit(POOL, TARGET, ngrams=longest, min_words=4)
    texts = [" ".join(["cat"] * n) for n in range(7)]
    assert scorer.log_weights(texts)[1].tolist() == list(range(7))
    assert np.isnan(scorer.score(texts)).tolist() == [True] * 4 + [False] * 3


def test_it_survives_pickling_and_the_disk(tmp_path):
  scorer = fit(POOL, TARGET)
  ratings = scorer.score(POOL)  # fills what is not pickled
  assert len(pickle.dumps(scorer)) < 200_000
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(scorer)).score(POOL), ratings)
  scorer.save(tmp_path / "scorer")
  loaded = load_scorer(tmp_path / "scorer")
  np.testing.assert_array_equal(loaded.score(POOL), ratings)
  assert loaded.fingerprint == scorer.fingerprint


@pytest.mark.parametrize(
  ("pool", "targets", "said"),
  [
    (POOL[:1], [TARGET], "pool of 1 document;"),
    (["", " "], [TARGET], "no words in the 2 documents"),
    (POOL, [], "--target"),
  ],
)
def test_what_cannot_be_fitted(pool, targets, said):
  with pytest.raises(InputError, match=said):
    fit(pool, *targets)


@pytest.mark.parametrize("settings", [{"ngrams": 3}, {"buckets": 1}, {"min_words": 0}])
def test_settings_are_checked(settings):
  with pytest.raises(InputError, match=f"DsirConfig.{next(iter(settings))}"):
    DsirConfig(**settings)
