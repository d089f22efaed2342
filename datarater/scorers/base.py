"""What a scorer is, and how curation calls one.

A scorer may have more methods than the protocol asks for; they are used where they are there:

    fit(pool, target)                    iterables of texts; called by whoever owns the pool, not by
    `score` score_with_tokens(texts)             (ratings, tokens): how many tokens each text has
    score_documents(ids, texts)          for scorers that depend on the id
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Scorer(Protocol):
  """name: what it is called in run folders. fingerprint: changes whenever its ratings would.

  score(texts) -> float32[N], larger is better. The rating of a text may depend on the texts beside
  it only in the last bits (padding); NaN means that the text cannot be rated.
  """

  name: str
  fingerprint: str

  def score(self, texts: Sequence[str]) -> np.ndarray: ...


def describe(scorer: Any) -> dict[str, str]:
  """`name` and `fingerprint`; a bare object with `score` is known by its class."""
  return {
    "name": str(getattr(scorer, "name", type(scorer).__name__)),
    "fingerprint": str(getattr(scorer, "fingerprint", "")),
  }


def rate(
  scorer: Any, ids: Sequence[str], texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None]:
  """(ratings float32[N], tokens int32[N] or None) by the richest method that the scorer has.

  Raises ValueError where the scorer returns another number of ratings: a fault of the scorer's.
  """
  tokens = None
  if hasattr(scorer, "score_documents"):
    ratings = scorer.score_documents(ids, texts)
  elif hasattr(scorer, "score_with_tokens"):
    ratings, tokens = scorer.score_with_tokens(texts)
    tokens = np.asarray(tokens, np.int32)
  else:
    ratings = scorer.score(texts)
  ratings = np.asarray(ratings, np.float32)
  for name, values in (("ratings", ratings), ("tokens", tokens)):
    if values is not None and values.shape != (len(texts),):
      raise ValueError(
        f"scorer {describe(scorer)['name']!r} returned {name} of shape {values.shape} for "
        f"{len(texts)} texts; it must return one a text"
      )
  return ratings, tokens
