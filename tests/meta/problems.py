"""A tiny meta-learning problem in float64: models, batches with padding, a warmed inner optimiser."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from datarater.config import ModelConfig, OptimizerConfig
from datarater.meta import estimators, mixed_mode, unroll
from datarater.meta.weighting import batch_weights
from datarater.models import language_model, rater
from datarater.training.optimizers import make_optimizer
from datarater.types import Batch

VOCAB, LENGTH, SEGMENTS, ROWS = 13, 12, 3, 4
UNUSED_TOKEN = 12


def random_batch(seed: int, rows: int = ROWS) -> Batch:
  """Rows of one to three segments with padding at the end; token 12 never occurs."""
  rng = np.random.default_rng(seed)
  tokens = rng.integers(0, UNUSED_TOKEN, (rows, LENGTH)).astype(np.int32)
  segment_ids = np.zeros((rows, LENGTH), np.int32)
  positions = np.zeros((rows, LENGTH), np.int32)
  present = np.full((rows, SEGMENTS), -1, np.int32)
  for row in range(rows):
    start = 0
    for segment in range(1, 2 + row % SEGMENTS):
      size = int(rng.integers(2, 5))
      segment_ids[row, start : start + size] = segment
      positions[row, start : start + size] = np.arange(len(positions[row, start : start + size]))
      present[row, segment - 1] = 10 * row + segment
      start += size
  tokens[segment_ids == 0] = 0
  return Batch(tokens, segment_ids, positions, present, present, np.maximum(present, 0))


def stacked(seeds: list[int]) -> Batch:
  return jax.tree.map(lambda *xs: np.stack(xs), *(random_batch(s) for s in seeds))


@dataclasses.dataclass
class Case:
  problem: estimators.Problem
  eta: dict
  theta: dict
  opt_state: object
  inner: Batch
  outer: Batch


def make_case(optimizer: str, T: int, datapoint: str, remat: bool, dtype: str = "float64") -> Case:
  """A problem whose inner optimiser has taken three steps, so that its moments are warm."""
  config = ModelConfig(width=8, layers=2, heads=2, mlp_width=16, remat=remat, dtype=dtype)
  losses = language_model.losses_fn(config, VOCAB, datapoint)
  token_nll = language_model.token_nll_fn(config, VOCAB)
  settings = OptimizerConfig(
    name=optimizer, learning_rate=0.05, eps_root=1e-12, weight_decay=0.1, clip_norm=1.0
  )
  problem = estimators.Problem(
    rate=rater.rate_fn(config, VOCAB, datapoint),
    losses=losses,
    outer_loss=language_model.mean_loss_fn(token_nll),
    optimizer=make_optimizer(settings),
    datapoint=datapoint,
  )
  cast = lambda tree: jax.tree.map(lambda x: x.astype(dtype), tree)
  eta = cast(rater.init_rater(config, VOCAB, jax.random.key(1), LENGTH))
  # A head of zeros hides the body's gradient.
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(2), (8, 1), dtype)
  theta = cast(language_model.init_language_model(config, VOCAB, jax.random.key(3), LENGTH))
  opt_state = problem.optimizer.init(theta)
  gradient = mixed_mode.plain_gradient(losses)

  @jax.jit
  def warm(theta, opt_state, batch):
    zeros = jnp.zeros(losses(theta, batch).shape, dtype)
    weights = batch_weights(zeros, batch, datapoint)
    return unroll.inner_step(gradient, problem.optimizer, theta, opt_state, weights, batch)

  for seed in range(3):
    theta, opt_state = warm(theta, opt_state, random_batch(100 + seed))
  inner = stacked(list(range(T)))
  return Case(problem, eta, theta, opt_state, inner, random_batch(50, rows=3))
