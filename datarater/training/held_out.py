"""Held-out loss of a language model: nats a token, and bits per byte in all and by domain."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from datarater.types import Batch, PyTree, sum_by_datapoint

EvaluateFn = Callable[[PyTree, Batch], tuple[jax.Array, jax.Array]]
"""(theta, batch) -> (nats, predicted tokens) of every segment, BxS."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Text that no model trains on. batches: of one shape. domains: what `domain_BxS` counts."""

  batches: Sequence[Batch]
  domains: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Loss:
  """bits_per_byte = total nats / (ln 2 · UTF-8 bytes); separators count as loss, not as bytes.

  by_domain: bits per byte. nats_per_token_by_domain: of the same domains, those with text.
  """

  nats_per_token: float
  bits_per_byte: float
  by_domain: dict[str, float]
  nats_per_token_by_domain: dict[str, float]


def make_evaluate(token_nll: Callable[[PyTree, Batch], jax.Array]) -> EvaluateFn:
  """The compiled sum of losses over each segment."""

  @jax.jit
  def evaluate(theta: PyTree, batch: Batch):
    nats = sum_by_datapoint(token_nll(theta, batch), batch, "document")
    tokens = sum_by_datapoint(batch.loss_mask_BxL.astype(nats.dtype), batch, "document")
    return nats, tokens

  return evaluate


def held_out_loss(evaluate: EvaluateFn, theta: PyTree, held_out: HeldOut) -> Loss:
  """Loss over all batches; sums are in float64."""
  count = len(held_out.domains)
  nats, tokens, size = (np.zeros(count) for _ in range(3))
  for batch in held_out.batches:
    nats_BxS, tokens_BxS = (np.asarray(x, np.float64) for x in evaluate(theta, batch))
    domain_BxS = np.asarray(batch.domain_BxS)
    there = domain_BxS >= 0
    for total, values in ((nats, nats_BxS), (tokens, tokens_BxS), (size, batch.bytes_BxS)):
      total += np.bincount(domain_BxS[there], np.asarray(values)[there], count)
  there = [(i, name) for i, name in enumerate(held_out.domains) if size[i] > 0]
  return Loss(
    nats_per_token=float(nats.sum() / tokens.sum()),
    bits_per_byte=_bits_per_byte(nats.sum(), size.sum()),
    by_domain={name: _bits_per_byte(nats[i], size[i]) for i, name in there},
    nats_per_token_by_domain={name: float(nats[i] / tokens[i]) for i, name in there},
  )


def _bits_per_byte(nats: float, size: float) -> float:
  return float(nats / (np.log(2) * size))
