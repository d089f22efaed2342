"""Does jobs once each, what they need first, several at a time; stopped, it goes on where it was.

On CPUs a worker is a process that keeps to one core: two small models beside each other are faster
than one after the other on both. On an accelerator there is one worker. `slurm` sends each job to
a cluster through submitit.
"""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import jax
from tqdm import tqdm

from datarater.errors import InputError, WorkerDiedError, require
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.memory import children_keep_freed_memory
from experiments.jobs import Job, digest

Engine = Literal["local", "slurm"]


@dataclasses.dataclass(frozen=True)
class SlurmConfig:
  """What a job asks of a cluster.

  Args:
    minutes: Time limit of a job.
    gpus: A job.
    cpus: A job.
    memory_gb: A job.
    partition: Empty: the cluster's default.
  """

  minutes: int = 240
  gpus: int = 1
  cpus: int = 8
  memory_gb: int = 64
  partition: str = ""


USUAL_CLUSTER = SlurmConfig()
TERA = 1e12
SECONDS = "seconds.json"
_POLL_SECONDS = 0.2
_MOST_ON_A_CLUSTER = 64


class TimeUpError(InputError):
  """The minutes that were given are over."""


class Handle(Protocol):
  """A job under way, as `concurrent.futures` and `submitit` both have it."""

  def done(self) -> bool: ...

  def result(self) -> Any: ...


class Pool(Protocol):
  """Where jobs are run."""

  def submit(self, function: Any, /, *arguments: Any) -> Handle: ...


def run_jobs(
  jobs: Sequence[Job],
  root: Path,
  workers: int = 0,
  engine: Engine = "local",
  minutes: float = 0,
  on_done: Callable[[str], None] = lambda key: None,
  slurm: SlurmConfig = USUAL_CLUSTER,
  overall: tqdm | None = None,
) -> None:
  """Runs what is not done yet of `jobs` and of all that they need.

  workers: 0 for as many as suit the device. minutes: begin no further job after so many, 0: never
  stop; the rest is for the next call. on_done: called with the digest of each job that is done.
  slurm: of that engine. overall: a `progress_bar` of more than these jobs; None: one of their own.
  Where a job fails the others go on; then InputError names those that failed.
  """
  waiting = unfinished(jobs, root)
  if not waiting:
    return
  failed: dict[str, BaseException] = {}
  stop = time.monotonic() + 60 * minutes if minutes else float("inf")
  own = contextlib.nullcontext(overall) if overall is not None else progress_bar(waiting.values())
  with own as bar, _pool(root, workers, engine, slurm) as (pool, capacity):
    running: dict[str, tuple[Job, Handle]] = {}
    while True:
      for key in _ready(waiting, root)[: capacity - len(running)]:
        if time.monotonic() < stop:
          job = waiting.pop(key)
          running[key] = job, pool.submit(_run, job, root)
      if not running:
        break
      for key in [key for key, (_, handle) in running.items() if handle.done()]:
        job, handle = running.pop(key)
        bar.update(min(job.flops / TERA, bar.total - bar.n))
        if _succeeded(job, handle, failed):
          on_done(key)
      bar.set_postfix_str(", ".join(job.name for job, _ in running.values())[:60])
      time.sleep(_POLL_SECONDS)
  causes = "; ".join(f"{name}: {error}" for name, error in failed.items())
  require(not failed, f"{len(failed)} jobs failed, the rest is kept: {causes}")
  if waiting:
    raise TimeUpError(f"{len(waiting)} jobs are left after {minutes:g} minutes; run it again")


def progress_bar(jobs: Iterable[Job]) -> tqdm:
  """A bar of the operations that jobs take, by which it tells the time that is left."""
  jobs = list(jobs)
  form = "{l_bar}{bar}| {n:.3g}/{total:.3g} TFLOP [{elapsed}<{remaining}{postfix}]"
  total = sum(job.flops for job in jobs) / TERA
  return tqdm(total=total, desc=f"{len(jobs)} jobs", bar_format=form)


