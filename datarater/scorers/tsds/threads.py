"""Work on many threads, each with products of its own.

Threads of a BLAS wait by spinning, which is slow beside other work, and only the products are
theirs. So each of ours takes a block from the first product to the last comparison, and the BLAS
gets one thread; that is left to threadpoolctl, which comes with scikit-learn. Without it there is
one thread of ours, and the BLAS is as it was.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

try:
  from threadpoolctl import threadpool_limits
except ImportError:
  threadpool_limits = None

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers() -> int:
  """Threads that `in_threads` uses."""
  if threadpool_limits is None:
    return 1
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
  """function of each, in order."""
  if threadpool_limits is None:
    return [function(item) for item in items]
  with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers()) as pool:
    return list(pool.map(function, items))
