"""Bits per byte against the sum written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from datarater.training.held_out import HeldOut, held_out_loss, make_evaluate
from datarater.types import Batch


def batch(seed: int) -> Batch:
  """Two rows of six tokens: two segments, and one segment with padding."""
  rng = np.random.default_rng(seed)
  segments = np.array([[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 0, 0]], np.int32)
  positions = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 0]], np.int32)
  domain = np.array([[0, 1], [1, -1]], np.int32)
  size = np.array([[4, 5], [6, 0]], np.int32)
  tokens = rng.integers(1, 9, (2, 6)).astype(np.int32)
  return Batch(tokens, segments, positions, domain, domain, size)


def nll(theta, batch):
  """The token's own number, times theta, where it is predicted."""
  return theta * jnp.where(batch.loss_mask_BxL, batch.tokens_BxL, 0).astype(jnp.float32)


def test_bits_per_byte_by_domain_and_in_all():
  batches = [batch(0), batch(1)]
  loss = held_out_loss(make_evaluate(nll), jnp.float32(0.5), HeldOut(batches, ("a", "b", "none")))
  a = sum(0.5 * b.tokens_BxL[0, 1:3].sum() for b in batches)
  b = sum(0.5 * (b.tokens_BxL[0, 4:].sum() + b.tokens_BxL[1, 1:4].sum()) for b in batches)
  assert loss.by_domain == pytest.approx({"a": a / np.log(2) / 8, "b": b / np.log(2) / 22})
  assert loss.bits_per_byte == pytest.approx((a + b) / np.log(2) / 30)
  # Of a, two tokens a batch are predicted; of b, two and three. `none` has no text.
  assert loss.nats_per_token_by_domain == pytest.approx({"a": a / 4, "b": b / 10})
  assert loss.nats_per_token == pytest.approx((a + b) / 14)
