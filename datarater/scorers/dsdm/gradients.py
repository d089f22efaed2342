"""Gradients of every document's loss on its own, projected on their way, from one backward pass.

For y = h W the gradient of one document's loss is Σ_t h_t δ_tᵀ over its tokens t, δ the gradient of
the loss with respect to y. So Lᵀ G R is the gradient with respect to A in W + L A Rᵀ at A = 0. A
`tap` is the identity on y; on the way back it gives A, of which each document has its own, the sum
of (Lᵀ h_t)(Rᵀ δ_t)ᵀ. Weights stay shared by all rows, and G is never made (unless L = R = I).

Attention keeps documents apart, so that a packed row gives the gradients of each of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models.language_model import token_nll_fn
from datarater.models.transformer import NORM_EPSILON, RMSNorm, Transformer
from datarater.scorers.dsdm.projection import Factors, Part, layer_name
from datarater.types import Batch, PyTree

Sketch = Callable[[PyTree, Factors, Batch, Any], jax.Array]
"""(theta, factors, batch, weights_BxL) → BxSxD, the kept numbers of each segment's gradient."""


def differentiable(model: ModelConfig) -> ModelConfig:
  """The same model, blocks one by one and without the kernel that has no forward derivative."""
  attention = "auto" if model.attention == "cudnn" else model.attention
  return dataclasses.replace(model, remat=False, attention=attention)


def sketch_fn(model: ModelConfig, vocab_size: int, parts: Sequence[Part]) -> Sketch:
  """The gradients of Σ weights · nll, nats, by segment; float32."""
  token_nll = token_nll_fn(differentiable(model), vocab_size)

  def sketch(theta: PyTree, factors: Factors, batch: Batch, weights_BxL: jax.Array) -> jax.Array:
    rows, segments = batch.document_ids_BxS.shape
    taps = {part.name: jnp.zeros((rows, segments, *part.kept)) for part in parts}

    def loss(taps: dict[str, jax.Array]) -> jax.Array:
      with nn.intercept_methods(_tapped(taps, factors, batch)):
        return jnp.sum(token_nll(theta, batch) * weights_BxL)

    found = jax.grad(loss)(taps)
    flat = [found[part.name].reshape(rows, segments, part.size) for part in parts]
    return jnp.concatenate(flat, axis=-1)

  return sketch


def _tapped(taps: dict[str, jax.Array], factors: Factors, batch: Batch) -> Any:
  """What runs around every method of the model's modules, for `flax.linen.intercept_methods`."""
  of_BxL = batch.segment_ids_BxL[:, None, :]
  mine_BxSxL = of_BxL == 1 + jnp.arange(batch.document_ids_BxS.shape[1])[None, :, None]
  mine_BxSxL = mine_BxSxL.astype(jnp.float32)
  calls: dict[str, int] = {}

  def tap(run: Callable[..., jax.Array], args: tuple, kwargs: dict, context: Any) -> Any:
    y = run(*args, **kwargs)
    module, method = context.module, context.method_name
    if isinstance(module, Transformer) and method in ("look_up", "decode"):
      left, right = factors["embedding"]
      kept, of_inputs = (args[0], left, right, mine_BxSxL), _of_decode
      if method == "look_up":  # the product with the table of rows that are all zero but for a one
        vocab_size = taps["embedding"].shape[2]
        row = jax.nn.one_hot(args[0], vocab_size) if left is None else left[args[0]]
        kept, of_inputs = (row, None, right, mine_BxSxL), _of_product
      return _tap(of_inputs, y, taps["embedding"], jax.lax.stop_gradient(kept))
    if method != "__call__" or not isinstance(module, nn.Dense | RMSNorm):
      return y
    name = str(module.name)
    if name != "final_norm":
      calls[name] = calls.get(name, -1) + 1
      name = layer_name(name, calls[name])
    if isinstance(module, RMSNorm):
      kept = (args[0], mine_BxSxL)
      return _tap(_of_norm, y, taps[name], jax.lax.stop_gradient(kept))
    kept = (args[0], *factors[name], mine_BxSxL)
    return _tap(_of_product, y, taps[name], jax.lax.stop_gradient(kept))

  return tap


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tap(of_inputs: Callable[..., jax.Array], y: jax.Array, a: jax.Array, kept: Any) -> jax.Array:
  """y. Backwards: of_inputs(kept, δ) for a, δ for y."""
  del of_inputs, a, kept
  return y


def _tap_forward(of_inputs, y, a, kept):
  del of_inputs, a
  return y, kept


def _tap_backward(of_inputs, kept, delta):
  return delta, of_inputs(kept, delta.astype(jnp.float32)), None


_tap.defvjp(_tap_forward, _tap_backward)


def _of_product(kept: Any, delta_NxO: jax.Array) -> jax.Array:
  h_NxI, left, right, mine_BxSxL = kept
  return _outer(_times(h_NxI, left), _times(delta_NxO, right), mine_BxSxL)


def _of_decode(kept: Any, delta_BxLxV: jax.Array) -> jax.Array:
  features_BxLxW, left, right, mine_BxSxL = kept
  length = features_BxLxW.shape[1]  # the last token of a row predicts nothing
  logits, features = (x.reshape(-1, x.shape[-1]) for x in (delta_BxLxV, features_BxLxW))
  return _outer(_times(logits, left), _times(features, right), mine_BxSxL[:, :, :length])


def _of_norm(kept: Any, delta_NxW: jax.Array) -> jax.Array:
  x_NxW, mine_BxSxL = kept
  x_NxW = x_NxW.astype(jnp.float32)
  scale = jax.lax.rsqrt(jnp.mean(x_NxW**2, axis=-1, keepdims=True) + NORM_EPSILON)
  rows, _, length = mine_BxSxL.shape
  return mine_BxSxL @ (delta_NxW * x_NxW * scale).reshape(rows, length, -1)


def _times(x_NxI: jax.Array, factor: jax.Array | None) -> jax.Array:
  x_NxI = x_NxI.astype(jnp.float32)
  return x_NxI if factor is None else x_NxI @ factor


def _outer(u_NxI: jax.Array, v_NxO: jax.Array, mine_BxSxL: jax.Array) -> jax.Array:
  """BxSxIxO: Σ u vᵀ over the tokens of each segment."""
  rows, segments, length = mine_BxSxL.shape
  u, v = u_NxI.reshape(rows, length, -1), v_NxO.reshape(rows, length, -1)
  if segments == 1:  # δ is zero outside of the only one
    return jnp.einsum("bli,blo->bio", u, v)[:, None]
  return jnp.einsum("bsli,blo->bsio", mine_BxSxL[..., None] * u[:, None], v)
