"""Scorers for tests, in a module that other processes can import."""

import time

import numpy as np


class Length:
  """Rates by length, counts words as tokens; a text with `nan` in it cannot be rated."""

  name, fingerprint = "length", "1"

  def score_with_tokens(self, texts):
    ratings = [np.nan if "nan" in text else len(text) for text in texts]
    return np.array(ratings, np.float32), np.array([len(text.split()) for text in texts])


class Slow(Length):
  """As `Length`, with time to be killed in."""

  def score_with_tokens(self, texts):
    time.sleep(0.5)
    return super().score_with_tokens(texts)
