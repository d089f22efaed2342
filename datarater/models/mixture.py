"""The rater without a network: one logit a domain, so that it learns how to mix them.

A document's rating is the logit of its domain. Its weight in a batch, softmax(logit + log tokens),
makes a domain's share that in the pool times exp(logit), up to a constant.
"""

import jax
import jax.numpy as jnp

from datarater.types import Batch, PyTree


def init_mixture(domains: int) -> PyTree:
  """All logits zero: the mixture of the pool."""
  return {"logits": jnp.zeros((domains,), jnp.float32)}


def rate_domains(eta: PyTree, batch: Batch) -> jax.Array:
  """(eta, batch) -> ratings_BxS, the logits of the segments' domains; 0 where there is none."""
  there = batch.domain_BxS >= 0
  return jnp.where(there, eta["logits"][jnp.where(there, batch.domain_BxS, 0)], 0.0)
