"""What the operation count says that a meta-step costs, and what a device could do at best.

The count is that of `datarater/models/cost.py`, products alone, without the rater.
"""

from datarater.config import ModelConfig
from datarater.models import cost


def plain_flops(model: ModelConfig, vocab_size: int, length: int) -> int:
  """FLOPs of a plain training step on one row, with what `remat` computes again."""
  again = cost.recomputed_flops(model, length)
  return cost.training_flops(model, vocab_size, length) + again


def meta_gradient_flops(
  model: ModelConfig,
  vocab_size: int,
  length: int,
  unroll_length: int,
  residuals: cost.Residuals,
  recomputation: bool,
) -> int:
  """FLOPs of the `mixed` meta-gradient of ratings over batches of one row, outer as inner.

  recomputation: count what `remat` computes again.
  """
  rater = ModelConfig(remat=False)  # any: what it costs is taken off again
  flops = cost.meta_step_flops(
    model,
    rater,
    vocab_size,
    length,
    unroll_length=unroll_length,
    inner_rows=1,
    outer_rows=1,
    residuals=residuals,
    recomputation=recomputation,
  )
  return flops - 3 * unroll_length * cost.rating_flops(rater, length)


def predicted_ratio(
  model: ModelConfig, vocab_size: int, length: int, unroll_length: int, residuals: cost.Residuals
) -> float:
  """Time of a meta-step over that of as many plain steps with the same remat, if FLOPs decide."""
  flops = meta_gradient_flops(model, vocab_size, length, unroll_length, residuals, True)
  return flops / (unroll_length * plain_flops(model, vocab_size, length))


def needed_flops(model: ModelConfig, vocab_size: int, length: int, unroll_length: int) -> int:
  """FLOPs, for one row, that a meta-gradient cannot do without: nothing is computed twice.

  Model FLOP utilisation counts these, so that recomputation lowers it.
  """
  return meta_gradient_flops(model, vocab_size, length, unroll_length, "keep", False)


PEAKS = {
  "B200": 2250e12,
  "H200": 989e12,
  "H100 PCIe": 756e12,
  "H100 NVL": 835e12,
  "H100": 989e12,
  "A100": 312e12,
  "L40S": 362e12,
  "L4": 121e12,
  "RTX 4090": 165e12,
  "RTX 3090": 71e12,
}
"""FLOP/s of dense bfloat16 products with float32 sums, by a part of the device's name (makers' data
sheets); the first that fits counts."""


def peak_flops(device_kind: str) -> float | None:
  """Peak FLOP/s of a device in bfloat16; None where its kind is unknown."""
  return next((peak for name, peak in PEAKS.items() if name in device_kind), None)


def rows_that_fit(
  small: tuple[int, float], large: tuple[int, float], budget: float, most: int
) -> int:
  """The largest power of two of rows, at most `most`, whose memory stays within the budget.

  small, large: (rows, bytes) of two compiled sizes; memory is taken to grow along their line.
  Returns 0 where not even one row fits.
  """
  slope = (large[1] - small[1]) / (large[0] - small[0])
  rows = most
  while rows >= 1 and small[1] + slope * (rows - small[0]) > budget:
    rows //= 2
  return rows
