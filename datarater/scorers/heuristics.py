"""Rules written by hand: those of C4 and Gopher, or one signal of the text.

    c4      lorem ipsum, curly brace, few sentences (`data/signals.py`): what C4 drops a page for;
            its other rules drop lines, and so count in few sentences
    gopher  eight rules of quality and thirteen of repetition (`data/gopher.py`)
    all     both, 24 rules
    NAME    a signal of `data/signals.py`; -NAME: its negative

The rating is the share of the rules that a document passes, so that a threshold of 1 keeps what
passes them all, as the published filters do; a lower one forgives some.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from datarater.data.gopher import gopher_rules
from datarater.data.signals import SIGNALS, signals
from datarater.data.tokenizers import Tokenizer
from datarater.errors import require
from datarater.scorer_config import HeuristicsConfig
from datarater.scorers.fitted import FittedScorer, Fitting
from datarater.scorers.target import Target

C4_RULES = ("c4_lorem_ipsum", "c4_curly_brace", "c4_few_sentences")
"""Signals that are 1 where C4 drops the page."""


class HeuristicsScorer(FittedScorer):
  """config: HeuristicsConfig. arrays: none. Raises InputError for a rule that there is not."""

  name = "heuristics"
  config: HeuristicsConfig

  def __init__(
    self,
    config: HeuristicsConfig,
    arrays: Mapping[str, np.ndarray] | None = None,
    tokenizer: Tokenizer | None = None,
    facts: Mapping[str, Any] | None = None,
  ):
    super().__init__(config, arrays or {}, tokenizer, facts)
    require(
      config.rule in _RULES or config.rule.removeprefix("-") in SIGNALS,
      f"HeuristicsConfig.rule is {config.rule!r}; give {', '.join(_RULES)}, or one of "
      f"{', '.join(SIGNALS)}, with - in front where smaller is better",
    )

  @classmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: HeuristicsConfig,
    fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  ) -> Self:
    """Looks at neither pool nor targets: there is nothing to learn."""
    del pool, targets, fitting
    return cls(config)

  @classmethod
  def check(cls, targets: Sequence[Target], config: HeuristicsConfig, fitting: Fitting) -> None:
    """Needs nothing."""

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N]: shares of rules in [0, 1], or a signal; every text can be rated."""
    return np.array([self._rating(text) for text in texts], np.float32)

  def _rating(self, text: str) -> float:
    rule = self.config.rule
    if rule in _RULES:
      passed = _RULES[rule](text).values()
      return sum(passed) / len(passed)
    value = signals(text)[rule.removeprefix("-")]
    return -value if rule.startswith("-") else value


def c4_rules(text: str) -> dict[str, bool]:
  """Which of the rules for pages the document passes, by name."""
  found = signals(text)
  return {name: not found[name] for name in C4_RULES}


def _all_rules(text: str) -> dict[str, bool]:
  return c4_rules(text) | gopher_rules(text)


_RULES: dict[str, Callable[[str], dict[str, bool]]] = {
  "c4": c4_rules,
  "gopher": gopher_rules,
  "all": _all_rules,
}
