"""Attention against its definition, rotary positions by what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datarater.models import attention

ROWS, LENGTH, HEADS, FEATURES = 2, 7, 3, 4


def random(shape, seed):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("one_kernel", [0, LENGTH])
def test_attend_is_masked_softmax_attention(one_kernel, monkeypatch):
  monkeypatch.setattr(attention, "ONE_KERNEL", one_kernel)
  q, k, v = (random((ROWS, LENGTH, HEADS, FEATURES), seed) for seed in range(3))
  ids = jnp.array([[1, 1, 1, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
  seen = attention.visibility(ids, causal=True)
  mask = attention.attention_mask(ids, causal=True)
  expected = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None], implementation="xla")
  np.testing.assert_allclose(attention.attend(q, k, v, seen), expected, rtol=1e-4, atol=1e-6)


def test_masks():
  ids = jnp.array([[1, 1, 2, 0]])
  expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
  np.testing.assert_array_equal(attention.attention_mask(ids, causal=False)[0], expected)
  causal = expected & np.tri(4, dtype=bool)
  np.testing.assert_array_equal(attention.attention_mask(ids, causal=True)[0], causal)


def test_rotary_products_depend_on_the_distance_alone():
  q, k = random((1, 1, 1, 8), 0), random((1, 1, 1, 8), 1)

  def product(at_q, at_k):
    turned = (attention.rotary(x, jnp.array([[at]])) for x, at in ((q, at_q), (k, at_k)))
    return float(jnp.vdot(*turned))

  np.testing.assert_allclose(product(9, 5), product(4, 0), rtol=1e-5)
  np.testing.assert_allclose(product(0, 0), float(jnp.vdot(q, k)), rtol=1e-5)
  assert abs(product(9, 5) - product(9, 6)) > 1e-3


def test_softmax_is_float32_for_bfloat16_inputs():
  q, k, v = (random((1, 4, 1, 8), seed).astype(jnp.bfloat16) for seed in range(3))
  seen = attention.visibility(jnp.ones((1, 4), jnp.int32), causal=False)
  text = str(jax.make_jaxpr(attention.attend)(q, k, v, seen))
  exponentials = [line for line in text.splitlines() if "= exp " in line]
  assert exponentials
  assert all("f32[" in line for line in exponentials)
  assert attention.attend(q, k, v, seen).dtype == jnp.bfloat16
