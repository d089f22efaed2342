"""Exact parameter counts, and FLOPs of the matrix products.

A multiply-add is 2 FLOPs. Only matrix products count, attention as the full LxL square that the
plain implementation computes; norms, softmax and the optimiser are left out, as is usual. A
backward pass is two forward passes.
"""

from datarater.config import ModelConfig

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


def rating_flops(config: ModelConfig, length: int, datapoints: int = 1) -> int:
  """FLOPs of rating one row of `datapoints` datapoints (no product with the vocabulary)."""
  pooling = 2 * datapoints * length * config.width + 2 * datapoints * config.width
  return _blocks_flops(config, length) + pooling


def meta_step_flops(
  inner: ModelConfig,
  rater: ModelConfig,
  vocab_size: int,
  length: int,
  *,
  unroll_length: int,
  inner_rows: int,
  outer_rows: int,
  datapoints: int = 1,
) -> int:
  """FLOPs of one member's meta-step with the mixed estimator (Kemaev et al. 2025), without remat.

  In forward passes F of the inner batch: T updates at 3F; the outer gradient 3F of its own batch;
  T-1 Hessian products at 9F (a jvp of a gradient, primal included); the first step, whose Hessian
  product is not needed, a jvp of the losses at 3F; the rater 3 of its own forward passes over T
  batches.
  """
  forward = language_model_flops(inner, vocab_size, length)
  updates = 3 * unroll_length * inner_rows * forward
  backward = (9 * (unroll_length - 1) + 3) * inner_rows * forward
  outer = 3 * outer_rows * forward
  rating = 3 * unroll_length * inner_rows * rating_flops(rater, length, datapoints)
  return updates + backward + outer + rating
