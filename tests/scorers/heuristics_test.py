"""Heuristics: shares of rules, signals, and the decisions of datatrove's filters."""

import pickle

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.utils.word_tokenizers import WordTokenizer

from datarater.data.gopher import GOPHER_QUALITY, GOPHER_REPETITION, gopher_rules
from datarater.data.signals import SIGNALS, signals
from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.scorer_config import HeuristicsConfig
from datarater.scorers.fitted import load_scorer
from datarater.scorers.heuristics import HeuristicsScorer, c4_rules


class WhiteSpace(WordTokenizer):
  """Our words and sentences: datatrove's own for English need spaCy."""

  def word_tokenize(self, text):
    return text.split()

  def sent_tokenize(self, text):
    return [text]

  def span_tokenize(self, text):
    number = int(signals(text)["sentences"])
    return [(0, len(text))] * number


def some_rules(text, names):
  """Whether it passes each of Gopher's rules of these names."""
  passed = gopher_rules(text)
  return [passed[name] for name in names]


@pytest.fixture(scope="module")
def texts():
  source = open_source(DataConfig(), "inner")
  return [source[i].text for i in range(0, len(source), 2)]


@pytest.mark.parametrize(
  ("kind", "rules", "least"),
  [
    (GopherQualityFilter, lambda text: some_rules(text, GOPHER_QUALITY), 0.98),
    (GopherRepetitionFilter, lambda text: some_rules(text, GOPHER_REPETITION), 0.97),
    (C4QualityFilter, lambda text: c4_rules(text).values(), 0.93),
  ],
)
def test_decisions_are_those_of_datatrove(texts, kind, rules, least):
  peer = kind(language=WhiteSpace())
  theirs = [peer.filter(Document(text=text, id="")) is True for text in texts]
  ours = [all(rules(text)) for text in texts]
  assert 0.05 < np.mean(theirs) < 0.95
  assert np.mean(np.equal(ours, theirs)) >= least


def test_c4_is_the_signal(texts):
  ratings = HeuristicsScorer(HeuristicsConfig("c4")).score(texts)
  passes = [signals(text)["c4_passes_all"] for text in texts]
  np.testing.assert_array_equal(ratings == 1, passes)


def test_a_rating_is_the_share_of_rules_passed():
  text = "{ lorem ipsum " + "word " * 3
  c4, gopher, both = (
    HeuristicsScorer.fit([], [], HeuristicsConfig(rule)).score([text])[0]
    for rule in ("c4", "gopher", "all")
  )
  assert c4 == 0
  assert gopher == np.float32(sum(gopher_rules(text).values()) / 21)
  assert both == np.float32(sum(gopher_rules(text).values()) / 24)


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_in_both_directions(texts, name):
  some = [*texts[:5], ""]
  expected = np.float32([signals(text)[name] for text in some])
  np.testing.assert_array_equal(HeuristicsScorer(HeuristicsConfig(name)).score(some), expected)
  np.testing.assert_array_equal(
    HeuristicsScorer(HeuristicsConfig(f"-{name}")).score(some), -expected
  )


def test_all_is_the_default_and_rates_every_text():
  assert HeuristicsConfig().rule == "all"
  ratings = HeuristicsScorer(HeuristicsConfig()).score(["", "\ud800", "one word"])
  assert ((ratings >= 0) & (ratings < 1)).all()


def test_it_survives_pickling_and_the_disk(tmp_path, texts):
  scorer = HeuristicsScorer.fit(texts, [], HeuristicsConfig("gopher"))
  ratings = scorer.score(texts[:9])
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(scorer)).score(texts[:9]), ratings)
  scorer.save(tmp_path / "scorer")
  loaded = load_scorer(tmp_path / "scorer")
  np.testing.assert_array_equal(loaded.score(texts[:9]), ratings)
  assert loaded.fingerprint == scorer.fingerprint
  assert loaded.fingerprint != HeuristicsScorer(HeuristicsConfig("c4")).fingerprint


@pytest.mark.parametrize("rule", ["", "-", "-c4", "word", "--words"])
def test_unknown_rules_are_refused(rule):
  with pytest.raises(InputError, match="rule is"):
    HeuristicsScorer.fit([], [], HeuristicsConfig(rule))
