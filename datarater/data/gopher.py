"""Gopher's rules of quality and repetition (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1).

What a rule asks of, from `measures`, and what it allows, in `GOPHER_QUALITY` and
`GOPHER_REPETITION`:

    words                       pieces between white space                             50 to 100,000
    mean_word_length            characters a word                                            3 to 10
    hashes_per_word             # / words                                                at most 0.1
    ellipses_per_word           ... and … / words                                        at most 0.1
    bullet_line_fraction        lines that begin with • or - / lines                     at most 0.9
    ellipsis_line_fraction      lines that end with ... or … / lines                     at most 0.3
    alphabetic_word_fraction    words with a letter / words                             at least 0.8
    stop_words                  distinct ones of "the be to of and that have with"        at least 2

    duplicate_line_fraction                 lines that stood before / lines              at most 0.3
    duplicate_paragraph_fraction            the same of paragraphs                       at most 0.3
    duplicate_line_character_fraction       characters in such lines / characters        at most 0.2
    duplicate_paragraph_character_fraction  the same of paragraphs                       at most 0.2
    top_Ngram_character_fraction            characters in the N words in a row that occur most
                                            often / characters    at most 0.2, 0.18, 0.16, N=2, 3, 4
    duplicate_Ngram_character_fraction      characters in words that belong to N in a row that stood
                                            before / characters
                                                 at most 0.15, 0.14, ... 0.10 for N = 5, 6, ... 10

The paper leaves open what a word and a line are; these are ours. Lines are cut as Python cuts them,
paragraphs at blank lines; both are stripped, and empty ones do not count. Words count with the
punctuation that hangs on them, stop words are looked for in lower case without it. The space
between two words counts in a top n-gram, which may overlap itself, and not in duplicates, where
each word counts once. Of n-grams that occur equally often the first is the top. What is divided by
nothing is 0.
"""

import dataclasses
import re
import string
from collections.abc import Sequence

import numpy as np

