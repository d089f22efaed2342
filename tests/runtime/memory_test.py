"""Freed memory stays with the process, so that its next use costs no page faults."""

import os
import subprocess
import sys

import pytest

from datarater.runtime import memory

FAULTS = """
import resource, sys
import numpy as np
from datarater.runtime import memory

if sys.argv[1] == "other system":
  memory.sys.platform = "darwin"
if sys.argv[1] != "default":
  print(memory.keep_freed_memory())
size = 64 << 20

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  block = np.empty(size, np.uint8)
  block[::4096] = 1
  del block
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def run(kind: str) -> list[str]:
  command = [sys.executable, "-c", FAULTS, kind]
  return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_is_faulted_in_once():
  kept, faults = run("kept")
  assert kept == "True"
  assert int(faults) < 100
  assert int(run("default")[-1]) > 300


@pytest.mark.skipif(sys.platform != "linux", reason="the tunables are glibc's")
def test_children_keep_it_from_the_start(monkeypatch):
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7")
  with memory.children_keep_freed_memory():
    assert int(run("default")[-1]) < 100
  assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=7"
  monkeypatch.delenv("GLIBC_TUNABLES")
  with memory.children_keep_freed_memory():
    assert int(run("default")[-1]) < 100
  assert int(run("default")[-1]) > 300


def test_other_systems_are_left_alone():
  assert run("other system")[0] == "False"
