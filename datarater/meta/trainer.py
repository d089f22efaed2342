"""Meta-training from a config to a rater folder, resumable at any moment.

run/config.json  metrics.jsonl  checkpoints/  rater/  snapshots/
"""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from datarater.config import MetaTrainConfig
from datarater.errors import DivergedError
from datarater.meta import placement
from datarater.meta.build import build
from datarater.meta.export import ExportFn, Learned, exporter
from datarater.meta.inputs import MetaInputs
from datarater.meta.metrics import metrics_row
from datarater.meta.settle import settled
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.distributed import is_first
from datarater.runtime.metrics import MetricsLog
from datarater.runtime.profile import traced
from datarater.runtime.run_folder import run_folder
from datarater.runtime.sharding import make_mesh
from datarater.types import FrozenMetaState, MetaState, PyTree, with_frozen, without_frozen

SKIPPED_LIMIT = 20
"""Meta-steps in a row without a finite outer loss and meta-gradient, after which a run stops."""

METRICS, CHECKPOINTS, RATER, TRACE = "metrics.jsonl", "checkpoints", "rater", "trace"
SNAPSHOTS = "snapshots"


def snapshot(run_dir: Path, step: int) -> Path:
  """Folder of the rater as it was after `step` meta-steps (`snapshot_every`)."""
  return run_dir / SNAPSHOTS / f"step_{step:06d}"


def meta_train(
  config: MetaTrainConfig, run_dir: str | Path, progress: bool = True, profile: bool = False
) -> Path:
  """Runs Algorithm 1 (Calian et al. 2025) to `config.meta.steps` and returns the rater's folder.

  The same call again resumes, bit for bit as if it had never stopped; with more steps it extends.
  Raises InputError for bad settings or data, or a folder with another config; DivergedError after
  20 meta-steps in a row whose outer loss or meta-gradient is not finite. Of several processes
  (`runtime.distributed.joined`) all call it, with a folder that all of them see.
  profile: trace some of the first steps into `trace/`.
  """
  mesh = make_mesh(config.mesh)
  config, frozen = settled(config)
  progress = progress and is_first()
  with _folder(config, Path(run_dir)) as folder:
    inputs = MetaInputs(config, mesh)
    try:
      with Checkpoints(folder / CHECKPOINTS, config.keep_checkpoints) as checkpoints:
        trace = folder / TRACE if profile else None
        export = exporter(config, inputs, frozen)
        run = _Run(config, folder, mesh, inputs, checkpoints, export, frozen)
        learned = _train(run, progress, trace)
      if is_first():
        export(folder / RATER, learned, config.meta.steps, progress)
    finally:
      inputs.close()
  return folder / RATER


def _folder(config: MetaTrainConfig, folder: Path) -> contextlib.AbstractContextManager[Path]:
  """The run's folder, which the first process alone locks and writes to."""
  if not is_first():
    return contextlib.nullcontext(folder)
  # Of a rate that falls to the run's end, all steps would have been others in a longer run.
  extendable = ("meta.steps",) if config.meta.schedule == "constant" else ()
  return run_folder(folder, config, extendable, free=("mesh",))


@dataclasses.dataclass(frozen=True)
class _Run:
  """What a run works with. frozen: numpy arrays, as `settled` gives them."""

  config: MetaTrainConfig
  folder: Path
  mesh: Mesh
  inputs: MetaInputs
  checkpoints: Checkpoints
  export: ExportFn
  frozen: PyTree


def _train(run: _Run, progress: bool, trace: Path | None) -> Learned:
  """Meta-steps until the config's number; returns what is exported, as numpy arrays."""
  config, folder, mesh, inputs = run.config, run.folder, run.mesh, run.inputs
  placed = placement.place(config, *build(config, inputs.tokenizer.vocab_size), mesh)
  start = run.checkpoints.latest() or 0
  if start:
    state, position = run.checkpoints.restore(start, without_frozen(placed.state))
    inputs.restore(position)
  else:
    state = placed.init()
  if isinstance(placed.state, FrozenMetaState):
    state = with_frozen(state, placement.spread(run.frozen, placed.state.frozen))
  steps = config.meta.steps
  bar = tqdm(total=steps, initial=start, desc="meta-training", unit="step", disable=not progress)
  metrics_log = MetricsLog(folder / METRICS, start) if is_first() else contextlib.nullcontext()
  with bar, metrics_log as log:
    reader = _MetricsReader(config, inputs.domains, log, bar, run.checkpoints)
    for step in traced(range(start, steps), trace):
      batches = inputs.next()
      state, metrics = placed.step(state, *batches)
      reader.push(step + 1, metrics)
      if config.snapshot_every and (step + 1) % config.snapshot_every == 0:
        learned = _learned(config, state, mesh)
        if is_first():
          run.export(snapshot(folder, step + 1), learned, step + 1, False)
      if (step + 1) % config.checkpoint_every == 0 or step + 1 == steps:
        reader.drain()  # so that a checkpoint never is ahead of the metrics
        run.checkpoints.save(step + 1, without_frozen(state), inputs.position())
  return _learned(config, state, mesh)


def _learned(config: MetaTrainConfig, state: MetaState, mesh: Mesh) -> Learned:
  """On the host; all processes take part."""
  theta = None
  if config.rater_features:
    theta = placement.on_host(state.members.theta, mesh, lambda tree: jax.tree.map(_first, tree))
  return Learned(placement.on_host(state.eta, mesh), theta)


def _first(leaf: jax.Array) -> jax.Array:
  return leaf[0]


class _MetricsReader:
  """Reads the metrics of step n - 1 while step n runs, so that the device never waits."""

  def __init__(
    self,
    config: MetaTrainConfig,
    domains: tuple[str, ...],
    log: MetricsLog | None,
    bar: Any,
    checkpoints: Checkpoints,
  ):
    self._config, self._domains, self._log = config, domains, log
    self._bar, self._checkpoints = bar, checkpoints
    self._pending: tuple | None = None
    self._clock = time.perf_counter()

  def push(self, step: int, metrics: dict[str, jax.Array]) -> None:
    self.drain()
    self._pending = (step, metrics)

  def drain(self) -> None:
    """Writes what is pending; raises DivergedError when too many steps in a row were skipped."""
    if self._pending is None:
      return
    step, metrics = self._pending
    self._pending = None
    row = metrics_row(step, metrics, self._domains)
    now = time.perf_counter()
    row["seconds"], self._clock = now - self._clock, now
    row["tokens_per_second"] = row["tokens"] / row["seconds"]
    if self._log is not None:
      self._log.write(row)
    self._bar.update()
    losses = [x for x in row["outer_loss"] if x is not None]
    self._bar.set_postfix(outer_loss=f"{np.mean(losses):.3f}" if losses else "not finite")
    if row["skipped_in_row"] >= SKIPPED_LIMIT:
      self._diverged(row["step"])

  def _diverged(self, step: int) -> None:
    last = self._checkpoints.latest()
    where = (
      f"the last good checkpoint is {str(self._checkpoints.path(last))!r}"
      if last
      else ("there is no checkpoint yet")
    )
    raise DivergedError(
      f"outer loss or meta-gradient was not finite for {SKIPPED_LIMIT} meta-steps in a row, up to "
      f"step {step}; {where}; lower inner_optimizer.learning_rate or meta.learning_rate"
    )
