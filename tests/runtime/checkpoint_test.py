"""Checkpoints come back bit for bit, with the positions of the loaders."""

import itertools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import assert_same_tree

from datarater.data.loader import train_loader
from datarater.data.sources import Record, source_of
from datarater.data.tokenizers import ByteTokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError
from datarater.runtime.checkpoint import Checkpoints

POSITIONS = {"train": 1}


@flax.struct.dataclass
class State:
  theta: dict
  opt_state: object
  step: jax.Array


def state(seed):
  theta = {"a": jax.random.normal(jax.random.key(seed), (3, 4)), "b": {"c": jnp.float32(1 / 3)}}
  return State(theta, optax.adam(0.1).init(theta), jnp.asarray(seed, jnp.int32))


def test_round_trip_with_structure_and_dtypes(tmp_path):
  positions = {"train": {"next": 5, "nested": [1, {"x": "y"}]}, "outer": None}
  with Checkpoints(tmp_path, 2) as checkpoints:
    assert checkpoints.latest() is None
    checkpoints.save(3, state(3), positions)
  with Checkpoints(tmp_path, 2) as checkpoints:
    assert checkpoints.latest() == 3
    restored, found = checkpoints.restore(3, state(0))
  assert_same_tree(restored, state(3))
  assert found == positions
  # A restored state serves a compiled function that donates it.
  jax.block_until_ready(jax.jit(lambda s: s, donate_argnums=0)(restored))


def test_only_the_newest_are_kept(tmp_path):
  with Checkpoints(tmp_path, 2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, state(step), POSITIONS)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
  with Checkpoints(tmp_path, 2) as checkpoints:
    assert checkpoints.path(3).is_dir()
    for step in (2, 3):
      assert_same_tree(checkpoints.restore(step, state(0))[0], state(step))


def test_a_step_that_is_there_is_kept(tmp_path):
  with Checkpoints(tmp_path, 2) as checkpoints:
    checkpoints.save(1, state(1), {"a": 1})
    checkpoints.save(1, state(2), {"a": 2})
    restored, positions = checkpoints.restore(1, state(0))
  assert_same_tree(restored, state(1))
  assert positions == {"a": 1}


def test_what_a_killed_write_left_is_ignored_and_cleaned_up(tmp_path):
  with Checkpoints(tmp_path, 2) as checkpoints:
    checkpoints.save(1, state(1), POSITIONS)
  left = tmp_path / "2.orbax-checkpoint-tmp"
  (left / "state.orbax-checkpoint-tmp").mkdir(parents=True)
  with Checkpoints(tmp_path, 2) as checkpoints:
    assert checkpoints.latest() == 1
    checkpoints.save(2, state(2), POSITIONS)
    assert_same_tree(checkpoints.restore(2, state(0))[0], state(2))
  assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_another_shape_or_structure_is_refused(tmp_path):
  with Checkpoints(tmp_path, 2) as checkpoints:
    checkpoints.save(1, state(1), POSITIONS)
    other = state(0).replace(theta={"a": jnp.zeros((3, 4))})
    with pytest.raises(InputError, match=r"1' cannot be read: .*start a new run folder") as caught:
      checkpoints.restore(1, other)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_loaders_go_on_where_they_stood(tmp_path):
  records = [Record(f"text number {i} " * (i % 7), str(i), "d") for i in range(40)]
  config = DataConfig(length=16, segments=4, shuffle_window=20)

  def loader():
    return train_loader(source_of(records), ByteTokenizer(), config, rows=3, seed=1)

  first = loader()
  list(itertools.islice(first, 7))
  with Checkpoints(tmp_path, 1) as checkpoints:
    checkpoints.save(7, state(7), {"train": first.get_state()})
  second = loader()
  with Checkpoints(tmp_path, 1) as checkpoints:
    second.set_state(checkpoints.restore(7, state(0))[1]["train"])
  for a, b in zip(itertools.islice(first, 20), itertools.islice(second, 20), strict=True):
    assert_same_tree(jax.tree.map(np.asarray, a), jax.tree.map(np.asarray, b))
  first.close()
  second.close()
