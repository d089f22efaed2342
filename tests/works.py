"""Work on shards for tests of engines, in a module that spawned processes and actors can import."""

import dataclasses
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from datarater.data.formats import Shard
from datarater.errors import InputError
from datarater.runtime.atomic import atomic_file


class PickyError(Exception):
  """Cannot be unpickled: its constructor wants more than its message."""

  def __init__(self, thing: str, number: int):
    super().__init__(f"{thing} {number}")


@dataclasses.dataclass(frozen=True)
class Digest:
  """Writes the sha256 of a shard beside its name; what a name says may happen instead.

  begun: a file there is made for each shard begun, holding the process's number.
  """

  output: Path
  begun: Path | None = None

  def __call__(self, shard: Shard) -> dict[str, Any]:
    if self.begun:
      self.begun.mkdir(parents=True, exist_ok=True)
      (self.begun / f"{shard.name}.{os.getpid()}").touch()
    if "bad" in shard.name:
      raise InputError(f"shard {shard.name!r} is bad; mend it")
    if "picky" in shard.name:
      raise PickyError("shard", 7)
    if "sleep" in shard.name:
      time.sleep(600)
    if "suicide" in shard.name or ("once" in shard.name and self._first(shard)):
      os.kill(os.getpid(), signal.SIGKILL)
    print("a worker's line of its own")
    digest = hashlib.sha256(shard.path.read_bytes()).hexdigest()
    with atomic_file(self.output / f"{shard.name}.sha256") as file:
      file.write(digest.encode())
    return {"bytes": shard.size, "name": {shard.name: 1}}

  def _first(self, shard: Shard) -> bool:
    assert self.begun
    return len(list(self.begun.glob(f"{shard.name}.*"))) == 1


@dataclasses.dataclass(frozen=True)
class Environment:
  """What a worker's process is like."""

  def __call__(self, shard: Shard) -> dict[str, Any]:
    time.sleep(0.5)  # so that one worker does not do everything
    names = ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION", "OMP_NUM_THREADS")
    return {
      "pid": os.getpid(),
      "affinity": len(os.sched_getaffinity(0)),
      **{name: os.environ.get(name) for name in names},
    }


@dataclasses.dataclass
class Unloadable:
  """Pickles; unpickling it in another process fails as a missing rater would."""

  message: str

  def __reduce__(self) -> tuple[Any, ...]:
    return _refuse, (self.message,)

  def __call__(self, shard: Shard) -> dict[str, Any]:
    raise AssertionError("not in the driver")


def _refuse(message: str) -> Unloadable:
  raise InputError(message)
