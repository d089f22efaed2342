"""FLOPs of programs whose products can be counted by hand."""

import jax
import jax.numpy as jnp

from datarater.models.traced_cost import product_flops

X = jax.ShapeDtypeStruct((3, 5), jnp.float32)
W = jax.ShapeDtypeStruct((5, 7), jnp.float32)
PRODUCT = 2 * 3 * 5 * 7


def flops(function, *shapes):
  return product_flops(jax.make_jaxpr(function)(*shapes).jaxpr)


def test_a_product_is_two_flops_a_multiply_add():
  assert flops(lambda x, w: jnp.tanh(x @ w) + 1.0, X, W) == PRODUCT


def test_batched_products_count_each():
  batch = [jax.ShapeDtypeStruct((4, *s.shape), s.dtype) for s in (X, W)]
  assert flops(lambda x, w: jnp.einsum("bij,bjk->bik", x, w), *batch) == 4 * PRODUCT


def test_a_loop_counts_each_turn():
  def looped(x, w):
    def body(total, _):
      return total + jnp.sum(jax.jit(jnp.matmul)(x, w)), None

    return jax.lax.scan(body, 0.0, None, length=6)[0]

  assert flops(looped, X, W) == 6 * PRODUCT


def test_recomputation_counts():
  def loss(x, w):
    return jnp.sum(jnp.tanh(x @ w))

  assert flops(jax.grad(loss, (0, 1)), X, W) == 3 * PRODUCT
  assert flops(jax.grad(jax.checkpoint(loss), (0, 1)), X, W) == 4 * PRODUCT
