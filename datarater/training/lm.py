"""Trains a language model from scratch on any loader, and records its learning curve. Resumable."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from datarater.config import ModelConfig, OptimizerConfig, TrainConfig
from datarater.errors import DivergedError
from datarater.models import cost, language_model
from datarater.models.attention import for_inference
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.metrics import MetricsLog, read_metrics
from datarater.training.held_out import EvaluateFn, HeldOut, Loss, held_out_loss, make_evaluate
from datarater.training.optimizers import make_optimizer
from datarater.types import Batch, PyTree, WeightedBatch

CURVE, CHECKPOINTS = "curve.jsonl", "checkpoints"
KEEP_CHECKPOINTS = 1


Trained = Batch | WeightedBatch
"""What one update sees; in a plain batch every token weighs the same."""


class Loader(Protocol):
  """Endless batches whose position can be saved and restored."""

  def __next__(self) -> Trained: ...

  def get_state(self) -> Any: ...

  def set_state(self, state: Any) -> None: ...


@runtime_checkable
class InformedLoader(Protocol):
  """A loader that chooses by the model in training."""

  def next_for(self, theta: PyTree) -> Batch: ...


@flax.struct.dataclass
class TrainState:
  """theta: parameters. opt_state: of Optax. step: int32, updates done."""

  theta: PyTree
  opt_state: PyTree
  step: jax.Array


def make_train_step(
  loss_fn: Callable[[PyTree, Any], jax.Array], optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any], TrainState]:
  """One plain update of a loss of (theta, batch)."""

  def train_step(state: TrainState, batch: Any) -> TrainState:
    grads = jax.grad(loss_fn)(state.theta, batch)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.theta)
    return TrainState(optax.apply_updates(state.theta, updates), opt_state, state.step + 1)

  return train_step


def batch_loss_fn(model: ModelConfig, vocab_size: int) -> Callable[[PyTree, Trained], jax.Array]:
  """(theta, batch) -> mean nats over predicted tokens, or the weighted sum of segments' means."""
  mean_loss = language_model.mean_loss_fn(language_model.token_nll_fn(model, vocab_size))
  losses = language_model.losses_fn(model, vocab_size, "document")

  def loss(theta: PyTree, batch: Trained) -> jax.Array:
    if isinstance(batch, WeightedBatch):
      return jnp.sum(batch.weights_BxS * losses(theta, batch.batch))
    return mean_loss(theta, batch)

  return loss


def evaluation_steps(config: TrainConfig) -> list[int]:
  """Steps after which the curve has a point: evenly spaced, the last at the end."""
  points = min(config.evaluations, config.steps)
  return [round((k + 1) * config.steps / points) for k in range(points)]


def train_language_model(
  config: TrainConfig,
  loader: Loader,
  held_out: dict[str, HeldOut],
  vocab_size: int,
  folder: Path,
  progress: bool = True,
  at_end: dict[str, HeldOut] | None = None,
) -> list[dict[str, Any]]:
  """Trains for `config.steps` and returns the curve, which `folder/curve.jsonl` holds as well.

  held_out: by name (`target`, `pool`). at_end: read in the last point alone. A point of the curve
  is a step, the training FLOPs until it, and for each name nats a token and bits per byte, in all
  and by domain.
  Raises DivergedError where a point's loss is not finite.
  """
  init, train_step, evaluate = _compiled(
    config.model, config.optimizer, config.steps, vocab_size, config.data.length
  )
  state = init(jax.random.key(config.seed))
  flops = config.batch * cost.training_flops(config.model, vocab_size, config.data.length)
  points = evaluation_steps(config)
  with Checkpoints(folder / CHECKPOINTS, KEEP_CHECKPOINTS) as checkpoints:
    start = checkpoints.latest() or 0
    if start:
      state, position = checkpoints.restore(start, state)
      loader.set_state(position["train"])
    bar = tqdm(
      total=config.steps,
      initial=start,
      desc=f"training {config.name}",
      unit="step",
      disable=not progress,
      leave=False,
    )
    with bar, MetricsLog(folder / CURVE, start) as log:
      for step in range(start + 1, config.steps + 1):
        informed = isinstance(loader, InformedLoader)
        batch = loader.next_for(state.theta) if informed else next(loader)
        state = train_step(state, batch)
        bar.update()
        if step in points:
          texts = held_out | (at_end or {}) if step == config.steps else held_out
          losses = {n: held_out_loss(evaluate, state.theta, h) for n, h in texts.items()}
          _require_finite(step, losses)
          row = {n: dataclasses.asdict(loss) for n, loss in losses.items()}
          log.write({"step": step, "training_flops": step * flops, **row})
          bar.set_postfix({n: f"{losses[n].bits_per_byte:.3f}" for n in held_out})
        if step % config.checkpoint_every == 0 or step == config.steps:
          checkpoints.save(step, state, {"train": loader.get_state()})
  return read_metrics(folder / CURVE)


def _require_finite(step: int, losses: dict[str, Loss]) -> None:
  for name, loss in losses.items():
    if not np.isfinite(loss.bits_per_byte):
      raise DivergedError(
        f"loss on {name} is {loss.bits_per_byte} at step {step}; lower optimizer.learning_rate or "
        "set optimizer.clip_norm, in a new run folder"
      )


@functools.lru_cache(maxsize=4)
def _compiled(
  model: ModelConfig, optimizer_config: OptimizerConfig, steps: int, vocab_size: int, length: int
) -> tuple[Callable[[jax.Array], TrainState], Callable[..., TrainState], EvaluateFn]:
  """(key -> initial state, train step, evaluation), compiled once for all seeds and arms."""
  optimizer = make_optimizer(optimizer_config, steps)

  def init(key: jax.Array) -> TrainState:
    theta = language_model.init_language_model(model, vocab_size, key, length)
    return TrainState(theta, optimizer.init(theta), jnp.zeros((), jnp.int32))

  train_step = make_train_step(batch_loss_fn(model, vocab_size), optimizer)
  evaluate = make_evaluate(language_model.token_nll_fn(for_inference(model), vocab_size))
  return jax.jit(init), jax.jit(train_step, donate_argnums=0), evaluate


def load_language_model(config: TrainConfig, vocab_size: int, folder: Path) -> PyTree:
  """Parameters, as numpy arrays, of the newest checkpoint of a run folder."""
  init, _, _ = _compiled(
    config.model, config.optimizer, config.steps, vocab_size, config.data.length
  )
  like = init(jax.random.key(config.seed))
  with Checkpoints(folder / CHECKPOINTS, KEEP_CHECKPOINTS) as checkpoints:
    latest = checkpoints.latest()
    if latest is None:
      raise FileNotFoundError(f"{str(folder)!r} holds no checkpoint")
    return jax.tree.map(np.asarray, checkpoints.restore(latest, like)[0].theta)
