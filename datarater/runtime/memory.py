"""Memory that a CPU program frees stays with its process, ready for the next step.

XLA's CPU backend asks for its buffers anew at every step, hundreds of megabytes that glibc gives
back to the kernel each time: a tenth to a third of a training step then goes into page faults.
"""

import contextlib
import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Iterator

import psutil

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Options of glibc's mallopt, as its malloc.h numbers them."""

_TUNABLES = "GLIBC_TUNABLES"
_FOR_CHILDREN = {"arena_max": 1, "mmap_max": 0, "trim_threshold": 1 << 40, "hugetlb": 1}
"""The same options by their names there; hugetlb asks for huge pages."""

HUGE_SHARE = 0.5
"""Of the machine's memory: how much of the heap asks for huge pages. Address space, no memory."""


def keep_freed_memory() -> bool:
  """One heap for all threads, never given back, in huge pages; True where the system can do that.

  For programs that own their process, called before the first large allocation. The process then
  stays as large as it ever was.
  """
  if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
    return False
  libc = ctypes.CDLL(None, use_errno=True)
  options = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
  kept = [libc.mallopt(option, value) == 1 for option, value in options]
  _ask_for_huge_pages(libc, int(HUGE_SHARE * psutil.virtual_memory().total))
  return all(kept)


@contextlib.contextmanager
def children_keep_freed_memory() -> Iterator[None]:
  """Processes begun within keep their freed memory from their first instruction on.

  A worker that has imported numpy has threads with heaps of their own: for it,
  `keep_freed_memory` comes too late. Without glibc this changes nothing.
  """
  before = os.environ.get(_TUNABLES)
  mine = ":".join(f"glibc.malloc.{name}={value}" for name, value in _FOR_CHILDREN.items())
  os.environ[_TUNABLES] = f"{before}:{mine}" if before else mine
  try:
    yield
  finally:
    if before is None:
      del os.environ[_TUNABLES]
    else:
      os.environ[_TUNABLES] = before


def _ask_for_huge_pages(libc: ctypes.CDLL, size: int) -> None:
  """Grows the heap by `size` bytes that nobody touches; a kernel that refuses loses only speed."""
  libc.malloc.restype = ctypes.c_void_p
  libc.malloc.argtypes = [ctypes.c_size_t]
  libc.free.argtypes = [ctypes.c_void_p]
  libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
  block = libc.malloc(size)
  if not block:
    return
  start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
  libc.madvise(start, (block + size - start) // mmap.PAGESIZE * mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
  libc.free(block)
