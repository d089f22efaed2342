"""Bytes by which a process grows while one meta-gradient is computed, ours and PyTorch's alike.

Run as a process of its own by `meta_step.py`: what a step needs at its peak, compilation and
imports aside. Linux only: /proc tells the peak since it was last cleared.
"""

import ctypes
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datarater.config import ModelConfig
from meta_step_suite.problem import Case, Inner, make_program, make_start
from meta_step_suite.runs import PEERS

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Tensors get pages of their own and return them at once: no freed memory is used again unseen."""
WARM_UNROLL = 1


def growth_in_a_process(case: Case, variant: str, unroll_length: int, remat: bool) -> int | None:
  """Bytes; None where the process did not get to the end or the system cannot tell."""
  if sys.platform != "linux":
    return None
  job = {"case": dataclasses.asdict(case), "run": [variant, unroll_length, remat]}
  done = subprocess.run(
    [sys.executable, "-m", __name__, json.dumps(job)],
    cwd=Path(__file__).parents[1],
    capture_output=True,
    text=True,
    env=os.environ | ALLOCATOR | {"JAX_PLATFORMS": "cpu"},
  )
  if done.returncode != 0:
    print(done.stderr[-2000:], file=sys.stderr)
    return None
  return int(done.stdout.splitlines()[-1])


def growth(call: Callable[[], Any]) -> int:
  """Bytes between the resident memory before a call and the peak during it."""
  ctypes.CDLL(None).malloc_trim(0)
  Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far: proc(5)
  before = _status("VmRSS")
  call()
  return _status("VmHWM") - before


def _status(field: str) -> int:
  found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
  assert found is not None, field
  return 1024 * int(found[1])


def _child(job: str) -> None:
  values = json.loads(job)
  model = ModelConfig(**values["case"].pop("model"))
  case = Case(model=model, **values["case"])
  variant, unroll_length, remat = values["run"]
  start = make_start(case, warm_steps=0)
  # Both run once before it counts: threads and kernels' own buffers are there then.
  if variant in PEERS:
    from meta_step_suite.torch_peer import TorchMetaGradient, prepare

    prepare("cpu")
    TorchMetaGradient(case, start, variant, WARM_UNROLL).run()
    run = TorchMetaGradient(case, start, variant, unroll_length).run
  else:
    run = make_program(case, start, Inner(start), variant, unroll_length, remat).run
    run()
  print(growth(run))


if __name__ == "__main__":
  _child(sys.argv[1])