def unfinished(jobs: Sequence[Job], root: Path) -> dict[str, Job]:
  """Digest → job, of those that are to do, each once, what it needs before it."""
  found: dict[str, Job] = {}

  def add(job: Job) -> None:
    if digest(job) in found or job.is_done(root):
      return
    for needed in job.needs:
      add(needed)
    found[digest(job)] = job

  for job in jobs:
    add(job)
  return found


def _ready(waiting: dict[str, Job], root: Path) -> list[str]:
  """Those that could begin now."""
  return [key for key, job in waiting.items() if all(n.is_done(root) for n in job.needs)]


def _succeeded(job: Job, handle: Handle, failed: dict[str, BaseException]) -> bool:
  try:
    handle.result()
    return True
  except concurrent.futures.process.BrokenProcessPool as error:
    raise WorkerDiedError(
      "a worker died, for want of memory perhaps; run it again with fewer --workers"
    ) from error
  except Exception as error:
    failed[job.name] = error
    return False


def _run(job: Job, root: Path) -> None:
  if not job.is_done(root):
    clock = time.perf_counter()
    job.run(root)
    write_json(job.folder(root) / SECONDS, {"seconds": time.perf_counter() - clock})


def seconds_of(jobs: Iterable[Job], root: Path) -> dict[str, float]:
  """Folder below root → seconds that a job took from its last start, with what `jobs` need."""
  found: dict[str, float] = {}
  for job in jobs:
    path = job.folder(root) / SECONDS
    name = job.folder(root).relative_to(root).as_posix()
    if name not in found and path.is_file():
      found[name] = round(read_json(path, "seconds")["seconds"], 1)
      found |= seconds_of(job.needs, root)
  return found


def workers_for(workers: int) -> int:
  """As many as asked for; 0: one a core of a CPU, one for an accelerator."""
  return workers or (len(_cores()) if _on_cpu() and _cores() else 1)


def _cores() -> list[int]:
  return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class _Here:
  """One job at a time, in this process, which holds the accelerator."""

  def submit(self, function: Any, /, *arguments: Any) -> Handle:
    future: concurrent.futures.Future = concurrent.futures.Future()
    try:
      future.set_result(function(*arguments))
    except Exception as error:
      future.set_exception(error)
    return future


@contextlib.contextmanager
def _pool(
  root: Path, workers: int, engine: Engine, slurm: SlurmConfig
) -> Iterator[tuple[Pool, int]]:
  """(where jobs are run, how many at a time)."""
  if engine == "slurm":
    yield _slurm(root, slurm), _MOST_ON_A_CLUSTER
    return
  cores, workers = _cores(), workers_for(workers)
  if workers == 1:
    yield _Here(), 1
    return
  context = multiprocessing.get_context("spawn")
  pool = concurrent.futures.ProcessPoolExecutor(
    workers, context, _begin, (context.Value("i", 0), cores)
  )
  try:
    with children_keep_freed_memory():  # the pool begins them as jobs come
      yield pool, workers
  except BaseException:
    for process in list(pool._processes.values()):
      process.terminate()  # a job resumes from its last checkpoint
    raise
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def _begin(taken: Any, cores: list[int]) -> None:
  """Settles a worker in: its end with its parent's, its core, where we may choose."""
  threading.Thread(target=_die_with_parent, daemon=True).start()
  if cores:
    with taken.get_lock():
      mine = cores[taken.value % len(cores)]
      taken.value += 1
    os.sched_setaffinity(0, {mine})


def _die_with_parent() -> None:
  """A worker whose parent was killed would go on for hours, and hold its run folders."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


def _on_cpu() -> bool:
  return jax.default_backend() == "cpu"


def _slurm(root: Path, config: SlurmConfig) -> Pool:
  try:
    import submitit
  except ImportError as error:
    raise InputError(
      "engine 'slurm' needs the package submitit; install the extra: "
      "pip install 'datarater[experiments]'"
    ) from error
  executor = submitit.AutoExecutor(folder=root / "slurm")
  executor.update_parameters(
    timeout_min=config.minutes,
    gpus_per_node=config.gpus,
    cpus_per_task=config.cpus,
    mem_gb=config.memory_gb,
    **({"slurm_partition": config.partition} if config.partition else {}),
  )
  return executor
