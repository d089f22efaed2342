"""The problem that the benchmark of the meta-step measures: a language model, batches, a state.

The meta-gradient is that of the ratings, an array, so that no rater counts. The inner optimiser is
Adam in mid-training: its very first step hardly depends on the scale of the gradient, which would
leave little to compare.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from datarater.config import MetaConfig, ModelConfig, OptimizerConfig
from datarater.data.packing import Chunk, assemble, cut
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.meta.estimators import Problem, make_estimator
from datarater.meta.weighting import batch_weights
from datarater.models import language_model
from datarater.models.traced_cost import product_flops
from datarater.training.lm import TrainState, make_train_step
from datarater.training.optimizers import make_optimizer
from datarater.types import Batch, PyTree
from meta_step_suite.runs import HALVES, JAX_GRAD, MIXED, PLAIN

BYTES = 257
"""Ids of the bytes tokenizer: such models see the bundled text, the others random tokens."""
SEED, WARM_STEPS = 0, 10
ADAM = OptimizerConfig(name="adam", learning_rate=2e-3, eps_root=1e-12)

MetaGradient = Callable[..., tuple[jax.Array, PyTree, PyTree]]
"""(theta, opt_state, ratings_TxBx1, inner TxB, outer B) -> (their gradient, theta, opt_state)."""


@dataclasses.dataclass(frozen=True)
class Case:
  """An inner model and its batches: `rows` rows of `length` tokens, inner as outer.

  unrolls: every T. reverse_until: the largest T at which `jax.grad` is timed; the longest T is
  compiled in any case, for its memory.
  """

  name: str
  model: ModelConfig
  vocab_size: int = BYTES
  rows: int = 8
  length: int = 256
  unrolls: tuple[int, ...] = (1, 2, 4, 8)
  reverse_until: int = 8

  @property
  def most(self) -> int:
    """The longest unroll."""
    return max(self.unrolls)

  def with_remat(self, remat: bool) -> ModelConfig:
    """The model, its blocks rematerialised or not."""
    return dataclasses.replace(self.model, remat=remat)


@dataclasses.dataclass(frozen=True)
class Start:
  """What every variant starts from, as numpy arrays. inner leads with the longest T."""

  theta: PyTree
  opt_state: PyTree
  inner_TxB: Batch
  outer_B: Batch
  ratings_TxBx1: np.ndarray

  def over(self, unroll_length: int) -> tuple[np.ndarray, Batch]:
    """(ratings, inner batches) of the first `unroll_length` steps."""
    inner = jax.tree.map(lambda x: x[:unroll_length], self.inner_TxB)
    return self.ratings_TxBx1[:unroll_length], inner


def make_start(case: Case, warm_steps: int = WARM_STEPS) -> Start:
  """Batches, random ratings and the state after `warm_steps` plain steps; the same each time."""
  batches = _batches(case, case.most + 1)
  inner, outer = batches[:-1], batches[-1]
  theta = language_model.init_language_model(
    case.model, case.vocab_size, jax.random.key(SEED), case.length
  )
  state = TrainState(theta, make_optimizer(ADAM).init(theta), jnp.zeros((), jnp.int32))
  train_step = jax.jit(plain_step(case, remat=True), donate_argnums=0)
  for i in range(warm_steps):
    state = train_step(state, inner[i % len(inner)])
  theta, opt_state = jax.tree.map(np.asarray, (state.theta, state.opt_state))
  ratings = np.random.default_rng(SEED).normal(size=(case.most, case.rows, 1))
  stacked = jax.tree.map(lambda *xs: np.stack(xs), *inner)
  return Start(theta, opt_state, stacked, outer, ratings.astype(np.float32))


def _batches(case: Case, number: int) -> list[Batch]:
  """Full rows of one segment each: all peers attend to the same pairs without a mask of padding."""
  rows = _text_rows if case.vocab_size == BYTES else _random_rows
  chunks = [[chunk] for chunk in rows(case, number * case.rows)]
  parts = (chunks[i : i + case.rows] for i in range(0, len(chunks), case.rows))
  return [assemble(part, case.rows, case.length, 1) for part in parts]


def _random_rows(case: Case, number: int) -> list[Chunk]:
  tokens = np.random.default_rng(SEED).integers(0, case.vocab_size, (number, case.length))
  return [Chunk(row.astype(np.int32), i, 0, case.length) for i, row in enumerate(tokens)]


def _text_rows(case: Case, number: int) -> list[Chunk]:
  """Full rows of the bundled corpus, its documents in a random order."""
  source, tokenizer = open_source(DataConfig(), "inner"), load_tokenizer(TokenizerConfig("bytes"))
  found: list[Chunk] = []
  for index in np.random.default_rng(SEED).permutation(len(source)):
    tokens = tokenizer.encode(source[int(index)].text)
    chunks = cut(tokens, tokenizer.separator_id, case.length, len(tokens))
    found += [chunk for chunk in chunks if len(chunk.tokens) == case.length]
    if len(found) >= number:
      return found[:number]
  raise ValueError(f"the corpus has {len(found)} full rows of {case.length} tokens, not {number}")


def plain_step(case: Case, remat: bool) -> Callable[[TrainState, Batch], TrainState]:
  """One plain training step, as final language models are trained."""
  token_nll = language_model.token_nll_fn(case.with_remat(remat), case.vocab_size)
  return make_train_step(language_model.mean_loss_fn(token_nll), make_optimizer(ADAM))


def meta_gradient(case: Case, variant: str, unroll_length: int, remat: bool) -> MetaGradient:
  """The meta-gradient by one variant of ours, or by `jax.grad` in the obvious way."""
  config = case.with_remat(remat)
  problem = Problem(
    rate=lambda ratings_TxBx1, batch: ratings_TxBx1.reshape(-1, 1),
    losses=language_model.losses_fn(config, case.vocab_size, "sequence"),
    outer_loss=language_model.mean_loss_fn(language_model.token_nll_fn(config, case.vocab_size)),
    optimizer=make_optimizer(ADAM),
    datapoint="sequence",
    microbatch=case.rows // 2 if variant == HALVES else 0,
  )
  if variant == JAX_GRAD:
    return _by_jax_grad(problem)
  settings: dict[str, Any] = {"estimator": "reverse"}
  if variant in MIXED:
    settings = {"estimator": "mixed", "residuals": MIXED[variant]}
  batch = {"inner_batch": case.rows, "outer_batch": case.rows}
  estimate = make_estimator(MetaConfig(unroll_length=unroll_length, **batch, **settings), problem)

  def gradient(theta, opt_state, ratings_TxBx1, inner: Batch, outer: Batch):
    grads, window = estimate(ratings_TxBx1, theta, opt_state, inner, outer)
    return grads, window.theta, window.opt_state

  return gradient


def _by_jax_grad(problem: Problem) -> MetaGradient:
  """`jax.grad` through a scan of training steps: what one writes first."""

  def weighted_loss(theta, weights_Bx1, batch: Batch):
    return jnp.sum(weights_Bx1 * problem.losses(theta, batch))

  def outer_loss(ratings_TxBx1, theta, opt_state, inner: Batch, outer: Batch):
    def step(carry, inputs):
      theta, opt_state = carry
      batch, ratings_Bx1 = inputs
      weights = batch_weights(ratings_Bx1, batch, problem.datapoint)
      grads = jax.grad(weighted_loss)(theta, weights, batch)
      updates, opt_state = problem.optimizer.update(grads, opt_state, theta)
      return (optax.apply_updates(theta, updates), opt_state), None

    carry, _ = jax.lax.scan(step, (theta, opt_state), (inner, ratings_TxBx1))
    return problem.outer_loss(carry[0], outer), carry

  def gradient(theta, opt_state, ratings_TxBx1, inner: Batch, outer: Batch):
    differentiate = jax.grad(outer_loss, has_aux=True)
    grads, carry = differentiate(ratings_TxBx1, theta, opt_state, inner, outer)
    return grads, *carry

  return gradient


class Inner:
  """The inner model's state on the device, one for all programs: each takes it and moves it on."""

  def __init__(self, start: Start):
    self._start = start
    self.reset()

  def reset(self) -> None:
    """Back to the start."""
    self.state = jax.tree.map(jnp.array, (self._start.theta, self._start.opt_state))


