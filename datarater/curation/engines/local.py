"""This machine: the work in this process, or in several, on whichever devices there are.

Workers are spawned, never forked: JAX must not be forked once it has started. On a machine with
several GPUs each worker sees one of them. On CPU neither threads nor affinity are touched.
"""

import contextlib
import glob
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from datarater.curation.engines import Engine, Stats, Work, portable
from datarater.data.formats import Shard
from datarater.errors import WorkerDiedError

SHARED_GPU_MEMORY = 0.9
"""Of a GPU's memory, for all the workers on it together. By itself each would take three quarters.
"""

_work: Work | None = None
_trouble: Exception | None = None


def local_engine(workers: int = 1) -> Engine:
  """An `Engine` of this process (1 worker; lazy, a shard at a time) or of spawned processes."""

  def run(work: Work, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Stats]]:
    number = min(workers, len(shards))
    if number <= 1:
      return ((shard, work(shard)) for shard in shards)
    return _run_pool(work, shards, number)

  return run


def _run_pool(work: Work, shards: Sequence[Shard], workers: int) -> Iterator[tuple[Shard, Stats]]:
  context = multiprocessing.get_context("spawn")
  # Nothing is ever written to the pipe: it closes when this process stops the work, or dies.
  alive, closing = context.Pipe(duplex=False)
  pickled = pickle.dumps(work)
  settings = (pickled, alive, context.Value("i", 0), workers, visible_gpus())
  pool = ProcessPoolExecutor(workers, context, _begin, settings)
  try:
    futures = _submit_all(pool, shards, needs_main=b"__main__" in pickled)
    for future in as_completed(futures):
      shard = futures.pop(future)  # else all results would stay in memory
      yield shard, future.result()
    pool.shutdown()
  except BrokenProcessPool as error:
    raise WorkerDiedError(
      "a worker process died, killed by the system (out of memory?) or by hand; "
      "start the same command again, with fewer workers if memory was short"
    ) from error
  finally:
    closing.close()
    pool.shutdown(cancel_futures=True)
    alive.close()


def _submit_all(
  pool: ProcessPoolExecutor, shards: Sequence[Shard], needs_main: bool
) -> dict[Future[Stats], Shard]:
  """Hands out all shards; the pool starts its processes here."""
  hidden = contextlib.nullcontext() if needs_main else _main_hidden()
  # Workers inherit the mask: Ctrl-C is this process's to answer, they stop when it says so.
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    with hidden:
      return {pool.submit(_do, shard): shard for shard in shards}
  except OSError as error:
    if str(error) != "handle is closed":
      raise
    # A worker that died while others were being begun has closed the pool's pipes under us.
    raise BrokenProcessPool("a worker died before all had begun") from error
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
  """Spawned processes import the script that runs here, unless it seems to have no file.

  A script without a `__name__` guard would then run again in each of them, and one that came from
  standard input cannot be found. Work that comes from modules needs none of it.
  """
  main = sys.modules["__main__"]
  sys.modules["__main__"] = types.ModuleType("__main__")
  try:
    yield
  finally:
    sys.modules["__main__"] = main


def _begin(
  pickled: bytes, alive: Connection, counter: Any, workers: int, gpus: Sequence[str]
) -> None:
  """Runs first in every worker. An exception here would be lost: it is kept for the first shard."""
  global _work, _trouble
  threading.Thread(target=_die_with_driver, args=(alive,), daemon=True).start()
  with counter.get_lock():
    number, counter.value = counter.value, counter.value + 1
  os.environ.update(gpu_environment(number, workers, gpus))
  try:
    _work = pickle.loads(pickled)
  except Exception as error:
    _trouble = error


def _die_with_driver(alive: Connection) -> None:
  # Not os.getppid in a loop: this returns at once, and on every system.
  with contextlib.suppress(OSError):
    alive.poll(None)
  os._exit(1)


def _do(shard: Shard) -> Stats:
  try:
    if _trouble:
      raise _trouble
    assert _work is not None
    return _work(shard)
  except Exception as error:
    raise portable(error) from None


def visible_gpus() -> list[str]:
  """Names of the GPUs that CUDA would show to this process, found without starting JAX."""
  if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
    return []
  visible = os.environ.get("CUDA_VISIBLE_DEVICES")
  if visible is None:
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]
  return [name for name in visible.split(",") if name.strip() not in ("", "-1")]


def gpu_environment(number: int, workers: int, gpus: Sequence[str]) -> dict[str, str]:
  """What the environment of worker `number` must say before JAX starts in it."""
  if not gpus:
    return {}
  environment = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
  sharing = -(-workers // len(gpus))
  if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
    environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{SHARED_GPU_MEMORY / sharing:.3f}"
  return environment
