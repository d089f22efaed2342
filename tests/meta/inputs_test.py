"""Each member reads rows of its own, and goes on with them where it stood."""

import dataclasses

import jax
import numpy as np
from problems import assert_same_tree, tiny_run

from datarater.meta.inputs import MetaInputs, stream_seed
from datarater.runtime.sharding import make_mesh

CONFIG = tiny_run()
MESH = make_mesh(CONFIG.mesh)


def on_host(batches):
  return jax.tree.map(np.asarray, batches)


def test_shapes_and_that_members_read_different_rows():
  inputs = MetaInputs(CONFIG, MESH)
  inner, outer = on_host(inputs.next())
  inputs.close()
  meta, data = CONFIG.meta, CONFIG.data
  lead = (meta.population, meta.unroll_length, meta.inner_batch)
  assert inner.tokens_BxL.shape == (*lead, data.length)
  assert inner.domain_BxS.shape == (*lead, data.segments)
  assert outer.tokens_BxL.shape == (meta.population, meta.outer_batch, data.length)
  for batch in (inner, outer):
    assert not np.array_equal(batch.tokens_BxL[0], batch.tokens_BxL[1])
  assert not np.array_equal(inner.tokens_BxL[0, 0], inner.tokens_BxL[0, 1])


def test_streams_have_seeds_of_their_own():
  seeds = {
    stream_seed(seed, stream, member) for seed in (0, 1) for stream in (1, 2) for member in (0, 1)
  }
  assert len(seeds) == 8


def test_another_seed_gives_other_rows():
  batches = []
  for seed in (0, 0, 1):
    inputs = MetaInputs(dataclasses.replace(CONFIG, seed=seed), MESH)
    batches.append(on_host(inputs.next()))
    inputs.close()
  assert_same_tree(batches[0], batches[1])
  assert not np.array_equal(batches[0][0].tokens_BxL, batches[2][0].tokens_BxL)


def test_inputs_go_on_where_they_stood():
  first = MetaInputs(CONFIG, MESH)
  for _ in range(3):
    first.next()
  position = first.position()
  second = MetaInputs(CONFIG, MESH)
  second.restore(position)
  for _ in range(4):
    assert_same_tree(on_host(first.next()), on_host(second.next()))
  assert first.position() == second.position() != position
  first.close()
  second.close()
