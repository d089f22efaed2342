"""Attention within segments, in plain JAX: differentiable twice in forward and reverse mode.

Fused kernels (cudnn) have no second derivative: they serve rating and evaluation only, and the
config refuses them where meta-gradients flow.
"""

from typing import Literal

import jax
import jax.numpy as jnp

ROTARY_BASE = 10_000.0
MASKED = -1e30
"""Score of a pair that may not attend: finite, so that a row of padding gives no NaN."""
ONE_KERNEL = 256
"""Longest row whose attention is written so that XLA's CPU backend makes one kernel of it, both
products included: twice as fast while a head's scores stay in cache, slower beyond (measured)."""


def attention_mask(segment_ids_BxL: jax.Array, causal: bool) -> jax.Array:
  """bool BxLxL, True where a query (axis 1) sees a key (axis 2): same segment, not the future.

  Padding (segment 0) sees padding, so that no row of the softmax is empty.
  """
  length = segment_ids_BxL.shape[1]
  same = segment_ids_BxL[:, :, None] == segment_ids_BxL[:, None, :]
  return same & jnp.tril(jnp.ones((1, length, length), bool)) if causal else same


def rotary(x_BxLxHxK: jax.Array, positions_BxL: jax.Array) -> jax.Array:
  """Turns feature pairs by an angle that grows with the position (Su et al. 2021, eq. 34)."""
  half = x_BxLxHxK.shape[-1] // 2
  frequency = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions_BxL[:, :, None, None].astype(jnp.float32) * frequency[None, None, None, :]
  cos, sin = jnp.cos(angle).astype(x_BxLxHxK.dtype), jnp.sin(angle).astype(x_BxLxHxK.dtype)
  a, b = jnp.split(x_BxLxHxK, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def attend(
  q_BxLxHxK: jax.Array,
  k_BxLxHxK: jax.Array,
  v_BxLxHxK: jax.Array,
  mask_BxLxL: jax.Array,
  implementation: Literal["xla", "cudnn"] = "xla",
) -> jax.Array:
  """softmax(q kᵀ / √K) v over the masked pairs, BxLxHxK; the softmax is float32 or wider."""
  if implementation == "cudnn":
    return jax.nn.dot_product_attention(
      q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, mask=mask_BxLxL[:, None], implementation="cudnn"
    )
  q, k, v = (x.transpose(0, 2, 1, 3) for x in (q_BxLxHxK, k_BxLxHxK, v_BxLxHxK))
  scores = jnp.einsum("bhqk,bhsk->bhqs", q * q.shape[-1] ** -0.5, k)
  scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
  mask = mask_BxLxL[:, None]
  if q.shape[2] > ONE_KERNEL:
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED), axis=-1)
    out = jnp.einsum("bhqs,bhsk->bhqk", weights.astype(v.dtype), v)
    return out.transpose(0, 2, 1, 3)
  # The same in other words: MASKED swallows any score it is added to; the shift by the largest
  # changes nothing but the range, so that no derivative flows through it; the division comes last.
  scores = scores + jnp.where(mask, 0.0, MASKED).astype(scores.dtype)
  weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
  out = jnp.einsum("bhqs,bhsk->bhqk", weights.astype(v.dtype), v)
  out = out / jnp.sum(weights, axis=-1, keepdims=True).astype(out.dtype)
  return out.transpose(0, 2, 1, 3)