_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = ("•", "-")
_ELLIPSES = ("...", "…")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_LETTER = re.compile(r"[^\W\d_]")
_HUNG_ON = string.punctuation + "“”‘’…"
_TOP = range(2, 5)
_DUPLICATE = range(5, 11)


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What a rule allows, both ends included."""

  least: float = 0.0
  most: float = float("inf")

  def allow(self, value: float) -> bool:
    return self.least <= value <= self.most


GOPHER_QUALITY = {
  "words": Bounds(50, 100_000),
  "mean_word_length": Bounds(3, 10),
  "hashes_per_word": Bounds(most=0.1),
  "ellipses_per_word": Bounds(most=0.1),
  "bullet_line_fraction": Bounds(most=0.9),
  "ellipsis_line_fraction": Bounds(most=0.3),
  "alphabetic_word_fraction": Bounds(least=0.8),
  "stop_words": Bounds(least=2),
}
"""The eight rules of quality."""

GOPHER_REPETITION = {
  "duplicate_line_fraction": Bounds(most=0.30),
  "duplicate_paragraph_fraction": Bounds(most=0.30),
  "duplicate_line_character_fraction": Bounds(most=0.20),
  "duplicate_paragraph_character_fraction": Bounds(most=0.20),
  "top_2gram_character_fraction": Bounds(most=0.20),
  "top_3gram_character_fraction": Bounds(most=0.18),
  "top_4gram_character_fraction": Bounds(most=0.16),
  "duplicate_5gram_character_fraction": Bounds(most=0.15),
  "duplicate_6gram_character_fraction": Bounds(most=0.14),
  "duplicate_7gram_character_fraction": Bounds(most=0.13),
  "duplicate_8gram_character_fraction": Bounds(most=0.12),
  "duplicate_9gram_character_fraction": Bounds(most=0.11),
  "duplicate_10gram_character_fraction": Bounds(most=0.10),
}
"""The thirteen rules of repetition, table A1."""


def gopher_rules(text: str) -> dict[str, bool]:
  """Which of the 21 rules the document passes, by name."""
  found = measures(text)
  return {name: b.allow(found[name]) for name, b in (GOPHER_QUALITY | GOPHER_REPETITION).items()}


def measures(text: str) -> dict[str, float]:
  """What the 21 rules ask of, by name; finite for every text."""
  words = text.split()
  lines = [line for line in map(str.strip, text.splitlines()) if line]
  return _of_quality(text, words, lines) | _of_repetition(text, words, lines)


def _of_quality(text: str, words: list[str], lines: list[str]) -> dict[str, float]:
  ellipses = sum(map(text.count, _ELLIPSES))
  bare = {word.strip(_HUNG_ON) for word in text.lower().split()}
  return {
    "words": float(len(words)),
    "mean_word_length": _share(sum(map(len, words)), len(words)),
    "hashes_per_word": _share(text.count("#"), len(words)),
    "ellipses_per_word": _share(ellipses, len(words)),
    "bullet_line_fraction": _share(sum(li.startswith(_BULLETS) for li in lines), len(lines)),
    "ellipsis_line_fraction": _share(sum(li.endswith(_ELLIPSES) for li in lines), len(lines)),
    "alphabetic_word_fraction": _share(sum(map(_has_letter, words)), len(words)),
    "stop_words": float(len(_STOP_WORDS & bare)),
  }


def _of_repetition(text: str, words: list[str], lines: list[str]) -> dict[str, float]:
  paragraphs = [part for part in map(str.strip, _PARAGRAPH_END.split(text)) if part]
  found = {}
  for name, parts in (("line", lines), ("paragraph", paragraphs)):
    number, characters = _duplicates(parts)
    found[f"duplicate_{name}_fraction"] = _share(number, len(parts))
    found[f"duplicate_{name}_character_fraction"] = _share(characters, len(text))
  top, duplicate = _ngram_characters(words)
  found |= {f"top_{n}gram_character_fraction": _share(top[n], len(text)) for n in _TOP}
  return found | {
    f"duplicate_{n}gram_character_fraction": _share(duplicate[n], len(text)) for n in _DUPLICATE
  }


def _duplicates(parts: Sequence[str]) -> tuple[int, int]:
  """(how many stood before, the characters in them)."""
  distinct = set(parts)
  return len(parts) - len(distinct), sum(map(len, parts)) - sum(map(len, distinct))


def _ngram_characters(words: list[str]) -> tuple[dict[int, int], dict[int, int]]:
  """Characters in the most frequent n-gram, and in n-grams that stood before, by n."""
  numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
  words_W = np.array([numbers[word] for word in words], np.int64)
  lengths_W = np.array([len(word) for word in words], np.int64)
  top, duplicate = dict.fromkeys(_TOP, 0), dict.fromkeys(_DUPLICATE, 0)
  grams_W = words_W
  for n in range(2, min(_DUPLICATE[-1], len(words)) + 1):
    pairs_W = grams_W[:-1] * len(numbers) + words_W[n - 1 :]
    _, first_G, grams_W, counts_G = np.unique(
      pairs_W, return_index=True, return_inverse=True, return_counts=True
    )
    if n in top:
      start = first_G[counts_G == counts_G.max()].min()
      top[n] = int((lengths_W[start : start + n].sum() + n - 1) * counts_G.max())
    if n in duplicate:
      duplicate[n] = int(lengths_W[_repeated(first_G, len(words), n)].sum())
  return top, duplicate


def _repeated(first_G: np.ndarray, words: int, n: int) -> np.ndarray:
  """bool [W]: words that belong to an n-gram that stood before. first_G: where each began first."""
  stood_before_W = np.ones(words - n + 1, np.int64)
  stood_before_W[first_G] = 0
  return np.convolve(stood_before_W, np.ones(n, np.int64)) > 0


def _has_letter(word: str) -> bool:
  return _LETTER.search(word) is not None


def _share(part: float, whole: float) -> float:
  return part / whole if whole else 0.0
