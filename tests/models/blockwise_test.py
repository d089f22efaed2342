"""Blockwise attention: two derivatives equal to those of attention at once, in linear memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import MODEL, QUICK, VOCAB, initial_parameters, random_batch

from datarater.models import attention, language_model
from datarater.models.blockwise import attend_blockwise

BLOCK_OF_8K = 512
SHAPES = {  # rows, length, heads, features, block, causal
  "whole blocks": (2, 8, 2, 4, 4, False),
  "whole blocks, causal": (2, 8, 2, 4, 4, True),
  "a rest": (2, 11, 1, 2, 4, False),
  "a rest, causal": (2, 11, 1, 2, 4, True),
  "less than a block": (1, 5, 3, 2, 8, True),
  "blocks of one": (1, 4, 1, 2, 1, True),
  "one token": (2, 1, 1, 2, 4, False),
}


def qkv(rows, length, heads, features, seed=0, dtype=np.float32):
  """(q, k, v), each BxLxHxK; scores of a few units."""
  rng = np.random.default_rng(seed)
  return tuple(rng.normal(size=(rows, length, heads, features)).astype(dtype) for _ in range(3))


def segments(rows, length, seed=0):
  """Each row: a few segments, then padding, in row 0 none."""
  rng = np.random.default_rng(seed)
  ids = np.zeros((rows, length), np.int32)
  for row in range(rows):
    used = length if row == 0 else rng.integers(0, length + 1)
    ids[row, :used] = 1 + np.sort(rng.integers(0, 3, used))
  return ids


def at_once(q, k, v, ids, causal, block):
  del block
  return attention.attend(q, k, v, attention.visibility(ids, causal, "xla"))


def loss_of(attend, causal, block):
  """(x = (q, k, v), ids) -> a scalar that is curved in every output."""

  def loss(x, ids):
    out = attend(*x, ids, causal, block)
    scale = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
    return jnp.sum(scale * jnp.sin(3 * out))

  return loss


def programs(attend, causal, block):
  """The four that training runs, (x, tangent, ids) -> ..."""
  gradient = jax.grad(loss_of(attend, causal, block))

  def directional(x, tangent, ids):
    products = jax.tree.map(jnp.vdot, gradient(x, ids), tangent)
    return functools.reduce(jnp.add, products)

  return {
    "value": lambda x, tangent, ids: attend(*x, ids, causal, block),
    "gradient": lambda x, tangent, ids: gradient(x, ids),
    "forward over reverse": lambda x, tangent, ids: jax.jvp(
      lambda x: gradient(x, ids), (x,), (tangent,)
    )[1],
    "reverse over reverse": jax.grad(directional),
  }


@functools.cache
def everything(attend, causal, block):
  """All of `programs` at once, compiled."""
  each = programs(attend, causal, block)

  def together(*args):
    return {name: program(*args) for name, program in each.items()}

  return jax.jit(together, compiler_options=QUICK)


def assert_equal_derivatives(x, tangent, ids, causal, block, tolerance):
  got = everything(attend_blockwise, causal, block)(x, tangent, ids)
  expected = everything(at_once, causal, 0)(x, tangent, ids)
  for name in expected:
    for a, b in zip(jax.tree.leaves(got[name]), jax.tree.leaves(expected[name]), strict=True):
      assert a.dtype == x[0].dtype
      atol = tolerance * max(1.0, float(jnp.max(jnp.abs(b))))
      np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_two_derivatives_equal_those_of_attention_at_once(case):
  *shape, block, causal = case
  x, tangent, ids = qkv(*shape), qkv(*shape, seed=1), segments(*shape[:2])
  assert_equal_derivatives(x, tangent, ids, causal, block, 3e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_in_float64_they_are_equal_to_twelve_digits(causal):
  with jax.enable_x64(True):
    shape = (2, 11, 2, 4)
    x, tangent = qkv(*shape, dtype=np.float64), qkv(*shape, seed=1, dtype=np.float64)
    assert_equal_derivatives(x, tangent, segments(2, 11), causal, 4, 1e-12)


@settings(max_examples=40, deadline=None)
@given(
  causal=st.booleans(),
  seed=st.integers(0, 2**31),
  scale=st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
  offset=st.sampled_from([0.0, 100.0]),
)
def test_any_segments_and_any_scores(causal, seed, scale, offset):
  shape = (2, 11, 1, 2)
  with jax.enable_x64(True):
    q, k, v = qkv(*shape, seed=seed, dtype=np.float64)
    tangent = qkv(*shape, seed=seed + 1, dtype=np.float64)
    ids = segments(*shape[:2], seed)
    # A score is a sum of terms of this size, and a second derivative has the scale in it twice.
    tolerance = 1e-12 * (1 + scale) ** 2 * (1 + offset)
    assert_equal_derivatives((scale * q, k + offset, v), tangent, ids, causal, 4, tolerance)


def test_8192_tokens():
  length = 8192
  x, tangent, ids = qkv(1, length, 1, 4), qkv(1, length, 1, 4, seed=1), segments(1, length)

  def derivatives(attend, block):
    both = jax.value_and_grad(loss_of(attend, True, block))
    return jax.jit(lambda x: jax.jvp(lambda x: both(x, ids), (x,), (tangent,)))(x)

  got, expected = derivatives(attend_blockwise, BLOCK_OF_8K), derivatives(at_once, 0)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.max(jnp.abs(b))))


def largest_array(jaxpr) -> int:
  """Elements of the largest array in a program, its inner programs included."""
  sizes = [0]
  for equation in jaxpr.eqns:
    sizes += [v.aval.size for v in equation.outvars]
    for value in equation.params.values():
      for inner in value if isinstance(value, (tuple, list)) else [value]:
        inner = getattr(inner, "jaxpr", inner)
        sizes += [largest_array(inner)] if hasattr(inner, "eqns") else []
  return max(sizes)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
  "name", ["value", "gradient", "forward over reverse", "reverse over reverse"]
)
def test_no_array_is_larger_than_a_few_rows_of_features(name, causal):
  length, features = 8192, 16
  shapes = [jax.ShapeDtypeStruct((1, length, 1, features), jnp.float32)] * 3
  ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
  program = programs(attend_blockwise, causal, BLOCK_OF_8K)[name]
  jaxpr = jax.make_jaxpr(program)(tuple(shapes), tuple(shapes), ids)
  assert largest_array(jaxpr.jaxpr) <= max(BLOCK_OF_8K**2, 4 * length * features)
  at_once_jaxpr = jax.make_jaxpr(programs(at_once, causal, 0)[name])(
    tuple(shapes), tuple(shapes), ids
  )
  assert largest_array(at_once_jaxpr.jaxpr) >= length**2  # what the measure above would find


@pytest.mark.parametrize("name", ["forward over reverse", "reverse over reverse"])
def test_memory_of_second_derivatives_grows_with_the_length(name):
  def temporaries(length):
    shapes = (jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32),) * 3
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
    program = jax.jit(programs(attend_blockwise, True, BLOCK_OF_8K)[name])
    return program.lower(shapes, shapes, ids).compile().memory_analysis().temp_size_in_bytes

  short, long = temporaries(4096), temporaries(8192)
  assert long < 2.1 * short
  assert long < 8192**2 * 4 / 8


def test_blocks_of_the_future_are_not_touched():
  q, k, v = qkv(1, 8, 1, 2)
  ids = np.ones((1, 8), np.int32)
  k[:, 4:], v[:, 4:] = np.nan, np.nan
  out = attend_blockwise(q, k, v, ids, causal=True, block=4)
  assert np.isfinite(out[:, :4]).all()
  assert np.isnan(out[:, 4:]).all()


def test_members_side_by_side():
  x = [np.stack([qkv(1, 9, 1, 2, seed)[i] for seed in range(3)]) for i in range(3)]
  ids = np.stack([segments(1, 9, seed) for seed in range(3)])
  gradient = jax.grad(loss_of(attend_blockwise, True, 4))
  together = jax.jit(jax.vmap(gradient), compiler_options=QUICK)(tuple(x), ids)
  assert "cond[" in str(jax.make_jaxpr(jax.vmap(gradient))(tuple(x), ids))  # still skips
  for member in range(3):
    alone = jax.jit(gradient, compiler_options=QUICK)(tuple(a[member] for a in x), ids[member])
    for a, b in zip(together, alone, strict=True):
      np.testing.assert_allclose(a[member], b, atol=1e-6)


def test_sums_are_float32_for_bfloat16_inputs():
  x = tuple(jnp.asarray(a, jnp.bfloat16) for a in qkv(1, 64, 2, 8))
  ids = segments(1, 64)
  attend = functools.partial(attend_blockwise, causal=True, block=8)
  lines = str(jax.make_jaxpr(attend)(*x, ids)).splitlines()
  exponentials = [line for line in lines if "= exp " in line]
  assert len(exponentials) == 2
  assert all("f32[" in line for line in exponentials)
  out = attend(*x, ids)
  assert out.dtype == jnp.bfloat16
  exact = at_once(*(a.astype(jnp.float32) for a in x), ids, True, 0)
  np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=0.03)


def test_a_language_model_is_the_same_with_either(monkeypatch):
  batch, theta = random_batch(0), initial_parameters()[1]
  seen = []

  def loss(name):
    config = dataclasses.replace(MODEL, attention=name)
    mean = language_model.mean_loss_fn(language_model.token_nll_fn(config, VOCAB))
    return jax.jit(jax.value_and_grad(mean), compiler_options=QUICK)(theta, batch)

  def spy(*args, **options):
    seen.append(options)
    return attend_blockwise(*args, **options, block=5)

  monkeypatch.setattr(attention, "attend_blockwise", spy)
  expected = loss("xla")
  assert not seen
  got = loss("blockwise")
  assert seen
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-6)
