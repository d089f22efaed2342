"""Near-copies across sources: against a brute-force oracle, on every pair of made-up texts."""

import itertools
import random

import numpy as np
import pytest

from datarater.data.builders import overlap as module
from datarater.data.builders.overlap import near_copies, sample


def _words(seed: int, count: int, vocabulary: int = 10**6) -> list[str]:
  rng = random.Random(seed)
  return [f"w{rng.randrange(vocabulary)}" for _ in range(count)]


def _shingles(text: str) -> set[tuple[str, ...]]:
  words = text.lower().split()
  return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def _true_overlap(a: str, b: str) -> float:
  x, y = _shingles(a), _shingles(b)
  return len(x & y) / min(len(x), len(y))


@pytest.fixture(scope="module")
def family() -> tuple[list[str], list[int]]:
  """Texts that take a random part of each other, and sources of one to three of them."""
  rng = random.Random(5)
  texts = [" ".join(_words(k, rng.randrange(300, 900))) for k in range(60)]
  for k in range(60):
    words = rng.choice(texts).split()
    start = rng.randrange(len(words) // 2)
    part = words[start : start + rng.randrange(50, 900)]
    texts.append(" ".join(part + _words(100 + k, rng.randrange(0, 500))))
  return texts, [k % 70 for k in range(len(texts))]


def test_without_sampling_nothing_that_is_left_overlaps_and_nothing_goes_in_vain(
  family, monkeypatch
):
  monkeypatch.setattr(module, "SAMPLING", 1)
  texts, sources = family
  found = near_copies(texts, sources, 0.4)
  gone = {copy.index for copy in found}
  left = [i for i in range(len(texts)) if i not in gone]
  assert 10 < len(gone) < 60
  for i, j in itertools.combinations(left, 2):
    assert sources[i] == sources[j] or _true_overlap(texts[i], texts[j]) < 0.4
  for copy in found:
    assert copy.of not in gone
    assert sources[copy.index] != sources[copy.of]
    assert copy.overlap == pytest.approx(_true_overlap(texts[copy.index], texts[copy.of]))
    assert copy.overlap >= 0.4


def test_a_sample_estimates_the_overlap():
  errors = []
  for trial in range(40):
    a, b = _words(trial, 650), _words(1000 + trial, 650)
    share = trial / 40
    x, y = " ".join(a), " ".join(a[: int(650 * share)] + b[int(650 * share) :])
    shared = len(np.intersect1d(sample(x), sample(y)))
    errors.append(shared / min(len(sample(x)), len(sample(y))) - _true_overlap(x, y))
  assert abs(np.mean(errors)) < 0.02
  assert np.std(errors) < 0.05


def test_a_part_of_a_longer_text_is_a_near_copy_and_the_longer_stays():
  long = _words(1, 3000)
  part = " ".join(long[1000:1400])
  (found,) = near_copies([part, " ".join(long)], ["a", "b"], 0.5)
  assert (found.index, found.of, found.overlap) == (0, 1, 1.0)
  assert near_copies([part, " ".join(long)], ["a", "a"], 0.5) == []


@pytest.mark.parametrize(("shared", "found"), [(54, 1), (53, 0)])
def test_the_bound_itself_is_a_near_copy(shared, found, monkeypatch):
  monkeypatch.setattr(module, "SAMPLING", 1)
  short, other = _words(1, 104), _words(2, 300)  # 100 shingles: 54 words in a row are 50 of them
  texts = [" ".join(short), " ".join(other + short[:shared])]
  assert len(near_copies(texts, ["a", "b"], 0.5)) == found


def test_case_and_white_space_are_ignored_and_scripts_without_spaces_are_compared():
  text = "".join(chr(0x4E00 + random.Random(k).randrange(5000)) for k in range(400))
  english = " ".join(_words(3, 400))
  texts = [text, text[:300] + "。", english, english.upper().replace(" ", "\n ")]
  assert [copy.index for copy in near_copies(texts, range(4), 0.5)] == [1, 3]


def test_boilerplate_that_all_share_drops_none_while_it_is_less_than_the_bound():
  boilerplate = _words(0, 200)
  texts = [" ".join(boilerplate + _words(k, 300)) for k in range(1, 300)]
  assert near_copies(texts, range(len(texts)), 0.5) == []
  mostly = [" ".join(boilerplate + _words(k, 100)) for k in range(1, 20)]
  assert len(near_copies(mostly, range(len(mostly)), 0.5)) == len(mostly) - 1


def test_sampling_does_not_depend_on_the_machine_or_the_texts_beside():
  values = sample(" ".join(f"word{k}" for k in range(100)))
  assert values.dtype == np.uint64
  assert values[:2].tolist() == [538257322637901739, 929989932656178105]
  assert len(values) == 13


def test_texts_of_few_words_or_none():
  texts = ["", "  ", "one two", "One  two", "x"]
  assert {copy.index for copy in near_copies(texts, range(5), 0.5)} <= {3}
  assert near_copies([], [], 0.5) == []
