"""What the benchmark of the meta-step found: pure functions on a list of runs.

A run's seconds are the fastest of its rounds: whatever else the machine does only adds to them.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from datarater.models.cost import Residuals

PLAIN, JAX_GRAD, REVERSE = "plain", "jax.grad", "reverse"
DEFAULT, HALVES, KEEP = "mixed, recompute", "mixed, half batches", "mixed, keep"
MIXED: dict[str, Residuals] = {DEFAULT: "recompute", HALVES: "recompute", KEEP: "keep"}
"""Variants of the estimator `mixed`, by what `MetaConfig.residuals` is. Half batches: the default
with a `microbatch` of half the rows. What remat computes again cannot be kept: no such run."""
AUTOGRAD, TORCHOPT = "torch autograd", "torchopt"
PEERS = (AUTOGRAD, TORCHOPT)
"""PyTorch, without remat."""


@dataclasses.dataclass(frozen=True)
class Run:
  """One variant at one T.

  rounds: seconds of each round; none where it was not run. temporaries: bytes, by the compiler.
  memory: bytes by which the process grew at its peak. predicted_ratio: by the operation count.
  flops: of the products in the traced program, with all that it recomputes. gradient_difference:
  relative to `mixed, recompute`. note: why something is missing.
  """

  model: str
  unroll_length: int
  variant: str
  remat: bool
  rounds: tuple[float, ...] = ()
  temporaries: int | None = None
  memory: int | None = None
  predicted_ratio: float | None = None
  flops: int | None = None
  gradient_difference: float | None = None
  note: str = ""

  @property
  def seconds(self) -> float | None:
    """Of the fastest round."""
    return min(self.rounds, default=None)


class Runs:
  """The runs of one model."""

  def __init__(self, runs: Iterable[Run], model: str):
    self._runs = [run for run in runs if run.model == model]

  def find(self, unroll_length: int, variant: str, remat: bool) -> Run | None:
    """A run; None where there was none."""
    wanted = (unroll_length, variant, remat)
    found = (r for r in self._runs if (r.unroll_length, r.variant, r.remat) == wanted)
    return next(found, None)

  def unrolls(self) -> list[int]:
    """Every T, rising."""
    return sorted({run.unroll_length for run in self._runs})

  def ratio(self, run: Run | None) -> float | None:
    """Seconds over those of T plain steps with the same remat in the same rounds."""
    if run is None:
      return None
    plain = self.find(run.unroll_length, PLAIN, run.remat)
    return over(run.seconds, plain and plain.seconds and run.unroll_length * plain.seconds)

  def counted_ratio(self, run: Run | None) -> float | None:
    """What `ratio` would be if the FLOPs of the traced programs decided."""
    if run is None:
      return None
    plain = self.find(run.unroll_length, PLAIN, run.remat)
    return over(run.flops, plain and plain.flops and run.unroll_length * plain.flops)

  def fastest(
    self, unroll_length: int, variants: Sequence[str], remat: bool | None = None
  ) -> Run | None:
    """The fastest of some variants, with any remat or one."""
    return self._least("seconds", unroll_length, variants, remat)

  def leanest(self, unroll_length: int, variants: Sequence[str]) -> Run | None:
    """The one of ours with the fewest temporaries."""
    return self._least("temporaries", unroll_length, variants, None)

  def least_memory(self, unroll_length: int, variants: Sequence[str]) -> int | None:
    """Bytes of the variant that grows the process least."""
    run = self._least("memory", unroll_length, variants, None)
    return run and run.memory

  def _least(self, field, unroll_length, variants, remat) -> Run | None:
    runs = [
      run
      for run in self._runs
      if run.unroll_length == unroll_length
      and run.variant in variants
      and remat in (None, run.remat)
      and getattr(run, field) is not None
    ]
    return min(runs, key=lambda run: getattr(run, field), default=None)

  def growth(self, variant: str, remat: bool) -> float | None:
    """Most bytes of temporaries that a further inner step adds, from T = 2 on.

    A window of one step has no Hessian product: what comes with the second is no growth.
    """
    found = [self.find(T, variant, remat) for T in self.unrolls() if T >= 2]
    points = [(r.unroll_length, r.temporaries) for r in found if r and r.temporaries is not None]
    pairs = itertools.pairwise(points)
    return max(((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs), default=None)


def over(a: float | None, b: float | None) -> float | None:
  """a / b; None where one of them is missing."""
  return None if a is None or not b else a / b


def remat_name(remat: bool) -> str:
  """In words."""
  return "blocks rematerialised" if remat else "no remat"
