"""Attention a block at a time: the numbers of `attention.attend`, in memory linear in the length.

For each block of queries, an online softmax runs over the blocks of keys (Milakov & Gimelshein
2018, alg. 3; Rabe & Staats 2021): no LxL array is made, of scores or of masks. Plain JAX, so that
it differentiates twice in both modes, and linear in memory in each of them:

- The running maximum only shifts the exponents, and cancels in Σ e^(s-m) v / Σ e^(s-m): no
  derivative flows through it, and both sums are linear in what they carry.
- A backward pass recomputes a block's scores, and the running maxima of a block of queries. The two
  nested `checkpoint`s serve the second derivative too: JAX runs the forward pass of a `checkpoint`
  that is differentiated as plain code, which the next reverse pass would keep whole.
- The division comes after, so that no backward pass has to recompute the sums.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 256
"""Most queries, and keys, in a block. On a CPU at 2,048 tokens a causal Hessian product takes a
sixth less time than in blocks of 512, which skip less of the future."""
MASKED = -1e30
"""Score of a pair that may not attend: finite, so that a row of padding gives no NaN."""
NO_SEGMENT = -1
"""Segment of the padding up to a whole block: not that of a row's own padding, 0."""


class _Queries(NamedTuple):
  """One block of them, or many with a further leading axis. index_b: places in the row."""

  q_BxHxbxK: jax.Array
  segment_ids_Bxb: jax.Array
  index_b: jax.Array


class _Keys(NamedTuple):
  """The same of keys and values."""

  k_BxHxbxK: jax.Array
  v_BxHxbxK: jax.Array
  segment_ids_Bxb: jax.Array
  index_b: jax.Array


class _Sums(NamedTuple):
  """Over the keys seen so far, BxHxbx1, BxHxbx1 and BxHxbxK: m = max s, Σ e^(s-m), Σ e^(s-m) v."""

  largest: jax.Array
  total: jax.Array
  mixed: jax.Array


def wide_scores(q_BxHxqxK: jax.Array, k_BxHxsxK: jax.Array) -> jax.Array:
  """q kᵀ, BxHxqxs, not rounded: float32 from bfloat16, else of their dtype."""
  if q_BxHxqxK.dtype == jnp.bfloat16:
    return _wide_product(q_BxHxqxK, k_BxHxsxK)
  return jnp.einsum("bhqk,bhsk->bhqs", q_BxHxqxK, k_BxHxsxK)


@jax.custom_jvp
def _wide_product(q, k):
  return jnp.einsum("bhqk,bhsk->bhqs", q, k, preferred_element_type=jnp.float32)


@_wide_product.defjvp
def _wide_product_jvp(primals, tangents):
  # Tangents are products in bfloat16: JAX's own rule leads to products of float32 with bfloat16,
  # which GPUs do as slowly as float32.
  (q, k), (dq, dk) = primals, tangents
  change = jnp.einsum("bhqk,bhsk->bhqs", dq, k) + jnp.einsum("bhqk,bhsk->bhqs", q, dk)
  return _wide_product(q, k), change.astype(jnp.float32)


def attend_blockwise(
  q_BxLxHxK: jax.Array,
  k_BxLxHxK: jax.Array,
  v_BxLxHxK: jax.Array,
  segment_ids_BxL: jax.Array,
  causal: bool,
  block: int = BLOCK,
) -> jax.Array:
  """softmax(q kᵀ / √K) v over the pairs of one segment, BxLxHxK, of any length.

  causal: a query sees no later key; blocks of keys wholly in the future are skipped. Scores and
  sums are float32 or wider.
  """
  rows, length, heads, features = q_BxLxHxK.shape
  block = -(-length // -(-length // block))  # as few blocks, of one size
  padding = -length % block

  def blocks(x_BxLxHxK: jax.Array) -> jax.Array:
    x = jnp.pad(x_BxLxHxK, ((0, 0), (0, padding), (0, 0), (0, 0)))
    return x.reshape(rows, -1, block, heads, features).transpose(1, 0, 3, 2, 4)

  ids = jnp.pad(segment_ids_BxL, ((0, 0), (0, padding)), constant_values=NO_SEGMENT)
  ids = ids.reshape(rows, -1, block).transpose(1, 0, 2)
  index = jnp.arange(length + padding).reshape(-1, block)
  queries = _Queries(blocks(q_BxLxHxK * features**-0.5), ids, index)
  keys = _Keys(blocks(k_BxLxHxK), blocks(v_BxLxHxK), ids, index)
  sums_over_keys = jax.checkpoint(_sums_over_keys, prevent_cse=False, static_argnums=2)
  total, mixed = jax.lax.map(lambda query: sums_over_keys(query, keys, causal), queries)
  out = (mixed / total).astype(v_BxLxHxK.dtype)
  return out.transpose(1, 0, 3, 2, 4).reshape(rows, -1, heads, features)[:, :length]


def _sums_over_keys(query: _Queries, keys: _Keys, causal: bool) -> tuple[jax.Array, jax.Array]:
  """(total, mixed) of one block of queries over all keys."""
  wide = jnp.promote_types(query.q_BxHxbxK.dtype, jnp.float32)
  column = jnp.zeros((*query.q_BxHxbxK.shape[:-1], 1), wide)
  start = _Sums(column + MASKED, column, jnp.zeros(query.q_BxHxbxK.shape, wide))

  def visit(sums: _Sums, key: _Keys):
    if not causal:
      return _add(sums, query, key), None
    # The condition is one of places alone: not of data, which devices would have to agree on.
    seen = key.index_b[0] <= query.index_b[-1]
    add = functools.partial(_add, causal=True)
    return jax.lax.cond(seen, add, lambda sums, *_: sums, sums, query, key), None

  sums, _ = jax.lax.scan(jax.checkpoint(visit, prevent_cse=False), start, keys)
  return sums.total, sums.mixed


def _add(sums: _Sums, query: _Queries, key: _Keys, causal: bool = False) -> _Sums:
  """One step of the online softmax.

  What a query adds before it meets the first key that it sees is wiped out by e^(MASKED - m) = 0.
  """
  scores = wide_scores(query.q_BxHxbxK, key.k_BxHxbxK)
  visible = query.segment_ids_Bxb[:, :, None] == key.segment_ids_Bxb[:, None, :]
  if causal:
    visible &= (query.index_b[:, None] >= key.index_b[None, :])[None]
  scores = jnp.where(visible[:, None], scores, MASKED)
  highest = jnp.max(jax.lax.stop_gradient(scores), axis=-1, keepdims=True)
  largest = jnp.maximum(sums.largest, highest)
  weights, shrink = jnp.exp(scores - largest), jnp.exp(sums.largest - largest)
  values = key.v_BxHxbxK
  mixed = jnp.einsum("bhqs,bhsk->bhqk", weights.astype(values.dtype), values).astype(scores.dtype)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  return _Sums(largest, sums.total * shrink + total, sums.mixed * shrink + mixed)
