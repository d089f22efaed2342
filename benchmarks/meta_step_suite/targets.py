"""The targets of the benchmark of the meta-step, held against its runs."""

from collections.abc import Sequence
from typing import Any

from meta_step_suite.runs import (
  DEFAULT,
  HALVES,
  JAX_GRAD,
  MIXED,
  PEERS,
  Run,
  Runs,
  over,
  remat_name,
)


def target(
  name: str, limit: float, measured: float | None, most: bool, **of: Any
) -> dict[str, Any]:
  """A row of the table; met is None where nothing was measured."""
  met = None if measured is None else (measured <= limit if most else measured >= limit)
  sign = "at most" if most else "at least"
  return {"name": name, **of, "target": f"{sign} {limit:.3g}", "measured": measured, "met": met}


def targets(runs: Sequence[Run], model: str, state_bytes: int) -> list[dict[str, Any]]:
  """name, model, T, target, measured and met (None where it was not measured), of one model."""
  return [
    row | {"model": model}
    for part in (_time_targets, _jax_grad_targets, _torch_targets)
    for row in part(Runs(runs, model))
  ] + [row | {"model": model} for row in _growth_targets(Runs(runs, model), state_bytes)]


def _time_targets(runs: Runs) -> list[dict[str, Any]]:
  return [
    target(
      f"meta-step / plain steps, {remat_name(remat)}",
      limit,
      runs.ratio(runs.fastest(2, list(MIXED), remat)),
      True,
      T=2,
    )
    for remat, limit in ((False, 2.4), (True, 3.0))
  ]


def _jax_grad_targets(runs: Runs) -> list[dict[str, Any]]:
  """All of one variant, half batches: few temporaries and the speed at once."""
  found = []
  for remat in (False, True):
    for T, limit in ((2, 0.35), (8, 1 / 6)):
      ours, reference = runs.find(T, HALVES, remat), runs.find(T, JAX_GRAD, remat)
      if ours is None or reference is None:
        continue
      memory = over(ours.temporaries, reference.temporaries)
      name = f"temporaries / those of jax.grad, {remat_name(remat)}"
      found.append(target(name, limit, memory, True, T=T))
      if T == 2:
        name = f"times as fast as jax.grad, {remat_name(remat)}"
        speed = over(reference.seconds, ours.seconds)
        found.append(target(name, 1.7, speed, False, T=T))
  return found


def _growth_targets(runs: Runs, state_bytes: int) -> list[dict[str, Any]]:
  name = "temporaries of a further step / (parameters + optimiser state + a gradient)"
  return [
    target(
      f"{name}, {remat_name(remat)}", 1.2, over(runs.growth(DEFAULT, remat), state_bytes), True
    )
    for remat in (False, True)
  ]


def _torch_targets(runs: Runs) -> list[dict[str, Any]]:
  found = []
  for T, limit in ((2, 1.0), (8, 1.5)):
    peer, fastest = runs.fastest(T, PEERS), runs.fastest(T, list(MIXED))
    leanest = runs.leanest(T, list(MIXED))
    if peer is None or fastest is None or leanest is None:
      continue
    speed = over(peer.seconds, fastest.seconds)
    memory = over(leanest.memory, runs.least_memory(T, PEERS))
    time = over(leanest.seconds, peer.seconds)
    found += [
      target("fastest: times as fast as the faster of PyTorch's", limit, speed, False, T=T),
      target("leanest: memory / that of the leaner of PyTorch's", 1 / 8, memory, True, T=T),
      target("leanest: time / that of the faster of PyTorch's", 1.3, time, True, T=T),
    ]
  differences = [
    run.gradient_difference
    for T in runs.unrolls()
    for peer in PEERS
    if (run := runs.find(T, peer, False)) and run.gradient_difference is not None
  ]
  if differences:
    name = "largest relative difference of PyTorch's gradients"
    found.append(target(name, 1e-4, max(differences), True))
  return found