class Program:
  """A compiled (state, *rest) -> (state, result); the state is donated."""

  def __init__(self, function: Callable, inner: Inner, rest: PyTree):
    self._inner = inner
    self._rest = jax.device_put(rest)
    traced = jax.jit(function, donate_argnums=0).trace(inner.state, *self._rest)
    self.flops = product_flops(traced.jaxpr.jaxpr)
    self._compiled = traced.lower().compile()
    analysis: Any = self._compiled.memory_analysis()
    self.temporaries = int(analysis.temp_size_in_bytes)
    self.memory = self.temporaries + int(analysis.argument_size_in_bytes)

  def run(self, times: int = 1) -> Any:
    """Runs in a row and waits for the end; the last result."""
    result = None
    for _ in range(times):
      self._inner.state, result = self._compiled(self._inner.state, *self._rest)
    return jax.block_until_ready((result, self._inner.state))[0]


def make_program(
  case: Case, start: Start, inner: Inner, variant: str, unroll_length: int, remat: bool
) -> Program:
  """Plain steps on the first batch, or the ratings' gradient over the first batches."""
  if variant == PLAIN:
    train_step = plain_step(case, remat)

    def step(state, batch: Batch):
      theta, opt_state = state
      moved = train_step(TrainState(theta, opt_state, jnp.zeros((), jnp.int32)), batch)
      return (moved.theta, moved.opt_state), moved.step

    return Program(step, inner, (jax.tree.map(lambda x: x[0], start.inner_TxB),))
  gradient = meta_gradient(case, variant, unroll_length, remat)

  def meta_step(state, ratings_TxBx1, inner: Batch, outer: Batch):
    grads, theta, opt_state = gradient(*state, ratings_TxBx1, inner, outer)
    return (theta, opt_state), grads

  return Program(meta_step, inner, (*start.over(unroll_length), start.outer_B))


@functools.cache
def state_bytes(case: Case) -> int:
  """Bytes of parameters, optimiser state and one gradient: what an inner step may keep."""
  theta = jax.eval_shape(
    lambda key: language_model.init_language_model(case.model, case.vocab_size, key, case.length),
    jax.random.key(SEED),
  )
  opt_state = jax.eval_shape(make_optimizer(ADAM).init, theta)
  leaves = jax.tree.leaves((theta, opt_state, theta))
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
