"""States in mid-training, at which the benchmarks of estimators and of precision take gradients.

The demo's sizes and data: bytes of the bundled corpus, speeches as target. A short meta-training
warms inner model, optimiser and rater, whose head would else be zero and hide its body's gradient.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from datarater.config import ModelConfig
from datarater.data.loader import train_loader
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.demo import demo_config
from datarater.meta.estimators import Problem, mixed, reverse
from datarater.models import language_model, rater
from datarater.runtime.atomic import read_json
from datarater.training.optimizers import make_optimizer
from datarater.types import Batch, PyTree

CONFIG = demo_config().meta_train
VOCAB = load_tokenizer(CONFIG.data.tokenizer).vocab_size
WARM_STEPS, WARM_UNROLL = 50, 2
"""Meta-steps before the state is taken, and their T: 100 updates of the inner model."""
LONGEST = 8
"""The longest T that a state has batches for."""


@dataclasses.dataclass(frozen=True)
class State:
  """Float32 trees and numpy batches: inner leads with the longest T."""

  eta: PyTree
  theta: PyTree
  opt_state: PyTree
  inner_TxB: Batch
  outer_B: Batch

  def window(self, unroll_length: int, dtype: str = "float32") -> tuple[Any, ...]:
    """Arguments of a meta-gradient over the first `unroll_length` updates, floats as `dtype`."""
    inner = jax.tree.map(lambda x: x[:unroll_length], self.inner_TxB)
    trees = as_dtype((self.eta, self.theta, self.opt_state), dtype)
    return *trees, inner, self.outer_B


def as_dtype(tree: PyTree, dtype: str) -> PyTree:
  """The tree with its floats in another precision; counters stay as they are."""

  def cast(x: Any):
    return jnp.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

  return jax.tree.map(cast, tree)


def problem(dtype: str = "float32", remat: bool = False) -> Problem:
  """The demo's meta-training problem, activations of both networks in `dtype`."""

  def model(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, dtype=dtype, remat=remat)

  inner, datapoint = model(CONFIG.inner), CONFIG.data.datapoint
  return Problem(
    rate=rater.rate_fn(model(CONFIG.rater), VOCAB, datapoint),
    losses=language_model.losses_fn(inner, VOCAB, datapoint),
    outer_loss=language_model.outer_loss_fn("nll", inner, VOCAB),
    optimizer=make_optimizer(CONFIG.inner_optimizer),
    datapoint=datapoint,
  )


def warmed_state(seed: int) -> State:
  """The state of a seed, with batches for an unroll of up to `LONGEST` updates."""
  meta = CONFIG.meta
  batches = {
    split: train_loader(
      open_source(CONFIG.data, split),
      load_tokenizer(CONFIG.data.tokenizer),
      CONFIG.data,
      rows,
      seed,
    )
    for split, rows in (("inner", meta.inner_batch), ("outer", meta.outer_batch))
  }

  def inner(count: int) -> Batch:
    return jax.tree.map(lambda *xs: np.stack(xs), *[next(batches["inner"]) for _ in range(count)])

  key, length = jax.random.key(seed), CONFIG.data.length
  eta_key, theta_key = jax.random.split(key)
  eta = rater.init_rater(CONFIG.rater, VOCAB, eta_key, length)
  theta = language_model.init_language_model(CONFIG.inner, VOCAB, theta_key, length)
  carry = (eta, _META_ADAM.init(eta), theta, problem().optimizer.init(theta))
  for _ in range(WARM_STEPS):
    carry = _warm_step()(carry, inner(WARM_UNROLL), next(batches["outer"]))
  eta, _, theta, opt_state = jax.device_get(carry)
  state = State(eta, theta, opt_state, inner(LONGEST), next(batches["outer"]))
  for loader in batches.values():
    loader.close()
  return state


def warmed_states(seeds: int) -> list[State]:
  """Those of so many seeds: two or more, as the results have intervals."""
  if seeds < 2:
    raise SystemExit(f"seeds is {seeds}; give 2 or more, for an interval")
  return [warmed_state(seed) for seed in range(seeds)]


_META_ADAM = optax.chain(
  optax.clip_by_global_norm(CONFIG.meta.clip_norm), optax.adam(CONFIG.meta.learning_rate)
)


@functools.cache
def _warm_step():
  """One meta-step of one member, compiled once for all seeds."""
  meta_gradient = mixed(problem())

  def step(carry, inner, outer):
    eta, moments, theta, opt_state = carry
    gradient, window = meta_gradient(eta, theta, opt_state, inner, outer)
    updates, moments = _META_ADAM.update(gradient, moments)
    return optax.apply_updates(eta, updates), moments, window.theta, window.opt_state

  return jax.jit(step, donate_argnums=0)


def flat(tree: PyTree) -> np.ndarray:
  """All leaves as one float64 vector."""
  return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])


def compared(gradient: PyTree, exact: np.ndarray) -> dict[str, float]:
  """Cosine, relative error and ratio of norms of a gradient against the exact one."""
  g = flat(gradient)
  length, exact_length = np.linalg.norm(g), np.linalg.norm(exact)
  return {
    "cosine": float(g @ exact / (length * exact_length)),
    "relative_error": float(np.linalg.norm(g - exact) / exact_length),
    "norm_ratio": float(length / exact_length),
  }


class Truth:
  """The meta-gradient in float64 by `reverse`, as one vector; each is computed once."""

  def __init__(self):
    self._known: dict[tuple[int, int], np.ndarray] = {}
    self._reverse = jax.jit(reverse(problem("float64")))

  def of(self, state: State, seed: int, unroll_length: int) -> np.ndarray:
    """At the state of a seed, over `unroll_length` updates."""
    at = (seed, unroll_length)
    if at not in self._known:
      with jax.enable_x64(True):
        self._known[at] = flat(self._reverse(*state.window(unroll_length, "float64"))[0])
    return self._known[at]


def rows_to_keep(
  output: Path, settings: dict[str, Any], again: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
  """What an earlier run with the same settings measured, but for rows to be measured `again`."""
  if not output.is_file():
    return []
  old = read_json(output, "results")
  if old["settings"] != settings:
    return []
  return [row for row in old["rows"] if not again(row)]


def length_axis(axes: Axes, rows: list[dict[str, Any]]) -> None:
  """A horizontal axis of the rows' T, each double the one before."""
  lengths = sorted({row["unroll_length"] for row in rows})
  axes.set_xscale("log", base=2)
  axes.set_xticks(lengths, [str(T) for T in lengths])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.set_xlabel("T, inner updates")
