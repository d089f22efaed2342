"""The transformer that language model and rater share: pre-norm, rotary positions, GELU, no biases.

Parameters are stacked along a leading layer axis. Rematerialised blocks are scanned, one compiled
block; others run one by one, as a scan would copy all that they keep for the backward pass. The
switch leaves the parameter tree as it is. Products run on [B·L, W]: contractions over two leading
axes are slow on CPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models import attention
from datarater.runtime.sharding import gathered, keep_rows_apart
from datarater.types import Batch

NORM_EPSILON = 1e-6
"""Added to the mean square in RMSNorm, so that an all-zero row has a finite derivative."""


class RMSNorm(nn.Module):
  """x / rms(x) · scale over rows [N, W], in float32 or wider (Zhang & Sennrich 2019, eq. 4)."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + NORM_EPSILON)
    return (normed * scale[None, :]).astype(x.dtype)


class Block(nn.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), on flattened rows [B·L, W]."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x_NxW: jax.Array, positions_BxL: jax.Array, seen: attention.Visibility):
    c = self.config
    shape = (*positions_BxL.shape, c.heads, c.width // c.heads)

    def dense(name: str, features: int, scale: float = 1.0) -> nn.Dense:
      init = nn.initializers.variance_scaling(scale, "fan_in", "normal")
      return nn.Dense(features, use_bias=False, dtype=c.dtype, kernel_init=init, name=name)

    x_NxW = keep_rows_apart(x_NxW)
    residual_scale = 1.0 / (2 * c.layers)  # keeps the variance of the residual stream near 1
    h = RMSNorm(name="attention_norm")(x_NxW)
    q, k, v = (dense(name, c.width)(h).reshape(shape) for name in ("query", "key", "value"))
    q, k = attention.rotary(q, positions_BxL), attention.rotary(k, positions_BxL)
    mixed = attention.attend(q, k, v, seen).reshape(x_NxW.shape)
    x_NxW = x_NxW + dense("attention_out", c.width, residual_scale)(mixed)
    h = nn.gelu(dense("mlp_in", c.mlp_width)(RMSNorm(name="mlp_norm")(x_NxW)))
    return x_NxW + dense("mlp_out", c.width, residual_scale)(h), None


class Transformer(nn.Module):
  """Tokens to features BxLxW, normalised. `decode` gives logits from the tied embedding."""

  config: ModelConfig
  vocab_size: int
  causal: bool

  def setup(self):
    c = self.config
    init = nn.initializers.normal(c.width**-0.5)
    self.embedding = self.param("embedding", init, (self.vocab_size, c.width))
    block = nn.remat(Block, prevent_cse=False) if c.remat else Block
    self.blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=nn.broadcast,  # type: ignore[arg-type]
      length=c.layers,
    )(c)
    self.final_norm = RMSNorm()

  def __call__(self, batch: Batch) -> jax.Array:
    rows, length = batch.tokens_BxL.shape
    seen = attention.visibility(batch.segment_ids_BxL, self.causal, self.config.attention)
    x = self.look_up(batch.tokens_BxL.reshape(-1)) * self.config.width**0.5
    blocks = self.blocks if self.config.remat or self.is_initializing() else self._one_by_one
    x, _ = blocks(x, batch.positions_BxL, seen)
    return self.final_norm(x).reshape(rows, length, self.config.width)

  def _one_by_one(self, x_NxW: jax.Array, *inputs):
    """The blocks without the scan, which would copy what each keeps for its backward pass."""
    sizes = [1] * self.config.layers
    stacked, tree = jax.tree.flatten(self.blocks.variables["params"])
    # `split` rather than indexing: its transpose puts the layers' gradients side by side at once.
    for layer in zip(*(jax.lax.split(p, sizes) for p in stacked), strict=True):
      block = Block(self.config, parent=None)
      parameters = jax.tree.unflatten(tree, [p[0] for p in layer])
      x_NxW, _ = block.apply({"params": parameters}, x_NxW, *inputs)
    return x_NxW, None

  def look_up(self, tokens_N: jax.Array) -> jax.Array:
    """Rows NxW of the embedding."""
    # Rows are cast after the lookup, whose gradient adds up over all places of a token: in bfloat16
    # the sum stands still once it is 256 times what is added.
    return gathered(self.embedding)[tokens_N].astype(self.config.dtype)

  def decode(self, features_BxLxW: jax.Array) -> jax.Array:
    """Logits BxLxV in float32 or wider."""
    rows, length, width = features_BxLxW.shape
    logits = features_BxLxW.reshape(-1, width) @ self.embedding.astype(features_BxLxW.dtype).T
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return logits.reshape(rows, length, self.vocab_size)
