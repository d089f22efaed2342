"""Exact parameter counts, and FLOPs of the matrix products.

A multiply-add is 2 FLOPs. Only matrix products count, attention as the full LxL square that the
plain implementation computes; norms, softmax and the optimiser are left out, as is usual. A
backward pass is two forward passes.
"""

import dataclasses
import math
from typing import Literal

from datarater.config import ModelConfig
from datarater.variant_config import LoraConfig

Estimator = Literal["mixed", "reverse", "first_order", "evolution"]
Residuals = Literal["recompute", "keep"]

NO_LORA = LoraConfig()

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
  return c.layers * dense + _attention(c, length)


def language_model_flops(config: ModelConfig, vocab_size: int, length: int) -> int:
  """FLOPs of one forward pass over one row, loss included."""
  return _blocks_flops(config, length) + 2 * (length - 1) * config.width * vocab_size


def training_flops(config: ModelConfig, vocab_size: int, length: int) -> int:
  """FLOPs of one row in one training step: a forward and a backward pass."""
  return (1 + BACKWARD) * language_model_flops(config, vocab_size, length)


def projection_shape(config: ModelConfig, projection: str) -> tuple[int, int]:
  """(in, out) of a matrix of a block."""
  width, mlp_width = config.width, config.mlp_width
  return {"mlp_in": (width, mlp_width), "mlp_out": (mlp_width, width)}.get(
    projection, (width, width)
  )


def adapter_parameters(config: ModelConfig, lora: LoraConfig) -> int:
  """What inner models of adapters train."""
  shapes = (projection_shape(config, name) for name in lora.projections)
  return config.layers * lora.rank * sum(map(sum, shapes))


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


@dataclasses.dataclass(frozen=True)
class Products:
  """FLOPs of the products of one forward pass, by what they are of.

  parameters: with parameters. trained: those of them that are trained. both: of two things that
  both depend on what is trained, as in attention.
  """

  parameters: int
  trained: int
  both: int

  @property
  def forward(self) -> int:
    return self.parameters + self.both

  @property
  def linear(self) -> int:
    """The linear map of the losses, or its transpose: the tangents of a jvp, a backward pass."""
    return self.parameters + self.trained + BACKWARD * self.both

  @property
  def linear_of_gradient(self) -> int:
    """The linear map of a gradient: the tangents of both passes."""
    return 2 * self.parameters + 4 * self.trained + 6 * self.both


def _products(c: ModelConfig, vocab_size: int, length: int, lora: LoraConfig) -> Products:
  """Of one row of a language model."""
  attention = _attention(c, length)
  parameters = language_model_flops(c, vocab_size, length) - attention
  trained = 2 * length * adapted_parameters(c, lora) if lora.rank else parameters
  return Products(parameters, trained, attention)


def adapted_parameters(c: ModelConfig, lora: LoraConfig) -> int:
  """Of the matrices that have adapters."""
  return c.layers * sum(math.prod(projection_shape(c, name)) for name in lora.projections)


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
  lora: LoraConfig = NO_LORA,
  features: int = 0,
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
  lora: of a frozen model's products no gradient is taken; that the first block's input depends on
  no adapter is not counted off.
  features: what an online rater sees takes a forward pass each, of the inner model and of the
  reference, in every update; and 3F on the way back through each but the first, kept 2F.
  """
  if not recomputation:
    inner = dataclasses.replace(inner, remat=False)
    rater = dataclasses.replace(rater, remat=False) if rater else None
  total = 0
  if rater is not None:
    rating = 3 * rating_flops(rater, length, datapoints) + recomputed_flops(rater, length)
    total += unroll_length * inner_rows * rating
  way = (unroll_length, estimator, residuals, evolution_pairs)
  row = _products(inner, vocab_size, length, lora)
  total += _updates(inner, length, row, inner_rows, outer_rows, features, *way)
  if lora.rank:  # adapters are put into their base once a batch, with no remat
    adapters = Products(0, 0, 2 * lora.rank * adapted_parameters(inner, lora))
    whole = dataclasses.replace(inner, remat=False)
    total += _updates(whole, length, adapters, 1, 1, min(1, features), *way)
  return total


def _updates(
  c: ModelConfig,
  length: int,
  products: Products,
  inner_times: int,
  outer_times: int,
  features: int,
  unroll_length: int,
  estimator: Estimator,
  residuals: Residuals,
  pairs: int,
) -> int:
  """FLOPs of what is done with `products`, there and back; so many times an inner batch, an outer
  batch.
  """
  again = recomputed_flops(c, length)
  update = products.forward + products.linear + again
  steps = unroll_length * (update + features * products.forward)
  if estimator == "evolution":
    return (2 * pairs + 1) * (inner_times * steps + outer_times * products.forward)
  first, further = _way_back(c, length, products, estimator, residuals)
  if features:
    further += products.linear + again
    if residuals == "recompute":
      further += products.forward
  steps += first + (unroll_length - 1) * further
  return inner_times * steps + outer_times * update


def _way_back(
  c: ModelConfig, length: int, products: Products, estimator: Estimator, residuals: Residuals
) -> tuple[int, int]:
  """FLOPs of going back through the first update of a window and through a further one."""
  again, update = recomputed_flops(c, length), products.forward + products.linear
  if estimator == "first_order":
    return update, update
  if estimator == "mixed" and residuals == "recompute":
    return update, update + products.linear_of_gradient + 3 * again
  # The linear map of a gradient, without the gradient; under remat with what its blocks need again.
  linear = products.linear_of_gradient
  if c.remat:
    linear += 4 * again + _attention(c, length) + _last_products(c, length)
  if estimator == "mixed":
    return products.linear + again, linear
  return update + again, update + again - products.trained + linear


def _attention(c: ModelConfig, length: int) -> int:
  return 4 * length**2 * c.width * c.layers


def _last_products(c: ModelConfig, length: int) -> int:
  return 2 * length * c.mlp_width * c.width * c.layers
