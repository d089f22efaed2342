"""Heuristic signals of a document: 21 of the 23 that the paper compares its ratings with.

They are those of Table 1 of Calian et al. 2025 (arXiv 2505.17895) that a document has by itself;
packing density and the number of packed documents belong to a packed row and are left out. The
paper names its heuristics without defining them: the definitions here are ours, and those that
begin with `c4_` follow C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2, in the version that
keeps lines of 3 words and pages of 5 sentences).

    characters                  code points
    words                       pieces between white space
    sentences                   pieces with a letter or digit, cut behind . ! ? … before white space
                                (so "Mr. X" is two) and behind 。！？ anywhere
    empty_line_fraction         lines of white space / lines
    unique_character_ratio      distinct characters / characters
    type_token_ratio            distinct words, lower-cased / words
    non_alphanumeric_fraction   characters that are neither letter nor number / characters
    uppercase_fraction          upper-case characters / characters
    punctuation_fraction        ASCII punctuation and Unicode's category P / characters
    mean_word_length            characters a word
    numeric_fraction            digits / characters
    duplicate_5gram_fraction    five words in a row that stood before / all five words in a row
    c4_lorem_ipsum              1 where "lorem ipsum" occurs, in any case
    c4_curly_brace              1 where { occurs
    c4_javascript               1 where "javascript" occurs, in any case
    c4_long_word                1 where a word is longer than 1000 characters
    c4_no_terminal_punctuation  lines that end in none of . ! ? and quotation mark, or in three dots
                                / lines that are not empty
    c4_short_lines              lines of fewer than 3 words / lines that are not empty
    c4_policy                   1 where a phrase of terms of use or cookie notices occurs
    c4_few_sentences            1 where fewer than 5 sentences are left once C4 has removed lines
                                without terminal punctuation, of fewer than 3 words, with a word of
                                more than 1000 characters, "javascript" or a policy phrase
    c4_passes_all               1 where C4 would keep the page: none of lorem ipsum, curly brace and
                                few sentences

Words are cut at white space, so in scripts without it a word is a clause. What is divided by
nothing is 0.
"""

import functools
import re
import string
import unicodedata

import numpy as np

SIGNALS = (
  "characters",
  "words",
  "sentences",
  "empty_line_fraction",
  "unique_character_ratio",
  "type_token_ratio",
  "non_alphanumeric_fraction",
  "uppercase_fraction",
  "punctuation_fraction",
  "mean_word_length",
  "numeric_fraction",
  "duplicate_5gram_fraction",
  "c4_lorem_ipsum",
  "c4_curly_brace",
  "c4_javascript",
  "c4_long_word",
  "c4_no_terminal_punctuation",
  "c4_short_lines",
  "c4_policy",
  "c4_few_sentences",
  "c4_passes_all",
)
"""Their names, in the order of `signals` and of the columns `signal_NAME`."""

_LONG_WORD, _LEAST_WORDS, _LEAST_SENTENCES = 1000, 3, 5
_END_MARKS = (".", "?", "!", '"', "”")
_POLICY = (
  "terms of use",
  "privacy policy",
  "cookie policy",
  "uses cookies",
  "use of cookies",
  "use cookies",
)
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*(?:(?<=[。！？])|(?=\s|$))")
_WORD_CHARACTER = re.compile(r"[^\W_]")


def signals(text: str) -> dict[str, float]:
  """Every signal of `SIGNALS` by name; finite for every text, the empty one included."""
  lower, words, lines = text.lower(), text.split(), text.splitlines()
  values = [*_of_all(text, lower.split(), words, lines), *_of_c4(text, lower, words, lines)]
  return dict(zip(SIGNALS, values, strict=True))


def _of_all(text: str, lower: list[str], words: list[str], lines: list[str]) -> list[float]:
  """The twelve signals that belong to no filter. lower: the words in lower case."""
  characters = len(text)
  distinct, alphanumeric, upper, punctuation, digits = _characters(text)
  grams = max(0, len(lower) - 4)
  distinct_grams = len(set(zip(lower, lower[1:], lower[2:], lower[3:], lower[4:], strict=False)))
  return [
    float(characters),
    float(len(words)),
    float(_sentences(text)),
    _share(sum(not line or line.isspace() for line in lines), len(lines)),
    _share(distinct, characters),
    _share(len(set(lower)), len(lower)),
    _share(characters - alphanumeric, characters),
    _share(upper, characters),
    _share(punctuation, characters),
    _share(sum(map(len, words)), len(words)),
    _share(digits, characters),
    _share(grams - distinct_grams, grams),
  ]


def _of_c4(text: str, lower: str, words: list[str], lines: list[str]) -> list[float]:
  """The nine signals of C4's filters."""
  lorem, brace, javascript = "lorem ipsum" in lower, "{" in text, "javascript" in lower
  long_word, policy = _has_long_word(words), _names_policy(lower)
  full = [line for line in map(str.strip, lines) if line]
  unended = short = sentences = 0
  for line in full:
    fails = not line.endswith(_END_MARKS) or line.endswith("...")
    few = len(line.split(None, _LEAST_WORDS - 1)) < _LEAST_WORDS
    unended, short = unended + fails, short + few
    if fails or few or sentences >= _LEAST_SENTENCES:
      continue
    if not ((javascript or policy or long_word) and _is_removed(line)):
      sentences += _sentences(line)
  few_sentences = sentences < _LEAST_SENTENCES
  passes = not (lorem or brace or few_sentences)
  return [
    float(lorem),
    float(brace),
    float(javascript),
    float(long_word),
    _share(unended, len(full)),
    _share(short, len(full)),
    float(policy),
    float(few_sentences),
    float(passes),
  ]


def _is_removed(line: str) -> bool:
  """Whether C4 removes the line for what it says, or for a long word."""
  lower = line.lower()
  return "javascript" in lower or _names_policy(lower) or _has_long_word(line.split())


def _names_policy(lower: str) -> bool:
  return any(phrase in lower for phrase in _POLICY)


def _has_long_word(words: list[str]) -> bool:
  return max(map(len, words), default=0) > _LONG_WORD


def _sentences(text: str) -> int:
  pieces = _SENTENCE_END.split(text)
  return sum(bool(_WORD_CHARACTER.search(piece)) for piece in pieces)


def _characters(text: str) -> tuple[int, int, int, int, int]:
  """How many are distinct; how many are alphanumeric, upper case, punctuation, digits."""
  codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
  if text.isascii():
    counts = np.bincount(codes, minlength=128)
    alphanumeric, upper, punctuation, digits = (counts @ _ascii_classes()).tolist()
    return int(np.count_nonzero(counts)), alphanumeric, upper, punctuation, digits
  distinct, counts = np.unique(codes, return_counts=True)
  classes = np.array([_classes(code) for code in distinct.tolist()])
  alphanumeric, upper, punctuation, digits = (counts @ classes).tolist()
  return len(distinct), alphanumeric, upper, punctuation, digits


@functools.lru_cache(1 << 16)
def _classes(code: int) -> tuple[bool, bool, bool, bool]:
  """Whether a character is alphanumeric, upper case, punctuation, a digit."""
  character = chr(code)
  marks = character in string.punctuation or unicodedata.category(character).startswith("P")
  return character.isalnum(), character.isupper(), marks, character.isdigit()


@functools.cache
def _ascii_classes() -> np.ndarray:
  """int64 [128, 4]"""
  return np.array([_classes(code) for code in range(128)], np.int64)


def _share(part: float, whole: float) -> float:
  return part / whole if whole else 0.0
