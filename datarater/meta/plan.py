"""A run on paper: the meta-step compiled ahead of time for virtual devices, nothing allocated."""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from datarater.config import MetaTrainConfig
from datarater.data.tokenizers import load_tokenizer
from datarater.errors import InputError
from datarater.meta import placement, trainer
from datarater.meta.workload import (
  Assumptions,
  inner_parameters,
  meta_step_flops,
  rater_parameters,
  workload,
)
from datarater.models.traced_cost import product_flops
from datarater.runtime.sharding import make_mesh
from datarater.types import FrozenMetaState, PyTree

UNTUNED = {"xla_backend_optimization_level": 0}
"""Compiles in half the time: the machine code is slow, and takes the same memory."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a run needs.

  mesh: devices by axis. parameters: of `rater` and `inner`, one of it. vocab_size: separator
  included. meta_step_flops: of all devices, without recomputation (`models.cost`).
  traced_flops: the same counted in the traced program, recomputation included.
  compiler_flops: what XLA says of one device, None where it does not; it counts a loop's body once.
  memory: bytes a device by part, `temporaries` by the compiler and `sum` included.
  compile_seconds: of tracing and compiling here. flops, days: by task (`workload`).
  """

  name: str
  devices: int
  mesh: Mapping[str, int]
  vocab_size: int
  parameters: Mapping[str, int]
  meta_step_flops: float
  traced_flops: float
  compiler_flops: float | None
  memory: Mapping[str, int]
  compile_seconds: float
  flops: Mapping[str, float]
  days: Mapping[str, float]
  assumptions: Assumptions


def make_plan(config: MetaTrainConfig, assumptions: Assumptions | None = None) -> Plan:
  """Compiles the meta-step of a config for the devices of its mesh, and reckons.

  Raises InputError where there are fewer CPU devices: see `start_virtual_devices`.
  """
  assumptions = assumptions or Assumptions()
  vocab_size = vocabulary(config, assumptions.vocab_size)
  mesh = make_mesh(config.mesh, jax.devices("cpu"))
  start = time.perf_counter()
  placed = placement.place(config, *trainer.build(config, vocab_size), mesh)
  traced = placed.step.trace(placed.state, placed.inner, placed.outer)
  compiled = traced.lower().compile(UNTUNED)
  seconds = time.perf_counter() - start
  flops = workload(config, vocab_size, assumptions)
  analysis = compiled.cost_analysis() or {}
  return Plan(
    name=config.name,
    devices=config.mesh.devices,
    mesh=dataclasses.asdict(config.mesh),
    vocab_size=vocab_size,
    parameters={
      "rater": rater_parameters(config, vocab_size),
      "inner": inner_parameters(config, vocab_size),
    },
    meta_step_flops=float(meta_step_flops(config, vocab_size)),
    traced_flops=float(product_flops(traced.jaxpr.jaxpr)),
    compiler_flops=analysis.get("flops"),
    memory=memory_by_part(placed, compiled.memory_analysis()),
    compile_seconds=seconds,
    flops=flops,
    days={task: assumptions.days(count, config.mesh.devices) for task, count in flops.items()},
    assumptions=assumptions,
  )


def vocabulary(config: MetaTrainConfig, tokens: int) -> int:
  """Of the config's tokenizer; `tokens` and the separator where its file is not there."""
  tokenizer = config.data.tokenizer
  if tokenizer.kind != "bytes" and not Path(tokenizer.path).expanduser().is_file():
    return tokens + 1
  return load_tokenizer(tokenizer).vocab_size


def start_virtual_devices(count: int) -> None:
  """Makes jax run on at least `count` CPU devices; none of them costs memory.

  Raises InputError where it is too late for that: jax has started in this process.
  """
  try:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
  except RuntimeError as error:  # too late to change, unless there are enough
    there = len(jax.devices("cpu"))
    if there < count:
      raise InputError(
        f"jax has started with {there} of {count} devices; plan in a new process, or start this "
        f"one with JAX_NUM_CPU_DEVICES={count}"
      ) from error


def memory_by_part(placed: placement.Placed, compiled: Any) -> dict[str, int]:
  """Bytes a device: what the state and the batches take, and the compiler's temporaries."""
  state = placed.state
  parts = {
    "rater": bytes_a_device(state.eta),
    "rater's moments": bytes_a_device(state.moments),
    "inner parameters": bytes_a_device(state.members.theta),
    "inner optimiser": bytes_a_device(state.members.opt_state),
    "batches": bytes_a_device((placed.inner, placed.outer)),
    "temporaries": compiled.temp_size_in_bytes,
  }
  if isinstance(state, FrozenMetaState):
    parts["frozen models"] = bytes_a_device(state.frozen)
  # Results that take the place of no argument: the metrics, and what of the state is not donated.
  parts["results"] = compiled.output_size_in_bytes - compiled.alias_size_in_bytes
  return parts | {"sum": sum(parts.values())}


def bytes_a_device(tree: PyTree) -> int:
  """Bytes that abstract arrays with shardings take on one device of their mesh."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
