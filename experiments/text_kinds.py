"""Kinds of bad text that the paper names among its lowest-rated samples, by plain heuristics.

Each kind is a share of the text and a threshold. They are transparent, not exact: program text has
lone letters as bad scans have. So a kind's share among the worst is to be read against its share
of all text. `markup` is our own: the small Pile has much of it.
"""

import re
from collections.abc import Callable, Mapping

from datarater.data.signals import signals

BROKEN = re.compile(
  r"\N{REPLACEMENT CHARACTER}|[\x00-\x08\x0e-\x1b\x7f-\x9f]|[ÃÂ][\x80-\xbf]|â€|ï¿½"
)
"""Replacement and control characters, and UTF-8 that was read as Latin-1 or Windows-1252."""

NOISY_WORD = re.compile(r"(?i)(?<![^\s])(?:[b-hj-np-z]|[a-z]+\d+[a-z]+|\d+[a-z]{2,}\d*)(?!\S)")
"""A lone letter that is no word, or letters and digits mixed: `t h e`, `tbe 1ight`, `c0me`."""

RUN = re.compile(r"[A-Za-z0-9+=]{20,}")
"""Unbroken; a key where it has both letters and digits: a hash, base64, an identifier."""

TAG = re.compile(r"<[^<>]{1,300}>")

_LEAST_LETTERS = 0.2
"""Of the characters: below it, capitals say nothing."""


Signals = Mapping[str, float]


def _broken(text: str, _: Signals) -> float:
  return len(BROKEN.findall(text)) / len(text)


def _noisy_words(text: str, found: Signals) -> float:
  return len(NOISY_WORD.findall(text)) / max(1.0, found["words"])


def _white_space(text: str, _: Signals) -> float:
  return 1 - sum(map(len, text.split())) / len(text)


def _digits(_: str, found: Signals) -> float:
  return found["numeric_fraction"]


def _in_keys(text: str, _: Signals) -> float:
  keys = [run for run in RUN.findall(text) if not run.isdigit() and re.search(r"\d", run)]
  return sum(map(len, keys)) / len(text)


def _capitals(_: str, found: Signals) -> float:
  letters = 1 - found["non_alphanumeric_fraction"] - found["numeric_fraction"]
  return found["uppercase_fraction"] / letters if letters > _LEAST_LETTERS else 0.0


def _in_tags(text: str, _: Signals) -> float:
  return sum(map(len, TAG.findall(text))) / len(text)


KINDS: dict[str, tuple[str, Callable[[str, Signals], float], float]] = {
  "bad encoding": ("broken characters / characters", _broken, 0.002),
  "OCR noise": ("lone letters and words with digits / words", _noisy_words, 0.15),
  "white space": ("white space / characters", _white_space, 0.35),
  "number table": ("digits / characters", _digits, 0.25),
  "keys": ("characters in runs of letters and digits / characters", _in_keys, 0.1),
  "all capitals": ("capitals / letters", _capitals, 0.6),
  "markup": ("characters in tags / characters", _in_tags, 0.15),
}
"""name → (what is measured, how, the least of it that makes a text of this kind)."""


def kinds_of(text: str) -> tuple[str, ...]:
  """The kinds that a text is of; none for an empty one."""
  found = signals(text)
  return tuple(name for name, (_, of, least) in KINDS.items() if text and of(text, found) >= least)
