"""The meta-step on a mesh of devices: where its state, its batches and its metrics lie."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from datarater.config import MetaTrainConfig
from datarater.meta.step import MetaStepFn
from datarater.runtime.sharding import DATA, MEMBER, parameter_shardings
from datarater.types import Batch, MetaState, PyTree


@dataclasses.dataclass(frozen=True)
class Placed:
  """A run's compiled functions on a mesh, and the shapes, dtypes and shardings that they take.

  init: () -> MetaState. step: (state, inner PxTxB, outer PxB) -> (state, metrics); donates the
  state, and gives every device all metrics. state, inner, outer: trees of ShapeDtypeStruct, so that
  `step.lower(state, inner, outer).compile()` compiles ahead of time and allocates nothing.
  """

  mesh: Mesh
  init: Any
  step: Any
  state: MetaState
  inner: Batch
  outer: Batch


def place(
  config: MetaTrainConfig, init: Callable[[], MetaState], step: MetaStepFn, mesh: Mesh
) -> Placed:
  """Lays the pure functions of `trainer.build` out on a mesh, as `runtime.sharding` says."""
  shapes = jax.eval_shape(init)
  shardings = state_shardings(shapes, mesh)
  inner, outer = batches(config, mesh)
  whole = NamedSharding(mesh, P())

  def in_mesh(function: Callable) -> Callable:
    def traced(*arguments):
      with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return function(*arguments)

    return traced

  return Placed(
    mesh=mesh,
    init=jax.jit(in_mesh(init), out_shardings=shardings),
    step=jax.jit(
      in_mesh(step),
      donate_argnums=0,
      in_shardings=(shardings, *jax.tree.map(lambda x: x.sharding, (inner, outer))),
      out_shardings=(shardings, whole),
    ),
    state=jax.tree.map(_abstract, shapes, shardings),
    inner=inner,
    outer=outer,
  )


def state_shardings(state: MetaState, mesh: Mesh) -> MetaState:
  """A NamedSharding for each leaf of a state: the rater's own, its moments by member, members."""
  split = parameter_shardings(state, mesh)
  members, moments = (
    parameter_shardings(x, mesh, by_member=True) for x in (state.members, state.moments)
  )
  return split.replace(members=members, moments=moments)


def batches(config: MetaTrainConfig, mesh: Mesh) -> tuple[Batch, Batch]:
  """(inner PxTxB, outer PxB) of a meta-step, abstract: members apart, rows over `data`."""
  meta, data = config.meta, config.data

  def batch(lead: tuple[int, ...], spec: P) -> Batch:
    def field(size: int) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct((*lead, size), np.int32, sharding=NamedSharding(mesh, spec))

    by_token, by_segment = field(data.length), field(data.segments)
    return Batch(by_token, by_token, by_token, by_segment, by_segment, by_segment)

  return (
    batch((meta.population, meta.unroll_length, meta.inner_batch), P(MEMBER, None, DATA)),
    batch((meta.population, meta.outer_batch), P(MEMBER, DATA)),
  )


def on_host(
  tree: PyTree, mesh: Mesh, part: Callable[[PyTree], PyTree] = lambda tree: tree
) -> PyTree:
  """A tree that is spread over the mesh, or part of it, as numpy arrays in every process; all take
  part.
  """
  whole = jax.jit(part, out_shardings=NamedSharding(mesh, P()))(tree)
  return jax.tree.map(np.asarray, whole)


def spread(tree: PyTree, like: PyTree) -> PyTree:
  """The inverse: numpy arrays, the same in every process, laid out as the abstract `like`."""

  def placed(x: np.ndarray, abstract: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.make_array_from_callback(abstract.shape, abstract.sharding, lambda i: x[i])

  return jax.tree.map(placed, tree, like)


def _abstract(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
