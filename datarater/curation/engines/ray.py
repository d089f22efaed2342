"""Ray Data: actors that hold the unpickled work, on this machine or on a cluster, CPU or GPU.

Only names of shards and counts travel through Ray; text goes from storage to the actor and back. So
paths must mean the same on every node: a shared file system, or URLs.
"""

import contextlib
import logging
import math
import os
import pickle
import socket
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from datarater.curation.engines import Engine, Stats, Work, portable
from datarater.curation.engines.local import SHARED_GPU_MEMORY
from datarater.data.formats import Shard
from datarater.errors import InputError, WorkerDiedError

TASK_RETRIES = 3
"""Ray starts a dead actor anew and gives it its shard again: so often, then the shard is at fault.
"""

_OBJECT_STORE_BYTES = 100 << 20
"""Of a cluster started here. Ray's default, a third of memory, is for data that goes through it."""

_PATIENCE_SECONDS = 10.0

_ENVIRONMENT = {
  "RAY_USAGE_STATS_ENABLED": "0",
  "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # an actor without a GPU of its own may see them
  "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray's C++ side tells the terminal about Ray Data
}
"""Unless the environment says otherwise."""


def ray_engine(workers: int | None = None) -> Engine:
  """An `Engine` of Ray actors; connects to RAY_ADDRESS, or starts a cluster here and ends it after.

  workers: actors; None: one a GPU of the cluster, or else one a CPU. InputError without `ray`.
  """

  def run(work: Work, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Stats]]:
    ray = _import_ray()
    if not shards:
      return
    with _cluster(ray, workers) as (actors, gpus):
      yield from _run_dataset(ray, work, shards, min(actors, len(shards)), gpus)

  return run


def _import_ray() -> Any:
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  try:
    import ray
    import ray.data
  except ImportError as error:
    raise InputError(
      f"engine 'ray' needs Ray Data ({error}); pip install 'datarater[ray]'"
    ) from error
  return ray


@contextlib.contextmanager
def _cluster(ray: Any, workers: int | None) -> Iterator[tuple[int, float]]:
  """(actors to start, GPUs there are) of a cluster: the one connected to already, or a new one."""
  ours = not ray.is_initialized()
  if ours:
    _connect(ray, workers)
  try:
    has = ray.cluster_resources()
    gpus = 0.0 if os.environ.get("JAX_PLATFORMS", "").startswith("cpu") else has.get("GPU", 0.0)
    yield workers or max(1, int(gpus or has.get("CPU", 1.0))), gpus
  finally:
    if ours:
      ray.shutdown()


def _connect(ray: Any, workers: int | None) -> None:
  quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
  address = os.environ.get("RAY_ADDRESS", "")
  if address not in ("", "local"):
    try:
      _knock(address)
      ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
      raise InputError(
        f"RAY_ADDRESS is {address!r}, where no Ray cluster answers ({error}); start one, or unset "
        "it to run on this machine"
      ) from error
    return
  ray.init(
    "local",
    # An actor takes one CPU by Ray's count; more of them than there are cores is no reason to wait.
    num_cpus=max(workers or 1, os.cpu_count() or 1),
    include_dashboard=False,
    object_store_memory=_OBJECT_STORE_BYTES,
    **quiet,
  )


def _knock(address: str) -> None:
  """Raises OSError where nothing listens; Ray itself would ask for minutes."""
  host, colon, port = address.rpartition("://")[2].rpartition(":")
  if colon and port.isdecimal():
    socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()


def _run_dataset(
  ray: Any, work: Work, shards: Sequence[Shard], actors: int, gpus: float
) -> Iterator[tuple[Shard, Stats]]:
  share = min(1.0, gpus / actors)
  with _quiet(ray):
    dataset = _dataset(ray, work, shards, actors, share)
    try:
      # Not iter_rows: it holds each result back until there is another.
      for row in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
        result = pickle.loads(row["result"][0])
        if isinstance(result, Exception):
          raise result
        yield shards[int(row["shard"][0])], result
    except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError) as error:
      raise WorkerDiedError(
        f"a Ray actor died on the same shard {TASK_RETRIES + 1} times, killed by the system (out "
        "of memory?); start the same command again, with fewer workers if memory was short"
      ) from error


def _dataset(ray: Any, work: Work, shards: Sequence[Shard], actors: int, gpu_share: float) -> Any:
  """One row a shard, {shard, result}, not begun yet."""
  numbers = ray.data.from_items(
    [{"shard": number} for number in range(len(shards))], override_num_blocks=len(shards)
  )
  with warnings.catch_warnings():
    # Ray names no other way yet to bound retries; without end, a fatal shard would never fail.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
    return numbers.map_batches(
      _Actor,
      fn_constructor_args=(pickle.dumps(work), list(shards), gpu_share),
      batch_size=1,
      # One at a time: a second one in its queue might wait an hour while another actor is idle.
      compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
      num_cpus=None if gpu_share else 1,
      num_gpus=gpu_share or None,
      max_restarts=-1,
      max_task_retries=TASK_RETRIES,
    )


class _Actor:
  """Holds the work. Exceptions go back as values: Ray would wrap them, and say much."""

  def __init__(self, pickled: bytes, shards: Sequence[Shard], gpu_share: float):
    self._shards, self._work, self._trouble = shards, None, None
    if 0 < gpu_share < 1:  # before JAX starts
      fraction = f"{SHARED_GPU_MEMORY / math.ceil(1 / gpu_share):.3f}"
      os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", fraction)
    try:
      self._work = pickle.loads(pickled)
    except Exception as error:
      self._trouble = error

  def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
    (number,) = batch["shard"].tolist()
    return {"shard": [number], "result": [pickle.dumps(self._done(self._shards[number]))]}

  def _done(self, shard: Shard) -> Stats | Exception:
    try:
      if self._trouble:
        raise self._trouble
      assert self._work is not None
      return self._work(shard)
    except Exception as error:
      error = portable(error)
      error.add_note("".join(traceback.format_exception(error)))
      return error


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
  """Ray Data without progress bars and chatter; a shard may take hours without a sign of life."""
  context = ray.data.DataContext.get_current()
  loggers = [logging.getLogger(name) for name in ("ray.data", "ray")]
  before = context.enable_progress_bars, context.execution_no_progress_timeout_s
  levels = [logger.level for logger in loggers]
  context.enable_progress_bars, context.execution_no_progress_timeout_s = False, -1
  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    context.enable_progress_bars, context.execution_no_progress_timeout_s = before
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)
