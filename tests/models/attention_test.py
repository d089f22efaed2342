"""Attention by its definition; rotary positions by what they are for; who gets which kernel."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datarater.config import ModelConfig
from datarater.errors import InputError
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


@pytest.mark.parametrize(
  ("length", "asked", "given"),
  [
    (attention.LONGEST_AT_ONCE, "auto", "xla"),
    (attention.LONGEST_AT_ONCE + 1, "auto", "blockwise"),
    (attention.LONGEST_AT_ONCE + 1, "xla", "xla"),
    (8, "blockwise", "blockwise"),
  ],
)
def test_auto_goes_by_the_length(length, asked, given):
  seen = attention.visibility(jnp.ones((1, length), jnp.int32), True, asked)
  assert seen.implementation == given
  assert (seen.mask_BxLxL is None) == (given == "blockwise")


HALF = ModelConfig(width=256, heads=4, dtype="bfloat16")


@pytest.mark.parametrize(
  ("capability", "model", "fused"),
  [
    ((8, 0), HALF, True),
    ((9, 0), HALF, True),
    ((7, 5), HALF, False),
    (None, HALF, False),
    ((9, 0), dataclasses.replace(HALF, dtype="float32"), False),
    ((8, 0), dataclasses.replace(HALF, heads=1), False),  # 256 features a head
    ((9, 0), dataclasses.replace(HALF, heads=1), True),
    ((9, 0), dataclasses.replace(HALF, heads=1, width=264), False),
    ((9, 0), dataclasses.replace(HALF, width=48), False),  # 12: no multiple of 8
    ((9, 0), dataclasses.replace(HALF, attention="xla"), False),
    ((9, 0), dataclasses.replace(HALF, attention="blockwise"), False),
  ],
)
def test_inference_takes_the_fused_kernel_where_it_runs(capability, model, fused, monkeypatch):
  monkeypatch.setattr(attention, "compute_capability", lambda: capability)
  expected = dataclasses.replace(model, attention="cudnn") if fused else model
  assert attention.for_inference(model) == expected


@pytest.mark.parametrize(
  ("platform", "version", "expected"),
  [("cpu", "cpu", None), ("gpu", "cuda 12080", (9, 0)), ("gpu", "rocm 60000", None)],
)
def test_compute_capability_is_that_of_an_nvidia_gpu(platform, version, expected, monkeypatch):
  client = types.SimpleNamespace(platform_version=version)
  capability = "gfx90a" if "rocm" in version else "9.0"
  device = types.SimpleNamespace(platform=platform, client=client, compute_capability=capability)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert attention.compute_capability() == expected


def test_without_the_device_the_fused_kernel_is_refused():
  q = random((1, 4, 1, 8), 0).astype(jnp.bfloat16)
  seen = attention.visibility(jnp.ones((1, 4), jnp.int32), True, "cudnn")
  with pytest.raises(InputError, match=r"model\.attention is 'cudnn'.*'auto'"):
    attention.attend(q, q, q, seen)


@pytest.mark.parametrize("causal", [False, True])
def test_the_fused_kernel_gets_segments_as_a_bias_and_causality_as_a_flag(causal, monkeypatch):
  """Lowered for a GPU that is not here: the call itself cannot run."""
  from jax._src.cudnn import fused_attention_stablehlo as cudnn

  monkeypatch.setattr(attention, "compute_capability", lambda: (9, 0))
  monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
  q = jax.ShapeDtypeStruct((2, 64, 4, 16), jnp.bfloat16)
  ids = jax.ShapeDtypeStruct((2, 64), jnp.int32)

  def attend(q, k, v, ids):
    return attention.attend(q, k, v, attention.visibility(ids, causal, "cudnn"))

  lowered = jax.jit(attend).trace(q, q, q, ids).lower(lowering_platforms=("cuda",)).as_text()
  (call,) = [line for line in lowered.splitlines() if "__cudnn$fmhaScaleBiasSoftmax" in line]
  assert "tensor<2x1x64x64xbf16>" in call
  assert ("CAUSAL" in call) == causal
  assert ("NO_MASK" in call) != causal
  mask = attention.visibility(jnp.array([[1, 1, 0]]), causal, "cudnn").mask_BxLxL
  np.testing.assert_array_equal(mask[0], [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
