"""Engines: where the work on shards is done, in this process, in several, or on a Ray cluster.

    for shard, stats in engine_of("local", workers=4)(work, shards): ...

Engines decide nothing: what a shard becomes is a function of the shard and of `work` alone, so that
files come out the same whichever engine ran and however many workers it had. Each shard is handed
to one worker at a time; a worker may die with a shard begun, so `work` writes a shard's result
whole or not at all, and does nothing where it is there already.
"""

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datarater.corpus_config import EngineName
from datarater.data.formats import Shard
from datarater.errors import InputError, require

Stats = dict[str, Any]
"""Counts of a shard, plain JSON values."""

Work = Callable[[Shard], Stats]
"""What is done to one shard. It is pickled once, and unpickled once in each worker."""

Engine = Callable[[Work, Sequence[Shard]], Iterator[tuple[Shard, Stats]]]
"""Yields (shard, its stats) as they are done, in any order.

What `work` raises comes out as it was raised, and the rest is stopped. `WorkerDiedError`: a worker
was killed. Closing the iterator early stops the workers.
"""


def engine_of(name: EngineName, workers: int | None = None) -> Engine:
  """The engine that a command line means.

  name: `local`, this machine; `ray`, the cluster that RAY_ADDRESS names, else this machine.
  workers: processes; None: the engine's own choice (local: this process alone; ray: one a GPU, or
    else one a CPU). Raises InputError for what it does not know.
  """
  require(workers is None or workers >= 1, f"workers is {workers}; give 1 or more")
  if name == "local":
    from datarater.curation.engines.local import local_engine

    return local_engine(workers or 1)
  if name == "ray":
    from datarater.curation.engines.ray import ray_engine

    return ray_engine(workers)
  raise InputError(f"engine is {name!r}; give 'local' or 'ray'")


def portable(error: Exception) -> Exception:
  """The error itself where it can travel between processes, else its traceback as RuntimeError."""
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:  # whatever a foreign exception's constructor makes of its own arguments
    return RuntimeError("".join(traceback.format_exception(error)))
  return error
