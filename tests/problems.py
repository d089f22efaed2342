"""Tiny models, batches and configs that several tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from datarater.config import MetaConfig, MetaTrainConfig, ModelConfig, OptimizerConfig
from datarater.data.packing import Chunk, assemble
from datarater.data_config import DataConfig
from datarater.models import language_model, rater
from datarater.types import Batch

VOCAB, LENGTH, SEGMENTS, ROWS = 13, 12, 3, 4
SEPARATOR = 11
UNUSED_TOKEN = 12
"""The last id of the vocabulary: no batch of `random_batch` holds it."""


def _known_options(**options) -> dict:
  """Those of the options that this version of XLA has."""
  known = {}
  for name, value in options.items():
    try:
      jax.jit(lambda: 0, compiler_options={name: value})()
    except jax.errors.JaxRuntimeError:
      continue
    known[name] = value
  return known


QUICK = _known_options(xla_backend_optimization_level=0, xla_cpu_use_fusion_emitters=False)
"""Compiler options that halve the time to compile; for large programs that run a few times."""

MODEL = ModelConfig(width=8, layers=2, heads=2, mlp_width=16)


def pack(rows: list[list[list[int]]], length: int = LENGTH, segments: int = SEGMENTS) -> Batch:
  """A batch of rows of segments of token ids; segment k of row r is document 10 r + k."""
  chunks = [
    [
      Chunk(np.array(tokens, np.int32), 10 * r + k, k, len(tokens) - 1)
      for k, tokens in enumerate(row)
    ]
    for r, row in enumerate(rows)
  ]
  return assemble(chunks, len(rows), length, segments)


def random_batch(seed: int, rows: int = ROWS) -> Batch:
  """Rows of one to three segments with padding at the end; token 12 never occurs."""
  rng = np.random.default_rng(seed)

  def segment() -> list[int]:
    return [SEPARATOR, *rng.integers(0, SEPARATOR, rng.integers(1, 4)).tolist()]

  return pack([[segment() for _ in range(1 + row % SEGMENTS)] for row in range(rows)])


def stacked(batches: list[Batch]) -> Batch:
  """Batches with a further leading axis."""
  return jax.tree.map(lambda *xs: np.stack(xs), *batches)


@functools.cache
def initial_parameters(dtype: str = "float32") -> tuple[dict, dict]:
  """(eta, theta) of `MODEL`; the rater's head is not zero, which would hide its body's gradient."""

  @functools.partial(jax.jit, compiler_options=QUICK)
  def init():
    eta = rater.init_rater(MODEL, VOCAB, jax.random.key(1), LENGTH)
    eta["head"]["kernel"] = jax.random.normal(jax.random.key(2), (MODEL.width, 1))
    theta = language_model.init_language_model(MODEL, VOCAB, jax.random.key(3), LENGTH)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), (eta, theta))

  return init()


def tree_distance(a, b) -> float:
  """‖a - b‖ / ‖b‖ over all leaves."""
  a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
  return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def assert_same_tree(a, b) -> None:
  """The same structure, and the same bits in every leaf."""
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
    assert np.asarray(x).dtype == np.asarray(y).dtype, jax.tree_util.keystr(path)


def tiny_run(**changes) -> MetaTrainConfig:
  """A meta-training run on the bundled corpus that takes seconds, compilation included."""
  settings = {
    "name": "test",
    "data": DataConfig(
      target_domain="speeches", datapoint="document", length=32, segments=2, shuffle_window=512
    ),
    "rater": MODEL,
    "inner": MODEL,
    "inner_optimizer": OptimizerConfig(name="adamw", learning_rate=4e-3),
    "meta": MetaConfig(
      steps=6,
      population=2,
      lifetime=4,
      inner_batch=4,
      outer_batch=4,
      objective="target",
      warmup_steps=2,
      clip_norm=1.0,
    ),
    "checkpoint_every": 3,
    "cdf_documents": 8,
  }
  return MetaTrainConfig(**(settings | changes))
