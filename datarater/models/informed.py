"""What an online rater sees of the language model in training, and how it enters the rating.

    rating = a(x) + Σ_k b_k(x) f_k(θ, x)        f_1 = ℓ(x; θ) / log V
                                                f_2 = (ℓ(x; θ) - ℓ(x; θ_ref)) / log V

ℓ is the mean loss of the datapoint, log V that of a uniform guess. The network gives a and b, which
do not depend on θ, so that it runs before the unroll; f_2 is there with a reference model: the
reducible loss of RHO-LOSS (Mindermann et al. 2022, arXiv 2206.07137, eq. 3).
The features are differentiated with respect to θ like all else: the meta-gradient stays exact for
its window.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from datarater.types import Batch, LossesFn, PyTree

FeaturesFn = Callable[[PyTree, Batch], jax.Array]
"""(theta, batch) -> features_BxDxK."""


def features_fn(
  losses: LossesFn, vocab_size: int, reference_losses: Callable[[Batch], jax.Array] | None = None
) -> FeaturesFn:
  """The features; `reference_losses`: batch -> losses_BxD of the reference model."""

  def features(theta: PyTree, batch: Batch) -> jax.Array:
    losses_BxD = losses(theta, batch)
    columns = [losses_BxD]
    if reference_losses is not None:
      columns.append(losses_BxD - jax.lax.stop_gradient(reference_losses(batch)))
    return jnp.stack(columns, axis=-1) / math.log(vocab_size)

  return features


def informed_ratings(coefficients_BxDxC: jax.Array, features_BxDxK: jax.Array) -> jax.Array:
  """ratings_BxD; the coefficients are a, then b: C = 1 + K."""
  intercepts_BxD, slopes_BxDxK = coefficients_BxDxC[..., 0], coefficients_BxDxC[..., 1:]
  return intercepts_BxD + jnp.sum(slopes_BxDxK * features_BxDxK, axis=-1)
