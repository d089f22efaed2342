"""Hashed n-grams: the published package's buckets, forgetting, any Unicode at all."""

import hashlib
import itertools
import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from datarater.data import ngrams
from datarater.data.ngrams import HashedNgrams, batches_of, words_of

TEXTS = st.lists(st.text(alphabet="aB é_你\u2028\ud800.-", max_size=12), max_size=6)


def spelled_out(text, longest, buckets):
  """Word by word, in Python's whole numbers."""
  words = words_of(text)
  grams = words + ([" ".join(pair) for pair in itertools.pairwise(words)] * (longest - 1))
  return [
    int(hashlib.sha256(gram.encode("utf-8", "surrogatepass")).hexdigest(), 16) % buckets
    for gram in grams
  ]


def test_words_are_runs_in_lower_case():
  assert words_of("a\tb\nc\rd\x0be\x0cf\x1cg h") == ["a", "b", "c", "d", "e", "f", "\x1c", "g", "h"]
  assert words_of("It's $3.50\tNOW_1 ... é你") == [
    *("it", "'", "s", "$", "3", ".", "50", "now_1", "...", "é你")
  ]


@given(st.text(st.characters(exclude_categories=["Cn"]) | st.sampled_from("aB_1 ²\x1c\u200dⒶक्")))
def test_words_are_those_of_nltk(text):
  """NLTK from 3.10 on has the `regex` package do it."""
  assert words_of(text) == regex.findall(r"\w+|[^\w\s]+", text.lower())


def test_every_character_is_seen_as_nltk_sees_it():
  known = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) != "Cn"]
  text = " ".join(f"a{c}." for c in known)
  assert words_of(text) == regex.findall(r"\w+|[^\w\s]+", text.lower())


def test_buckets_are_those_of_the_package():
  buckets, text = HashedNgrams(2, 10_000).of(["THE cat", "café", "你好"])
  assert text.tolist() == [0, 0, 1, 2, 0]
  assert buckets[[0, 4, 2, 3]].tolist() == [8288, 143, 1662, 9214]  # from data-selection 1.0.3


@given(TEXTS, st.sampled_from([1, 2]), st.sampled_from([2, 97, 10_000, (1 << 24) - 3]))
def test_they_are_sha256_modulo_buckets(texts, longest, buckets):
  hashed = HashedNgrams(longest, buckets)
  for _ in range(2):  # computed, then looked up
    found, text = hashed.of(texts)
    for i, expected in enumerate(texts):
      assert found[text == i].tolist() == spelled_out(expected, longest, buckets)


@pytest.mark.parametrize(("name", "value"), [("_SLOT_BITS", 2), ("_MOST_WORDS", 5)])
def test_forgetting_changes_nothing(monkeypatch, name, value):
  monkeypatch.setattr(ngrams, name, value)
  hashed = HashedNgrams(2, 1000)
  texts = [" ".join(f"w{i % 7}{i % k}" for i in range(40)) for k in (3, 5, 11, 3)]
  for text in texts:
    assert hashed.of([text])[0].tolist() == spelled_out(text, 2, 1000)


@given(st.lists(st.text(max_size=9), max_size=9))
def test_batches_hold_all_in_order(texts):
  batches = list(batches_of(iter(texts), 10))
  assert [text for batch in batches for text in batch] == texts
  assert all(sum(map(len, batch[:-1])) < 10 for batch in batches)
  assert all(sum(map(len, batch)) >= 10 for batch in batches[:-1])


def test_no_text_has_no_ngrams():
  buckets, text = HashedNgrams(2, 10).of([])
  assert buckets.shape == text.shape == (0,)
  assert buckets.dtype == np.int32
