"""Heuristic signals: closed forms on small texts, C4's filters case by case, any Unicode at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.signals import SIGNALS, signals

FIVE = "The first one is here. The second one is here. A third! Is this a fourth? It ends here.\n"
"""Five sentences in one line, which C4 keeps."""


def test_the_names_are_the_papers_less_the_two_of_packed_rows():
  assert len(SIGNALS) == 23 - 2
  assert len(set(SIGNALS)) == len(SIGNALS)
  assert tuple(signals("a text")) == SIGNALS


def test_closed_form_on_a_small_text():
  # 14 letters and digits, each another, 4 line ends, 4 spaces, 3 marks; the words are A, b, a.,
  # B!, c, 12, def-g and hij: 17 characters.
  got = signals("A b a. B!\n\nc 12\ndef-g\nhij")
  expected = {
    "characters": 25,
    "words": 8,
    "sentences": 3,  # "A b a", "B", and the rest, which ends with the text
    "empty_line_fraction": 1 / 5,
    "unique_character_ratio": 19 / 25,  # 14, the space, the line end, . ! -
    "type_token_ratio": 8 / 8,  # a, b, a., b!, c, 12, def-g, hij
    "non_alphanumeric_fraction": 11 / 25,
    "uppercase_fraction": 2 / 25,
    "punctuation_fraction": 3 / 25,
    "mean_word_length": 17 / 8,
    "numeric_fraction": 2 / 25,
    "duplicate_5gram_fraction": 0,
  }
  assert {name: got[name] for name in expected} == pytest.approx(expected)


def test_words_are_lower_cased_for_types_and_5grams():
  got = signals("a B c d e A b C d E")
  assert got["type_token_ratio"] == 5 / 10
  assert got["duplicate_5gram_fraction"] == pytest.approx(1 / 6)  # abcde, twice of six
  assert signals("x " * 14)["duplicate_5gram_fraction"] == pytest.approx(9 / 10)
  assert signals("a b c d")["duplicate_5gram_fraction"] == 0


@pytest.mark.parametrize(
  ("text", "sentences"),
  [
    ("", 0),
    ("?!", 0),
    ("no end", 1),
    ("One. Two", 2),
    ('He said "stop." Then (he left.) Oh...', 3),
    ("3.14 is a number.", 1),
    ("Wait... what?!", 2),
    ("一つ。二つ！三つ", 3),
    ("「一つ。」二つ", 2),
    ("… . !", 0),
  ],
)
def test_sentences(text, sentences):
  assert signals(text)["sentences"] == sentences


def test_unicode_counts_by_what_characters_are():
  got = signals("É²٣—«Ω»中")
  assert got["characters"] == 8
  assert got["uppercase_fraction"] == 2 / 8  # É Ω
  assert got["punctuation_fraction"] == 3 / 8  # — « »
  assert got["numeric_fraction"] == 2 / 8  # ² ٣
  assert got["non_alphanumeric_fraction"] == 3 / 8


def test_ascii_and_other_text_are_counted_alike():
  # The same characters by the fast way and by the general one, told apart by one letter.
  text = "Some Text, with 12 marks: $ & {x}!\n"
  plain, other = signals(text * 9), signals(text * 9 + "中")
  for name in ("uppercase", "punctuation", "numeric", "non_alphanumeric"):
    name += "_fraction"
    assert other[name] * len(text * 9 + "中") == pytest.approx(plain[name] * len(text * 9))
  distinct = plain["unique_character_ratio"] * len(text * 9)
  assert other["unique_character_ratio"] * len(text * 9 + "中") == pytest.approx(distinct + 1)


def c4(text: str) -> set[str]:
  """C4's filters that fire, fractions above zero included."""
  return {
    name.removeprefix("c4_")
    for name, value in signals(text).items()
    if name.startswith("c4_") and name != "c4_passes_all" and value
  }


@pytest.mark.parametrize(
  ("text", "fires"),
  [
    (FIVE, set()),
    (FIVE + "Lorem IPSUM dolor sit.", {"lorem_ipsum"}),
    (FIVE + "Let us f { x } here.", {"curly_brace"}),
    (FIVE + "Please enable JavaScript now.", {"javascript"}),
    (FIVE + f"A {'x' * 1001} is long.", {"long_word"}),
    (FIVE + f"A {'x' * 1000} is long.", set()),
    (FIVE + "A line without an end", {"no_terminal_punctuation"}),
    (FIVE + "A line with dots...", {"no_terminal_punctuation"}),
    (FIVE + 'She said "it is so"', set()),
    (FIVE + "Two words.", {"short_lines"}),
    (FIVE + "Read our Privacy Policy here.", {"policy"}),
    (FIVE + "   \n\n", set()),
    ("One is here. Two is here. Three is here. Four is here.", {"few_sentences"}),
    ("", {"few_sentences"}),
  ],
)
def test_c4_filters_one_by_one(text, fires):
  assert c4(text) == fires
  page_fails = fires & {"lorem_ipsum", "curly_brace", "few_sentences"}
  assert signals(text)["c4_passes_all"] == (0 if page_fails else 1)


@pytest.mark.parametrize(
  "spoiled",
  [
    "no end of it",
    "Too short.",
    "Enable Javascript to read this.",
    "We use cookies here.",
    f"The word {'x' * 1001} is long.",
    "- - - .",
  ],
)
def test_sentences_in_lines_that_c4_removes_do_not_count(spoiled):
  four = "One is here.\nTwo is here.\nThree is here.\nFour is here.\n"
  assert signals(four + "Five is here.")["c4_passes_all"] == 1
  assert signals(four + spoiled)["c4_passes_all"] == 0


def test_line_fractions_leave_out_empty_lines():
  got = signals("A whole sentence here.\n\n\nno end of it\nShort.\n")
  assert got["c4_no_terminal_punctuation"] == pytest.approx(1 / 3)
  assert got["c4_short_lines"] == pytest.approx(1 / 3)
  assert got["empty_line_fraction"] == pytest.approx(2 / 5)


@given(st.text(st.characters(codec=None)) | st.text(alphabet=' \n\r\t\x00\x1c\u2028.!?"{\ud800aİß'))
def test_finite_for_every_text(text):
  for name, value in signals(text).items():
    assert isinstance(value, float)
    assert math.isfinite(value), name
    if name not in ("characters", "words", "sentences", "mean_word_length"):
      assert 0 <= value <= 1, name
