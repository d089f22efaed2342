"""From ratings to the weights of an inner batch.

    w_i = exp(φ_i + log n_i) / Σ_j exp(φ_j + log n_j)     over all datapoints j of the batch

with φ the rating. In `document` mode n is the number of predicted tokens, so that equal ratings
reproduce plain token-mean training; in `sequence` mode n = 1 (Calian et al. 2025, section 2: a
softmax over the batch without temperature), and in `token` mode, where each predicted token is a
datapoint, it is 1 by itself. The weights add to 1, and a datapoint that is not there gets 0.
"""

import jax
import jax.numpy as jnp

from datarater.types import Batch, Datapoint, predicted_tokens

ABSENT = -1e30
"""Logit of a datapoint that is not there: finite, so that its derivative is zero and not NaN."""


def batch_weights(ratings_BxD: jax.Array, batch: Batch, datapoint: Datapoint) -> jax.Array:
  """Weights BxD that add to 1 over the batch; of the ratings' dtype."""
  tokens_BxD = predicted_tokens(batch, datapoint)
  present = tokens_BxD > 0
  logits = jnp.where(present, ratings_BxD, ABSENT)
  if datapoint == "document":
    logits = logits + jnp.log(jnp.maximum(tokens_BxD, 1.0)).astype(logits.dtype)
  return jax.nn.softmax(logits.reshape(-1)).reshape(logits.shape) * present.astype(logits.dtype)


def weight_entropy(weights: jax.Array) -> jax.Array:
  """-Σ w log w in nats; log of the number of datapoints when all weigh the same."""
  return -jnp.sum(weights * jnp.log(jnp.where(weights > 0, weights, 1.0)))


def effective_sample_size(weights: jax.Array) -> jax.Array:
  """(Σ w)² / Σ w²: how many equally weighted datapoints would vary as much."""
  return jnp.sum(weights) ** 2 / jnp.sum(weights**2)
