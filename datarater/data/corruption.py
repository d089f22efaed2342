"""Noise for the toy of Figure 3: a fraction of a document's tokens replaced by random ids."""

import numpy as np

from datarater.errors import require


def corrupt(
  tokens: np.ndarray, fraction: float, vocab_size: int, separator: int, seed: int, index: int
) -> np.ndarray:
  """A copy with round(fraction * tokens) places replaced by ids drawn uniformly.

  The separator is never drawn, but the id that stood there before may be. The same seed and
  document index give the same noise, in every epoch and every process.
  Raises InputError outside 0 <= fraction <= 1.
  """
  require(0.0 <= fraction <= 1.0, f"noise level is {fraction}; give a fraction from 0 to 1")
  tokens = np.array(tokens, np.int32)
  number = round(fraction * len(tokens))
  if number == 0:
    return tokens
  random = np.random.default_rng([seed, index])
  places = random.choice(len(tokens), number, replace=False)
  drawn = random.integers(0, vocab_size - 1, number, dtype=np.int32)
  tokens[places] = drawn + (drawn >= separator)  # one id less was drawn from: step over it
  return tokens
