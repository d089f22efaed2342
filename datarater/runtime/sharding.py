"""How arrays lie on many devices: the mesh, and what is split over which of its axes.

    member  the population          data  rows of batches; parameters too (FSDP)
    model   matrix products, as Megatron does: a block's first products by output, its last by input

A matrix has one axis over `model`, the other over `data`, and is gathered over `data` where it is
used. An axis whose size does not divide stays whole. Optimiser states lie as their parameters do.
Sources: Zhao et al. 2023 (FSDP, arXiv 2304.11277), Shoeybi et al. 2019 (Megatron, 1909.08053).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from datarater.config import MeshConfig
from datarater.errors import require
from datarater.types import PyTree

MEMBER, DATA, MODEL = "member", "data", "model"


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
  """The mesh of a config over `devices` (default: all there are, of all processes).

  One process may leave devices over; several must use them all, so that each has its part.
  Raises InputError where the devices are not enough, or not all used by several processes.
  """
  devices = jax.devices() if devices is None else devices
  processes = len({device.process_index for device in devices})
  asked = f"mesh is {config.member} x {config.data} x {config.model} (member x data x model)"
  there = f"{len(devices)} {'device' if len(devices) == 1 else 'devices'}"
  require(
    config.devices <= len(devices),
    f"{asked} and needs {config.devices} devices, but finds {there}: lower mesh.member, mesh.data "
    "or mesh.model, or start it where there are more (on CPU: JAX_NUM_CPU_DEVICES)",
  )
  require(
    processes == 1 or config.devices == len(devices),
    f"{asked} and uses {config.devices} of {there} of {processes} processes; give a mesh whose "
    f"product is {len(devices)}, or start fewer processes",
  )
  shape = (config.member, config.data, config.model)
  chosen = devices[: config.devices]
  return jax.make_mesh(shape, (MEMBER, DATA, MODEL), (AxisType.Auto,) * 3, devices=chosen)


def parameter_spec(path: Sequence[str], shape: Sequence[int], mesh: Mesh) -> P:
  """The split of one parameter, or of what an optimiser keeps for it, by its name and shape.

  path: names from the tree's root, the last ones those of the parameter (`.../query/kernel`).
  Further leading axes (layers) stay whole; so do vectors and scalars.
  """
  if len(shape) < 2:
    return P()
  rows, columns = shape[-2:]
  if path[-1] == "embedding" and rows % mesh.shape[MODEL]:
    # A vocabulary seldom divides: then the width is split over both.
    split = [None, _whole_or((DATA, MODEL), columns, mesh) or _whole_or(DATA, columns, mesh)]
  elif path[-1] == "embedding" or (path[-1] == "kernel" and path[-2].endswith("_out")):
    split = [_whole_or(MODEL, rows, mesh), _whole_or(DATA, columns, mesh)]
  elif path[-1] == "kernel":
    split = [_whole_or(DATA, rows, mesh), _whole_or(MODEL, columns, mesh)]
  else:
    return P()
  return P(*[None] * (len(shape) - 2), *split)


def _whole_or(axes: str | tuple[str, ...], size: int, mesh: Mesh) -> str | tuple[str, ...] | None:
  """`axes`, if `size` divides by their product; else None, which leaves the axis whole."""
  names = (axes,) if isinstance(axes, str) else axes
  return None if size % math.prod(mesh.shape[name] for name in names) else axes


def parameter_shardings(tree: PyTree, mesh: Mesh, by_member: bool = False) -> PyTree:
  """A NamedSharding for each leaf of a tree of parameters or of an optimiser's state.

  tree: arrays or abstract ones. by_member: each leaf leads with P, the axis of the population.
  """
  lead = (MEMBER,) if by_member else ()

  def sharding(path: Any, leaf: Any) -> NamedSharding:
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    return NamedSharding(mesh, P(*lead, *parameter_spec(names, leaf.shape[len(lead) :], mesh)))

  return jax.tree_util.tree_map_with_path(sharding, tree)


def gathered(table_VxW: jax.Array) -> jax.Array:
  """A table to look rows up in, whole on every device.

  Else the compiler looks up parts of each row, and spreads whole activations to put them together.
  Does nothing where no mesh is in context.
  """
  if jax.sharding.get_abstract_mesh().size <= 1:  # 0 where there is none
    return table_VxW
  return jax.lax.with_sharding_constraint(table_VxW, P())


def keep_rows_apart(x_NxW: jax.Array) -> jax.Array:
  """Holds the rows of activations spread over `data`, their features whole.

  So that the compiler gathers the weights, which are split over `data` too, and not the rows.
  Does nothing where no mesh is in context (`jax.sharding.use_abstract_mesh`) or N does not divide.
  """
  shares = jax.sharding.get_abstract_mesh().shape.get(DATA, 1)
  if shares == 1 or x_NxW.shape[0] % shares:
    return x_NxW
  return jax.lax.with_sharding_constraint(x_NxW, P(DATA, *[None] * (x_NxW.ndim - 1)))
