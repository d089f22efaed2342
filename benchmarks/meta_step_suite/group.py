"""All variants of one model at one T: compiled, weighed, compared and timed in turn."""

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import psutil
from tqdm import tqdm

from meta_step_suite.counts import predicted_ratio
from meta_step_suite.memory import growth_in_a_process
from meta_step_suite.problem import Case, Inner, Program, Start, make_program
from meta_step_suite.runs import DEFAULT, JAX_GRAD, KEEP, MIXED, PLAIN, REVERSE, Run

REVERSE_AT = 2
"""The T at which our reference is measured."""
MEMORY_AT = (2, 8)
"""The T at which a process of ours is measured; PyTorch's is at every T."""
ENOUGH = 0.1
"""Seconds: shorter steps are timed several in a row."""
SHARE = 0.8
"""Of the free memory, the most that a program may need to be run."""

Key = tuple[str, bool]
"""(variant, remat)"""
Way = Callable[[int], object]
"""times -> the ratings' gradient, computed so many times."""


class Group:
  """All variants of one model at one T: compiled, then run in turn."""

  def __init__(
    self, case: Case, start: Start, unroll_length: int, peers: Sequence[str], device: Any
  ):
    self._case, self._start, self._T = case, start, unroll_length
    self._device, self._on_gpu = device, device.platform == "gpu"
    self._inner = Inner(start)
    self._peers: list[Key] = [(peer, False) for peer in peers]
    variants = [PLAIN, *MIXED]
    if unroll_length <= case.reverse_until or unroll_length == case.most:
      variants.append(JAX_GRAD)
    if unroll_length == REVERSE_AT:
      variants.append(REVERSE)
    self._ours: list[Key] = [
      (variant, remat)
      for variant in variants
      for remat in (False, True)
      if (variant, remat) != (KEEP, True)
    ]
    self._notes: dict[Key, str] = {}

  def measure(self, rounds: int, bar: tqdm, work: float) -> list[Run]:
    """The runs; `work` is what the bar moves by."""
    keys = [*self._ours, *self._peers]
    parts = len(self._ours) + 2 * len(self._peers) + rounds * len(keys)

    def done() -> None:
      bar.update(work / parts)

    programs = self._compile(done)
    memory = self._memory(programs, done)
    ways = self._ways(programs, memory)
    gradients, seconds = self._in_turn(ways, rounds, done)
    jax.clear_caches()
    gc.collect()
    return [self._run(key, programs, memory, gradients, seconds) for key in keys]

  def _compile(self, done: Callable[[], None]) -> dict[Key, Program]:
    programs = {}
    for variant, remat in self._ours:
      arguments = (self._case, self._start, self._inner, variant, self._T, remat)
      programs[variant, remat] = make_program(*arguments)
      done()
    return programs

  def _memory(self, programs: dict[Key, Program], done: Callable[[], None]) -> dict[Key, int]:
    """Growth of a process, of PyTorch's variants and of our leanest at some T.

    On a GPU: PyTorch's allocator's peak, and the temporaries of ours.
    """
    if self._on_gpu:
      return {
        **{key: program.temporaries for key, program in programs.items()},
        **{key: self._torch(key[0]).peak_bytes() for key in self._peers},
      }
    found = {}
    mixed = [key for key in programs if key[0] in MIXED]
    leanest = min(mixed, key=lambda key: programs[key].temporaries)
    for key in [*([leanest] if self._T in MEMORY_AT else []), *self._peers]:
      bytes_ = growth_in_a_process(self._case, key[0], self._T, key[1])
      if bytes_ is not None:
        found[key] = bytes_
      done()
    return found

  def _ways(self, programs: dict[Key, Program], memory: dict[Key, int]) -> dict[Key, Way]:
    """What can be run: `times -> result`."""
    ways: dict[Key, Way] = {}
    for key, program in programs.items():
      if key[0] == JAX_GRAD and self._case.reverse_until < self._T:
        self._notes[key] = "compiled only: it would take too long"
      elif program.memory > SHARE * self._free():
        self._notes[key] = f"compiled only: it needs {program.memory / 1e9:.1f} GB"
      else:
        ways[key] = program.run
    for key in self._peers:
      if not self._on_gpu and sys.platform == "linux" and key not in memory:
        self._notes[key] = "it did not get to the end in a process of its own"
        continue
      ways[key] = self._torch(key[0]).run
    return ways

  def _torch(self, variant: str):
    from meta_step_suite.torch_peer import TorchMetaGradient

    device = "cuda" if self._on_gpu else "cpu"
    return TorchMetaGradient(self._case, self._start, variant, self._T, device)

  def _free(self) -> float:
    if self._on_gpu:
      stats = self._device.memory_stats()
      return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available

  def _in_turn(self, ways: dict[Key, Way], rounds: int, done: Callable[[], None]):
    """(gradients from the start, seconds of each round)

    Before what is timed comes a call that is not, as in training a step comes before the step: it
    finds its memory again, which the other variants have used or the system taken back.
    """
    gradients: dict[Key, np.ndarray] = {}
    seconds: dict[Key, list[float]] = {key: [] for key in ways}
    for _ in range(rounds):
      for key, way in ways.items():
        if key not in gradients:
          self._inner.reset()
        begin = time.perf_counter()
        gradient = np.asarray(way(1))
        times = max(1, math.ceil(ENOUGH / (time.perf_counter() - begin)))
        gradients.setdefault(key, gradient)
        begin = time.perf_counter()
        way(times)
        seconds[key].append((time.perf_counter() - begin) / times)
        done()
    return gradients, seconds

  def _run(self, key: Key, programs, memory, gradients, seconds) -> Run:
    variant, remat = key
    program, case = programs.get(key), self._case
    predicted = difference = None
    if variant in MIXED:
      sizes = (case.with_remat(remat), case.vocab_size, case.length)
      predicted = predicted_ratio(*sizes, self._T, MIXED[variant])
    reference = gradients.get((DEFAULT, False), gradients.get((DEFAULT, True)))
    if variant != PLAIN and key in gradients and reference is not None:
      gap = np.linalg.norm(gradients[key] - reference)
      difference = float(gap / np.linalg.norm(reference))
    return Run(
      model=case.name,
      unroll_length=self._T,
      variant=variant,
      remat=remat,
      rounds=tuple(seconds.get(key, ())),
      temporaries=program and program.temporaries,
      memory=memory.get(key),
      predicted_ratio=predicted,
      flops=program and program.flops,
      gradient_difference=difference,
      note=self._notes.get(key, ""),
    )
