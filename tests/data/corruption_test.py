"""Noise hits the stated share of tokens, the same ones every time, and never makes a separator."""

import numpy as np
import pytest

from datarater.data.corruption import corrupt
from datarater.errors import InputError

TOKENS = np.full(1000, 7, np.int32)


def noisy(fraction=0.5, separator=256, seed=0, index=0) -> np.ndarray:
  return corrupt(TOKENS, fraction, 257, separator, seed, index)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_share_of_tokens(fraction):
  tokens = noisy(fraction)
  # A drawn id may be the old one, about one in 256 times.
  assert (tokens != TOKENS).sum() == pytest.approx(1000 * fraction, rel=0.02)
  assert tokens.dtype == np.int32
  assert (TOKENS == 7).all(), "the input is left alone"


@pytest.mark.parametrize("separator", [256, 0, 100])
def test_ids_are_uniform_without_the_separator(separator):
  drawn = np.concatenate([noisy(1.0, separator, index=i) for i in range(50)])
  counts = np.bincount(drawn, minlength=257)
  assert counts[separator] == 0
  others = np.delete(counts, separator)
  assert others.min() > 120  # 195 expected, 14 the standard deviation
  assert others.max() < 280


def test_noise_depends_on_seed_and_document_alone():
  assert (noisy() == noisy()).all()
  assert (noisy() != noisy(seed=1)).any()
  assert (noisy() != noisy(index=1)).any()


def test_edges():
  assert corrupt(TOKENS[:0], 1.0, 257, 256, 0, 0).shape == (0,)
  with pytest.raises(InputError, match=r"noise level is 1\.5"):
    noisy(1.5)
