"""Settings of scorers other than the rater: one class each."""

import dataclasses
from typing import Literal

Keep = Literal["low", "middle", "high"]


@dataclasses.dataclass(frozen=True)
class PerplexityConfig:
  """Perplexity under a language model trained elsewhere.

  Args:
    keep: Which perplexities are good; `middle` looks at the pool's distribution.
  """

  keep: Keep = "low"
