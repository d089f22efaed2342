"""Meta-training from a config to a rater folder, resumable at any moment.

run/config.json  metrics.jsonl  checkpoints/  rater/  snapshots/
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from datarater.config import MetaTrainConfig
from datarater.data.documents import RowShapes, default_batch_tokens, rate_documents
from datarater.errors import DivergedError
from datarater.meta import estimators, placement
from datarater.meta import step as meta_step_module
from datarater.meta.card import rater_card
from datarater.meta.inputs import MetaInputs
from datarater.meta.metrics import metrics_row
from datarater.models import language_model, rater
from datarater.runtime import artifact
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.distributed import is_first
from datarater.runtime.metrics import MetricsLog
from datarater.runtime.profile import traced
from datarater.runtime.quantiles import RatingsCdf
from datarater.runtime.run_folder import run_folder
from datarater.runtime.sharding import make_mesh
from datarater.training.optimizers import make_optimizer
from datarater.types import MetaState, PyTree

SKIPPED_LIMIT = 20
"""Meta-steps in a row without a finite outer loss and meta-gradient, after which a run stops."""

ETA_KEY, POPULATION_KEY = 0, 1
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
  progress = progress and is_first()
  with _folder(config, Path(run_dir)) as folder:
    inputs = MetaInputs(config, mesh)
    try:
      with Checkpoints(folder / CHECKPOINTS, config.keep_checkpoints) as checkpoints:
        trace = folder / TRACE if profile else None
        export = _exporter(config, inputs)
        eta = _train(config, folder, mesh, inputs, checkpoints, export, progress, trace)
      if is_first():
        export(folder / RATER, eta, config.meta.steps, progress)
    finally:
      inputs.close()
  return folder / RATER


def _folder(config: MetaTrainConfig, folder: Path) -> contextlib.AbstractContextManager[Path]:
  """The run's folder, which the first process alone locks and writes to."""
  if not is_first():
    return contextlib.nullcontext(folder)
  return run_folder(folder, config, extendable=("meta.steps",), free=("mesh",))


def build(config: MetaTrainConfig, vocab_size: int):
  """(initial state as a function of nothing, the meta-step): pure, neither compiled."""
  datapoint = config.data.datapoint
  optimizer = make_optimizer(config.inner_optimizer)
  problem = estimators.Problem(
    rate=rater.rate_fn(config.rater, vocab_size, datapoint),
    losses=language_model.losses_fn(config.inner, vocab_size, datapoint),
    outer_loss=language_model.outer_loss_fn(config.meta.outer_loss, config.inner, vocab_size),
    optimizer=optimizer,
    datapoint=datapoint,
    microbatch=config.meta.microbatch,
  )
  root = jax.random.key(config.seed)
  key = jax.random.fold_in(root, POPULATION_KEY)
  length = config.data.length

  def init_inner(key: jax.Array) -> PyTree:
    return language_model.init_language_model(config.inner, vocab_size, key, length)

  def init() -> MetaState:
    eta_key = jax.random.fold_in(root, ETA_KEY)
    eta = rater.init_rater(config.rater, vocab_size, eta_key, length)
    return meta_step_module.init_state(config.meta, eta, init_inner, optimizer, key)

  estimate = estimators.make_estimator(config.meta, problem)
  step = meta_step_module.make_meta_step(
    config.meta, estimate, init_inner, optimizer, key, datapoint, config.mesh.member
  )
  return init, step


def _train(
  config: MetaTrainConfig,
  folder: Path,
  mesh: Mesh,
  inputs: MetaInputs,
  checkpoints: Checkpoints,
  export: Callable[[Path, PyTree, int, bool], None],
  progress: bool,
  trace: Path | None,
) -> PyTree:
  """Meta-steps until the config's number; returns eta as numpy arrays."""
  placed = placement.place(config, *build(config, inputs.tokenizer.vocab_size), mesh)
  start = checkpoints.latest() or 0
  if start:
    state, position = checkpoints.restore(start, placed.state)
    inputs.restore(position)
  else:
    state = placed.init()
  steps = config.meta.steps
  bar = tqdm(total=steps, initial=start, desc="meta-training", unit="step", disable=not progress)
  metrics_log = MetricsLog(folder / METRICS, start) if is_first() else contextlib.nullcontext()
  with bar, metrics_log as log:
    reader = _MetricsReader(config, inputs.domains, log, bar, checkpoints)
    for step in traced(range(start, steps), trace):
      batches = inputs.next()
      state, metrics = placed.step(state, *batches)
      reader.push(step + 1, metrics)
      if config.snapshot_every and (step + 1) % config.snapshot_every == 0:
        eta = placement.on_host(state.eta, mesh)
        if is_first():
          export(snapshot(folder, step + 1), eta, step + 1, False)
      if (step + 1) % config.checkpoint_every == 0 or step + 1 == steps:
        reader.drain()  # so that a checkpoint never is ahead of the metrics
        checkpoints.save(step + 1, state, inputs.position())
  return placement.on_host(state.eta, mesh)


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


def _exporter(
  config: MetaTrainConfig, inputs: MetaInputs
) -> Callable[[Path, PyTree, int, bool], None]:
  """(folder, eta, meta-steps done, progress): writes the folder of a rater: parameters, tokenizer,
  CDF of ratings on the inner split, card.
  """
  tokenizer = inputs.tokenizer
  datapoint = config.data.datapoint
  rate = jax.jit(rater.document_rate_fn(config.rater, tokenizer.vocab_size, datapoint))
  shapes = RowShapes(config.data.length, default_batch_tokens())

  def export(folder: Path, eta: PyTree, steps: int, progress: bool) -> None:
    count = min(config.cdf_documents, len(inputs.inner))
    chosen = np.arange(count) * len(inputs.inner) // count
    texts = [inputs.inner[int(i)].text for i in chosen]
    ratings, _ = rate_documents(
      texts, tokenizer, lambda batch: rate(eta, batch), shapes, progress=progress
    )
    cdf = RatingsCdf.of(ratings)
    description = artifact.RaterConfig(
      model=config.rater,
      tokenizer=dataclasses.replace(config.data.tokenizer, path=tokenizer.file_name),
      tokenizer_fingerprint=tokenizer.fingerprint,
      vocab_size=tokenizer.vocab_size,
      datapoint=config.data.datapoint,
      length=config.data.length,
      steps=steps,
      seed=config.seed,
    )
    meta = dataclasses.replace(config.meta, steps=steps)
    card = rater_card(dataclasses.replace(config, meta=meta), cdf, tokenizer.vocab_size)
    artifact.write_rater(folder, description, eta, cdf, card, tokenizer.save)

  return export
