"""Classifier: separation, balance, the draw of the pool, same bits, and what is refused."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.scorer_config import ClassifierConfig
from datarater.scorers.classifier import ClassifierScorer, sample
from datarater.scorers.fitted import load_scorer
from datarater.scorers.target import texts_target

WORDS = ("red", "blue", "green", "grey")


def documents(seed, number, *extra):
  """Of twelve words, some of them `extra`."""
  random = np.random.default_rng(seed)
  return [" ".join(random.choice([*WORDS, *extra], 12)) for _ in range(number)]


def fit(pool, *targets, **settings):
  named = [texts_target(str(i), texts) for i, texts in enumerate(targets)]
  return ClassifierScorer.fit(pool, named, ClassifierConfig(buckets=1 << 12, **settings))


def test_it_finds_the_domain_of_the_target():
  source = open_source(DataConfig(), "inner")
  records = [source[i] for i in range(len(source))]
  target = [r.text for r in records[::2] if r.domain == "speeches"]
  scorer = fit([r.text for r in records[::2]], target)
  ratings = scorer.score([r.text for r in records[1::2]])
  is_target = np.array([r.domain == "speeches" for r in records[1::2]])
  wins = ratings[is_target][:, None] > ratings[~is_target]
  assert wins.mean() > 0.95


def test_log_odds_of_balanced_classes():
  """Where one word decides, the model must give its log odds: 3 to 1, however many there are."""
  pool = ["sun"] * 900 + ["rain"] * 300
  scorer = fit(pool, ["sun", "rain", "rain", "rain"], ngrams=1, penalty=1e-7)
  np.testing.assert_allclose(scorer.score(["sun", "rain"]), [-np.log(3), np.log(3)], atol=1e-3)


def test_several_targets_weigh_the_same():
  pool = ["sun", "rain", "snow"] * 50
  scorer = fit(pool, ["sun"], ["rain"] * 99, ngrams=1, penalty=1e-7)
  sun, rain, snow = scorer.score(["sun", "rain", "snow"])
  assert sun == pytest.approx(rain, abs=1e-3) == pytest.approx(np.log(1.5), abs=1e-3)
  assert snow < -5


def test_pairs_of_words_count():
  pool, target = ["a b", "b a"] * 10, ["a b"] * 5
  assert np.ptp(fit(pool, target, ngrams=1).score(["a b", "b a"])) < 1e-3
  ratings = fit(pool, target, ngrams=2).score(["a b", "b a"])
  assert ratings[0] > ratings[1] + 1


@given(st.integers(0, 40), st.integers(1, 20), st.integers(0, 3))
def test_the_draw_is_of_distinct_documents_in_order(size, number, seed):
  texts = [f"{i:02}" for i in range(size)]
  drawn, seen = sample(iter(texts), number, seed)
  assert seen == size
  assert drawn == sorted(set(drawn))
  assert len(drawn) == min(size, number)
  assert drawn == sample(texts, number, seed)[0]


def test_each_document_has_the_same_chance():
  counts = np.zeros(12)
  for seed in range(2000):
    counts[np.array(sample(map(str, range(12)), 3, seed)[0], int)] += 1
  chi_squared = ((counts - 500) ** 2 / 500).sum()
  assert chi_squared < 31.3  # 99.9% of 11 degrees; less, as draws are without replacement


def test_the_draw_follows_seed_and_number():
  pool, target = documents(0, 60, "noise"), documents(1, 20, "good")
  same = [fit(iter(pool), target, pool_documents=20) for _ in range(2)]
  assert same[0].fingerprint == same[1].fingerprint
  other = fit(pool, target, pool_documents=20, seed=1)
  assert not np.array_equal(other.arrays["coefficients"], same[0].arrays["coefficients"])


def test_texts_alone_and_together_have_the_same_bits():
  scorer = fit(documents(0, 30), documents(1, 9, "good"))
  texts = [*documents(2, 5, "good"), "good " * (1 << 19), "", "\ud800", "你好 good"]
  alone = np.concatenate([scorer.score([text]) for text in texts])
  np.testing.assert_array_equal(scorer.score(texts), alone)
  assert np.isnan(alone).tolist() == [False] * 6 + [True] + [False] * 2
  assert scorer.score([]).shape == (0,)


def test_it_survives_pickling_and_the_disk(tmp_path):
  scorer = fit(documents(0, 30), documents(1, 9, "good"))
  texts = documents(2, 5, "good")
  ratings = scorer.score(texts)
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(scorer)).score(texts), ratings)
  scorer.save(tmp_path / "scorer")
  loaded = load_scorer(tmp_path / "scorer")
  np.testing.assert_array_equal(loaded.score(texts), ratings)
  assert loaded.fingerprint == scorer.fingerprint


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
  with pytest.raises(InputError, match=r"datarater\[selectors\]"):
    fit(documents(0, 3), documents(1, 3))


@pytest.mark.parametrize(
  ("pool", "targets", "said"),
  [(["one"], [["two"]], "pool of 1 document;"), (["a", "b"], [], "--target")],
)
def test_what_cannot_be_fitted(pool, targets, said):
  with pytest.raises(InputError, match=said):
    fit(pool, *targets)


@pytest.mark.parametrize(
  "settings", [{"ngrams": 0}, {"buckets": 1}, {"pool_documents": 0}, {"penalty": 0.0}]
)
def test_settings_are_checked(settings):
  with pytest.raises(InputError, match=f"ClassifierConfig.{next(iter(settings))}"):
    ClassifierConfig(**settings)
