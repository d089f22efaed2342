"""Attention within segments, in plain JAX: differentiable twice in forward and reverse mode.

Three ways to the same numbers: all scores at once (`xla`), a block at a time (`blockwise`), and a
fused kernel (`cudnn`). The kernel has no second derivative: it serves rating and evaluation only,
and the config refuses it where meta-gradients flow.
"""

import dataclasses
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.errors import require
from datarater.models.blockwise import MASKED, attend_blockwise, wide_scores

ROTARY_BASE = 10_000.0
ONE_KERNEL = 256
"""Longest row whose attention is written so that XLA's CPU backend makes one kernel of it, both
products included: twice as fast while a head's scores stay in cache, slower beyond (measured)."""
LONGEST_AT_ONCE = 256
"""Longest row whose scores `auto` computes all at once. On a CPU, 4,096 tokens a batch, blocks
rematerialised (benchmarks/long_context.py): at 256 blockwise takes a sixth more time in a step and
saves no memory; at 512 it takes a fifth less, in a Hessian product too, and two fifths of it."""
KERNEL_CAPABILITY, WIDE_CAPABILITY = (8, 0), (9, 0)
"""Compute capability that cudnn's kernel asks for, and from which on heads may be wider."""
KERNEL_FEATURES, KERNEL_WIDE_FEATURES, KERNEL_FEATURES_MULTIPLE = 128, 256, 8
"""Most features a head that it takes, and what they are a multiple of."""

Implementation = Literal["auto", "xla", "blockwise", "cudnn"]


@flax.struct.dataclass
class Visibility:
  """Which tokens attend to which: those of a segment, and, if causal, none to a later one.

  mask_BxLxL: the same written out, for the implementations that need it; None for `blockwise`.
  """

  segment_ids_BxL: jax.Array
  mask_BxLxL: jax.Array | None
  causal: bool = flax.struct.field(pytree_node=False)
  implementation: Implementation = flax.struct.field(pytree_node=False)


def visibility(
  segment_ids_BxL: jax.Array, causal: bool, implementation: Implementation = "auto"
) -> Visibility:
  """Made once for all blocks of a transformer. `auto` is settled here, by the length."""
  if implementation == "auto":
    long = segment_ids_BxL.shape[1] > LONGEST_AT_ONCE
    implementation = "blockwise" if long else "xla"
  mask_BxLxL = None
  if implementation != "blockwise":
    # The kernel is told of causality in a word, so that it skips the future.
    mask_BxLxL = attention_mask(segment_ids_BxL, causal and implementation == "xla")
  return Visibility(segment_ids_BxL, mask_BxLxL, causal, implementation)


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
  q_BxLxHxK: jax.Array, k_BxLxHxK: jax.Array, v_BxLxHxK: jax.Array, seen: Visibility
) -> jax.Array:
  """softmax(q kᵀ / √K) v over the visible pairs, BxLxHxK; the softmax is float32 or wider.

  Raises InputError for `cudnn` where the device, the dtype or the heads are not for it.
  """
  if seen.mask_BxLxL is None:
    return attend_blockwise(q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, seen.segment_ids_BxL, seen.causal)
  if seen.implementation == "cudnn":
    require(
      kernel_takes(q_BxLxHxK.shape[-1], str(q_BxLxHxK.dtype)),
      f"model.attention is 'cudnn', dtype {q_BxLxHxK.dtype}, {q_BxLxHxK.shape[-1]} features a "
      "head; the kernel wants an NVIDIA GPU of compute capability 8.0, 'bfloat16', and a multiple "
      "of 8 features up to 128; set model.attention to 'auto'",
    )
    return _attend_fused(q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, seen.mask_BxLxL, seen.causal)
  return _attend_at_once(q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, seen.mask_BxLxL)


def _attend_fused(q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, mask_BxLxL, causal: bool) -> jax.Array:
  """The mask enters as a bias of BxLxL numbers, which all heads share."""
  return jax.nn.dot_product_attention(
    q_BxLxHxK,
    k_BxLxHxK,
    v_BxLxHxK,
    mask=mask_BxLxL[:, None],
    is_causal=causal,
    implementation="cudnn",
  )


def _attend_at_once(q_BxLxHxK, k_BxLxHxK, v_BxLxHxK, mask_BxLxL) -> jax.Array:
  q, k, v = (x.transpose(0, 2, 1, 3) for x in (q_BxLxHxK, k_BxLxHxK, v_BxLxHxK))
  scores = wide_scores(q * q.shape[-1] ** -0.5, k)
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


def for_inference(model: ModelConfig) -> ModelConfig:
  """The model as it rates and evaluates: `auto` becomes `cudnn` where the kernel can run.

  Asks the devices, and so takes them. Not for anything that is differentiated twice.
  """
  if model.attention != "auto" or not kernel_takes(model.width // model.heads, model.dtype):
    return model
  return dataclasses.replace(model, attention="cudnn")


def kernel_takes(features: int, dtype: str) -> bool:
  """Whether cudnn's fused kernel runs here, with so many features a head, in this dtype.

  Limits as in jax/_src/cudnn/fused_attention_stablehlo.py.
  """
  capability = compute_capability()
  if capability is None or capability < KERNEL_CAPABILITY or dtype != "bfloat16":
    return False
  most = KERNEL_WIDE_FEATURES if capability >= WIDE_CAPABILITY else KERNEL_FEATURES
  return features <= most and features % KERNEL_FEATURES_MULTIPLE == 0


def compute_capability() -> tuple[int, int] | None:
  """Of this process's first device where that is an NVIDIA GPU, else None."""
  device = jax.local_devices()[0]
  if device.platform != "gpu" or "cuda" not in device.client.platform_version:
    return None
  major, minor = device.compute_capability.split(".")
  return int(major), int(minor)
