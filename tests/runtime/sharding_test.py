"""What is split over which axis, and meshes that the devices cannot fill."""

import types

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from datarater.config import MeshConfig
from datarater.errors import InputError
from datarater.runtime import sharding

MESH = AbstractMesh((2, 4, 2), ("member", "data", "model"), axis_types=(AxisType.Auto,) * 3)


@pytest.mark.parametrize(
  ("name", "shape", "spec"),
  [
    ("query/kernel", (3, 8, 8), P(None, "data", "model")),
    ("mlp_in/kernel", (3, 8, 16), P(None, "data", "model")),
    ("attention_out/kernel", (3, 8, 8), P(None, "model", "data")),
    ("mlp_out/kernel", (16, 8), P("model", "data")),
    ("head/kernel", (8, 1), P("data", None)),
    ("mlp_in/kernel", (6, 16), P(None, "model")),
    ("embedding", (10, 8), P("model", "data")),
    ("embedding", (257, 8), P(None, ("data", "model"))),
    ("embedding", (257, 12), P(None, "data")),
    ("embedding", (257, 6), P(None, None)),
    ("norm/scale", (3, 8), P()),
    ("scale", (8,), P()),
    ("count", (), P()),
  ],
)
def test_how_a_parameter_is_split(name, shape, spec):
  assert sharding.parameter_spec(["model", *name.split("/")], shape, MESH) == spec


def devices(number, processes=1):
  return [types.SimpleNamespace(process_index=i % processes) for i in range(number)]


@pytest.mark.parametrize(
  ("mesh", "number", "processes", "message"),
  [
    ((2, 2, 2), 4, 1, r"mesh is 2 x 2 x 2 .* needs 8 devices, but finds 4 devices: lower mesh"),
    ((1, 2, 1), 1, 1, r"needs 2 devices, but finds 1 device: lower mesh"),
    ((2, 1, 1), 4, 2, r"uses 2 of 4 devices of 2 processes; give a mesh whose product is 4"),
  ],
)
def test_a_mesh_that_the_devices_cannot_fill_is_refused(mesh, number, processes, message):
  with pytest.raises(InputError, match=message):
    sharding.make_mesh(MeshConfig(*mesh), devices(number, processes))


def test_helpers_of_models_do_nothing_without_a_mesh():
  x = jnp.ones((4, 2))
  for helper in (sharding.keep_rows_apart, sharding.gathered):
    assert "sharding_constraint" not in str(jax.make_jaxpr(helper)(x))
    with jax.sharding.use_abstract_mesh(MESH):
      assert "sharding_constraint" in str(jax.make_jaxpr(helper)(x))


def test_rows_that_do_not_divide_are_left_alone():
  with jax.sharding.use_abstract_mesh(MESH):
    program = jax.make_jaxpr(sharding.keep_rows_apart)(jnp.ones((6, 2)))
  assert "sharding_constraint" not in str(program)
