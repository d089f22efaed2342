"""Several processes as one run: how they find each other, exchange values, and end together."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed as jax_distributed  # its key-value store has no public name yet
from jax.experimental import multihost_utils

from datarater.errors import InputError, require

_FAILURE = "datarater/failure"
"""Key under which the first process that fails says why."""

_LOOK_EVERY = 0.5
"""Seconds between looks for the failure of another process."""

_WAIT_LIMIT = 7 * 24 * 3600 * 1000
"""Milliseconds to wait for the others where one works alone; a failure ends the wait at once."""


@contextlib.contextmanager
def joined(coordinator: str = "", processes: int = 0, process_id: int = -1) -> Iterator[None]:
  """Makes this process one of several, before anything else asks for devices.

  coordinator (`HOST:PORT` of process 0), processes and process_id are found by themselves on TPU
  pods and under Slurm, Open MPI and Kubernetes; elsewhere give all three, the same first two to
  every process. An exception in one process ends all others, each with a line that says so.
  Where another process is lost, this one ends with exit code 1 and says so.
  Raises InputError where they cannot be found or do not fit each other.
  """
  told = (bool(coordinator), processes > 0, process_id >= 0)
  require(
    all(told) or not any(told),
    f"coordinator is {coordinator!r}, processes {processes} and process_id {process_id}; give all "
    "three, or --distributed alone to have them found",
  )
  require(
    not all(told) or process_id < processes,
    f"process_id is {process_id} of {processes} processes; count from 0 to {processes - 1}",
  )
  try:
    if all(told):
      jax.distributed.initialize(coordinator, processes, process_id)
    else:
      jax.distributed.initialize()
  except (ValueError, RuntimeError) as error:
    require(
      "must be called before" not in str(error),
      "JAX has taken this process's devices before the processes of the run could find each other; "
      "compute nothing with JAX where the config file is imported",
    )
    raise InputError(
      f"the processes of the run do not find each other ({_first_line(error)}); give each of them "
      "--coordinator HOST:PORT, --processes and --process-id"
    ) from error
  client = jax_distributed.global_state.client
  ending = threading.Event()
  threading.Thread(target=_watch, args=(client, ending), daemon=True).start()
  try:
    yield
    wait_for_all("done")
  except BaseException as error:
    ending.set()
    lost = isinstance(error, jax.errors.JaxRuntimeError) and _is_loss(error)
    _say(client, error, lost)
    if lost:
      time.sleep(4 * _LOOK_EVERY)  # the others read it from process 0, if that is this one
      _end(
        f"process {jax.process_index()} lost another process of the run ({_first_line(error)}); "
        "start all of them again, the run goes on from its last checkpoint"
      )
    jax.distributed.shutdown()  # all others come there too, so that none waits for us
    raise
  ending.set()
  jax.distributed.shutdown()


def is_first() -> bool:
  """Whether this is process 0, which alone writes and reports."""
  return jax.process_index() == 0


def gather(values: Any) -> list[Any]:
  """JSON values of every process, in their order; all processes call it together."""
  if jax.process_count() == 1:
    return [values]
  here = np.frombuffer(json.dumps(values).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array([here.size])).reshape(-1)
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: here.size] = here
  rows = multihost_utils.process_allgather(padded).reshape(len(sizes), -1)
  return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes, strict=True)]


def wait_for_all(name: str) -> None:
  """Returns when every process is here; `name` is that of the place, used once a run."""
  client = jax_distributed.global_state.client
  if client is not None:
    client.wait_at_barrier(f"datarater/{name}", _WAIT_LIMIT)


def _watch(client: Any, ending: threading.Event) -> None:
  """Ends this process when another says that it failed: it may hang waiting for that one."""
  while not ending.wait(_LOOK_EVERY):
    try:
      failure = json.loads(client.key_value_try_get(_FAILURE))
    except jax.errors.JaxRuntimeError:
      continue  # not there
    if ending.is_set():
      return
    if not failure["lost"]:
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        jax.distributed.shutdown()  # the one that failed waits there
    _end(f"process {failure['process']} failed: {failure['error']}")


def _end(message: str) -> None:
  """Ends this process at once: an orderly end would wait for others that do not answer."""
  print(f"datarater: {message}", file=sys.stderr, flush=True)
  os._exit(1)


def _say(client: Any, error: BaseException, lost: bool) -> None:
  """Tells the others, unless one that failed earlier has told them."""
  told = {
    "process": jax.process_index(),
    "error": _first_line(error) or type(error).__name__,
    "lost": lost,
  }
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    client.key_value_set(_FAILURE, json.dumps(told))


def _first_line(error: BaseException) -> str:
  return str(error).split("\n", 1)[0]


def _is_loss(error: BaseException) -> bool:
  """Whether a collective or a barrier failed because another process is gone."""
  text = str(error)
  return any(sign in text for sign in ("Gloo", "UNAVAILABLE", "Connection", "heartbeat", "NCCL"))
