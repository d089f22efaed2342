"""The rater: a bidirectional transformer, mean pooling over each datapoint, a linear head.

Where each token is a datapoint nothing is pooled, and a document's rating is the mean of those of
its predicted tokens.

The paper states neither pooling nor head. The head starts at zero, so that every datapoint starts
with the same rating and meta-training with plain training.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models.language_model import dummy_batch
from datarater.models.transformer import Transformer
from datarater.types import (
  Batch,
  Datapoint,
  PyTree,
  RateFn,
  datapoint_ids,
  datapoints_per_row,
  predicted_tokens,
  sum_by_datapoint,
)


class RaterNetwork(nn.Module):
  """Ratings BxD in float32, larger is better; 0 where there is no datapoint.

  features: K, what an online rater sees of the language model; with any, the head gives 1 + K
  coefficients in place of the rating (`models.informed`).
  """

  config: ModelConfig
  vocab_size: int
  datapoint: Datapoint
  features: int = 0

  @nn.compact
  def __call__(self, batch: Batch) -> jax.Array:
    transformer = Transformer(self.config, self.vocab_size, causal=False, name="transformer")
    features_BxLxW = transformer(batch)
    zeros, highest = nn.initializers.zeros, jax.lax.Precision.HIGHEST
    head = nn.Dense(
      1 + self.features, use_bias=False, kernel_init=zeros, precision=highest, name="head"
    )
    if self.datapoint == "token":
      wide = features_BxLxW.astype(jnp.promote_types(features_BxLxW.dtype, jnp.float32))
      return jnp.where(batch.loss_mask_BxL, head(wide)[..., 0], 0.0)
    ids_D = 1 + jnp.arange(datapoints_per_row(batch, self.datapoint))
    belongs = datapoint_ids(batch, self.datapoint)[:, None, :] == ids_D[None, :, None]
    belongs_BxDxL = belongs.astype(features_BxLxW.dtype)
    sums_BxDxW = jnp.einsum(
      "bdl,blw->bdw",
      belongs_BxDxL,
      features_BxLxW,
      precision=jax.lax.Precision.HIGHEST,
      preferred_element_type=jnp.promote_types(features_BxLxW.dtype, jnp.float32),
    )
    tokens_BxDx1 = jnp.maximum(jnp.sum(belongs, axis=-1), 1)[..., None]
    coefficients_BxDxC = head(sums_BxDxW / tokens_BxDx1.astype(sums_BxDxW.dtype))
    return coefficients_BxDxC if self.features else coefficients_BxDxC[..., 0]


def init_rater(
  config: ModelConfig, vocab_size: int, key: jax.Array, length: int, features: int = 0
) -> PyTree:
  """Fresh float32 parameters; `length` only shapes the dummy batch."""
  init = jax.jit(RaterNetwork(config, vocab_size, "sequence", features).init)
  return init(key, dummy_batch(1, length, 1))["params"]


def rate_fn(
  config: ModelConfig, vocab_size: int, datapoint: Datapoint, features: int = 0
) -> RateFn:
  """(eta, batch) -> ratings_BxD; with `features`, the coefficients BxDxC."""
  network = RaterNetwork(config, vocab_size, datapoint, features)

  def rate(eta: PyTree, batch: Batch) -> jax.Array:
    return network.apply({"params": eta}, batch)  # type: ignore[return-value]

  return rate


def document_rate_fn(config: ModelConfig, vocab_size: int, datapoint: Datapoint) -> RateFn:
  """(eta, batch) -> ratings_BxS of the segments, by a rater that was trained on `datapoint`.

  Whole rows and documents are pooled alike. Of a rater of tokens: their mean over those that are
  predicted, which is what it learned to rate.
  """
  if datapoint != "token":
    return rate_fn(config, vocab_size, "document")
  rate_tokens = rate_fn(config, vocab_size, "token")

  def rate(eta: PyTree, batch: Batch) -> jax.Array:
    sums_BxS = sum_by_datapoint(rate_tokens(eta, batch), batch, "document")
    return sums_BxS / jnp.maximum(predicted_tokens(batch, "document"), 1.0)

  return rate
