"""Exact parameter counts, and FLOPs of the matrix products.

A multiply-add is 2 FLOPs. Only matrix products count, attention as the full LxL square that the
plain implementation computes; norms, softmax and the optimiser are left out, as is usual. A
backward pass is two forward passes.
"""

import dataclasses
from typing import Literal

from datarater.config import ModelConfig

Estimator = Literal["mixed", "reverse", "first_order", "evolution"]
Residuals = Literal["recompute", "keep"]

BACKWARD = 2
"""Forward passes that a backward pass costs."""


def _blocks_parameters(c: ModelConfig) -> int:
  return c.layers * (4 * c.width**2 + 2 * c.width * c.mlp_width + 2 * c.width)


def language_model_parameters(config: ModelConfig, vocab_size: int) -> int:
  """Blocks, tied embedding and final norm."""
  return _blocks_parameters(config) + vocab_size * config.width + config.width


def rater_parameters(config: ModelConfig, vocab_size: int) -> int:
  """A language model's, and the head."""
  return language_model_parameters(config, vocab_size) + config.width


def _blocks_flops(c: ModelConfig, length: int) -> int:
  dense = 2 * length * (4 * c.width**2 + 2 * c.width * c.mlp_width)
  return c.layers * (dense + 4 * length**2 * c.width)


def language_model_flops(config: ModelConfig, vocab_size: int, length: int) -> int:
  """FLOPs of one forward pass over one row, loss included."""
  return _blocks_flops(config, length) + 2 * (length - 1) * config.width * vocab_size


def training_flops(config: ModelConfig, vocab_size: int, length: int) -> int:
  """FLOPs of one row in one training step: a forward and a backward pass."""
  return (1 + BACKWARD) * language_model_flops(config, vocab_size, length)


def rating_flops(config: ModelConfig, length: int, datapoints: int | None = 1) -> int:
  """FLOPs of rating one row (no product with the vocabulary).

  datapoints: how many are pooled from the row; None: each token is one, and nothing is pooled.
  """
  pooling = 0 if datapoints is None else 2 * datapoints * length * config.width
  head = 2 * (length if datapoints is None else datapoints) * config.width
  return _blocks_flops(config, length) + pooling + head


def recomputed_flops(config: ModelConfig, length: int) -> int:
  """FLOPs that `remat` adds to a backward pass over one row: the blocks again, 0 without it.

  The last product of each block is needed by nothing in its backward pass, and left out.
  """
  return _blocks_flops(config, length) - _last_products(config, length) if config.remat else 0


def meta_step_flops(
  inner: ModelConfig,
  rater: ModelConfig | None,
  vocab_size: int,
  length: int,
  *,
  unroll_length: int,
  inner_rows: int,
  outer_rows: int,
  datapoints: int | None = 1,
  estimator: Estimator = "mixed",
  residuals: Residuals = "recompute",
  evolution_pairs: int = 0,
  recomputation: bool = False,
) -> int:
  """FLOPs of one member's meta-step (mixed: Kemaev et al. 2025; the others: docs/estimators.md).

  In forward passes F of the inner batch: T updates at 3F, the outer gradient 3F of its own batch,
  and the rater 3 of its own forward passes over T batches. Then the way back through the updates:

      mixed        3F through the first, a jvp of the losses; 9F through each further one, a jvp of
                   a gradient, primal included. With residuals kept 2F and 6F.
      reverse      the same, less the weights' gradients, which are kept.
      first_order  3F through each.
      evolution    none; but updates and outer loss 2 · pairs + 1 times.

  rater: None where ratings take no matrix products, as those of a mixture.
  recomputation: count what `remat` computes again too, as hardware does. By default it is left out,
  as model FLOP utilisation does.
  """
  if not recomputation:
    inner = dataclasses.replace(inner, remat=False)
    rater = dataclasses.replace(rater, remat=False) if rater else None
  forward = language_model_flops(inner, vocab_size, length)
  update = 3 * forward + recomputed_flops(inner, length)
  rating = 0
  if rater is not None:
    rating = 3 * rating_flops(rater, length, datapoints) + recomputed_flops(rater, length)
    rating *= unroll_length * inner_rows
  if estimator == "evolution":
    evaluation = unroll_length * inner_rows * update + outer_rows * forward
    return (2 * evolution_pairs + 1) * evaluation + rating
  first, further = _way_back(inner, vocab_size, length, estimator, residuals)
  steps = unroll_length * update + first + (unroll_length - 1) * further
  return inner_rows * steps + outer_rows * update + rating


def _way_back(
  c: ModelConfig, vocab_size: int, length: int, estimator: Estimator, residuals: Residuals
) -> tuple[int, int]:
  """FLOPs a row of going back through the first update of a window and through a further one."""
  forward, again = language_model_flops(c, vocab_size, length), recomputed_flops(c, length)
  attention = 4 * length**2 * c.width * c.layers
  if estimator == "first_order":
    return 3 * forward, 3 * forward
  if estimator == "mixed" and residuals == "recompute":
    return 3 * forward, 9 * forward + 3 * again
  # The linear map of a gradient, without the gradient; under remat with what its blocks need again.
  linear = 6 * forward
  if c.remat:
    linear += 4 * again + attention + _last_products(c, length)
  if estimator == "mixed":
    return 2 * forward + again, linear
  weights = forward - attention
  return 3 * forward + again, 3 * forward + again - weights + linear


def _last_products(c: ModelConfig, length: int) -> int:
  return 2 * length * c.mlp_width * c.width * c.layers
