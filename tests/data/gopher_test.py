"""Gopher's rules: closed forms by hand, each rule broken alone, any Unicode at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.gopher import (
  GOPHER_QUALITY,
  GOPHER_REPETITION,
  Bounds,
  gopher_rules,
  measures,
)

PLAIN = [f"The word{i} of line{i} and that number{i} have said{i}." for i in range(12)]
"""Passes every rule: nine words a line, no two lines alike."""

BROKEN = {
  "words": "\n".join(PLAIN[:5]),
  "mean_word_length": " ".join(f"{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(90)),
  "hashes_per_word": "\n".join(PLAIN) + " #" * 13,
  "ellipses_per_word": "\n".join(line.replace(" of", "... of…") for line in PLAIN),
  "bullet_line_fraction": "\n".join("- " + line for line in PLAIN),
  "ellipsis_line_fraction": "\n".join(
    line[:-1] + ("…" if i > 7 else ".") for i, line in enumerate(PLAIN)
  ),
  "alphabetic_word_fraction": "\n".join(PLAIN) + " ".join(str(i) for i in range(1000, 1060)),
  "stop_words": " ".join(f"word{i} lies" for i in range(50)),
  "duplicate_line_fraction": "\n".join(PLAIN + ["Yes."] * 7),
  "duplicate_paragraph_fraction": "\n\n".join(["\n".join(PLAIN), "Yes.", "Yes.", "Yes."]),
  "duplicate_line_character_fraction": "\n".join([*PLAIN, *PLAIN[:2], *PLAIN[:2]]),
  "duplicate_paragraph_character_fraction": "\n\n".join([*PLAIN, *PLAIN[:2], *PLAIN[:2]]),
  "top_2gram_character_fraction": "\n".join(line + " quite undecided" * 2 for line in PLAIN),
  "top_3gram_character_fraction": "\n".join(line + " more or less" for line in PLAIN),
  "top_4gram_character_fraction": "\n".join(line + " so as to be" for line in PLAIN),
} | {
  f"duplicate_{n}gram_character_fraction": "\n".join(
    [*PLAIN, "Again: " + " ".join(" ".join(PLAIN).split()[: n + 26])]
  )
  for n in range(5, 11)
}


def test_there_are_8_and_13():
  assert (len(GOPHER_QUALITY), len(GOPHER_REPETITION)) == (8, 13)
  assert set(measures("a text")) == {*GOPHER_QUALITY, *GOPHER_REPETITION}


def test_plain_text_passes_all():
  assert all(gopher_rules("\n".join(PLAIN)).values())


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_can_be_broken(rule):
  assert not gopher_rules(BROKEN[rule])[rule]


def test_none_is_left_out():
  assert set(BROKEN) == {*GOPHER_QUALITY, *GOPHER_REPETITION}


def test_quality_in_closed_form():
  # Words: - # one. That, "of" ... 12 Of… and five lines, one of them empty.
  got = measures('- # one.\nThat, "of" ...\n\n• 12\nOf…')
  assert {name: got[name] for name in GOPHER_QUALITY} == pytest.approx(
    {
      "words": 9,
      "mean_word_length": (1 + 1 + 4 + 5 + 4 + 3 + 1 + 2 + 3) / 9,
      "hashes_per_word": 1 / 9,
      "ellipses_per_word": 2 / 9,
      "bullet_line_fraction": 2 / 4,
      "ellipsis_line_fraction": 2 / 4,
      "alphabetic_word_fraction": 4 / 9,
      "stop_words": 2,
    }
  )


def test_lines_and_paragraphs_in_closed_form():
  text = "ab\n ab\ncd\n\nxyz\n \nxyz\n\n\nxyz\n"
  got = measures(text)
  assert got["duplicate_line_fraction"] == pytest.approx(3 / 6)
  assert got["duplicate_line_character_fraction"] == pytest.approx((2 + 3 + 3) / len(text))
  assert got["duplicate_paragraph_fraction"] == pytest.approx(2 / 4)
  assert got["duplicate_paragraph_character_fraction"] == pytest.approx(6 / len(text))


def test_top_ngrams_in_closed_form():
  text = "to be or to be not to be or"
  got = measures(text)
  assert got["top_2gram_character_fraction"] == pytest.approx(5 * 3 / len(text))
  assert got["top_3gram_character_fraction"] == pytest.approx(8 * 2 / len(text))
  assert got["top_4gram_character_fraction"] == pytest.approx(
    len("to be or to") / len(text)
  )  # the first of all


def test_duplicate_ngrams_count_each_word_once():
  text = "a bb ccc d ee fff g " * 2 + "x a bb ccc d ee"  # repeated: the second 7, and 5 at the end
  got = measures(text)
  for n, characters in {5: 13 + 9, 6: 13, 7: 13, 8: 0}.items():
    assert got[f"duplicate_{n}gram_character_fraction"] == pytest.approx(characters / len(text))


@pytest.mark.parametrize("value", [0.1, 0.3])
def test_bounds_allow_their_ends(value):
  bounds = Bounds(0.1, 0.3)
  assert bounds.allow(value)
  assert not bounds.allow(0.0999)
  assert not bounds.allow(0.3001)


@given(st.text(alphabet="a b\n.#-…•é你\u2028\ud800", max_size=60))
def test_every_text_has_finite_measures(text):
  got = measures(text)
  assert all(math.isfinite(value) and value >= 0 for value in got.values())
  assert all(got[name] <= 1 for name in GOPHER_REPETITION if name.startswith("dup"))
