"""What a scorer is, and how curation calls one.

A scorer may have more methods than the protocol asks for; they are used where they are there:

    fit(pool, target)           iterables of texts; called by whoever owns the pool, not by `score`
    score_with_tokens(texts)    (ratings, tokens): how many tokens each text has
    score_documents(ids, texts) for scorers that depend on the id
    score_domains(texts, domains)
                                (ratings, tokens), for scorers that go by the documents' domains,
                                None where one has none; NaN for a domain that they do not know
    require_texts()             raises InputError for scorers that cannot rate texts by themselves
    excluded                    digests (`data.fingerprints`) of texts that are not to be rated
    prepare(texts)              work that needs no accelerator, done ahead in another thread;
    rate_prepared(prepared)     (ratings, tokens) of what it returned
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from datarater.data.fingerprints import digests

Rated = tuple[np.ndarray, np.ndarray | None]
"""(ratings float32[N], tokens int32[N] or None where the scorer counts none)."""


class Scorer(Protocol):
  """name: what it is called in run folders. fingerprint: changes whenever its ratings would.

  score(texts) -> float32[N], larger is better. The rating of a text may depend on the texts beside
  it only in the last bits (padding); NaN means that the text cannot be rated. It must pickle, to be
  sent to other processes.
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


def require_texts(scorer: Any) -> None:
  """Raises InputError unless the scorer can rate texts by themselves."""
  getattr(scorer, "require_texts", lambda: None)()


def prepare(
  scorer: Any, ids: Sequence[str], texts: Sequence[str], domains: Sequence[str | None] | None = None
) -> Callable[[], Rated]:
  """Does what can be done ahead; the returned function rates, by the richest method there is.

  domains: of the texts; None where none has one.
  It raises ValueError where the scorer returns another number of ratings: a fault of the scorer's.
  """
  if hasattr(scorer, "score_domains"):
    domains = [None] * len(texts) if domains is None else domains
    return lambda: _checked(scorer, len(texts), *scorer.score_domains(texts, domains))
  prepared = scorer.prepare(texts) if hasattr(scorer, "prepare") else None
  return functools.partial(_rate, scorer, ids, texts, prepared)


def rate(
  scorer: Any, ids: Sequence[str], texts: Sequence[str], domains: Sequence[str | None] | None = None
) -> Rated:
  """Both at once."""
  return prepare(scorer, ids, texts, domains)()


def _rate(scorer: Any, ids: Sequence[str], texts: Sequence[str], prepared: Any) -> Rated:
  tokens = None
  if prepared is not None:
    ratings, tokens = scorer.rate_prepared(prepared)
  elif hasattr(scorer, "score_documents"):
    ratings = scorer.score_documents(ids, texts)
  elif hasattr(scorer, "score_with_tokens"):
    ratings, tokens = scorer.score_with_tokens(texts)
  else:
    ratings = scorer.score(texts)
  ratings, tokens = _checked(scorer, len(texts), ratings, tokens)
  if excluded := getattr(scorer, "excluded", None):
    left_out = [digest in excluded for digest in digests(texts)]
    ratings = np.where(left_out, np.float32(np.nan), ratings)
  return ratings, tokens


def _checked(scorer: Any, number: int, ratings: Any, tokens: Any) -> Rated:
  ratings = np.asarray(ratings, np.float32)
  tokens = None if tokens is None else np.asarray(tokens, np.int32)
  for name, values in (("ratings", ratings), ("tokens", tokens)):
    if values is not None and values.shape != (number,):
      raise ValueError(
        f"scorer {describe(scorer)['name']!r} returned {name} of shape {values.shape} for "
        f"{number} texts; it must return one a text"
      )
  return ratings, tokens
