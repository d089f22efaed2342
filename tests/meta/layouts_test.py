"""Three meta-steps on eight devices give the numbers of one device, in every layout of the mesh.

A process of its own has the eight virtual devices: `python layouts_test.py` prints what the tests
here check. Both Adams have a large epsilon: at its default Adam is nearly scale-free, and makes as
much of a gradient that is rounding alone as of any other.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from problems import LENGTH, QUICK, SEGMENTS, VOCAB, random_batch, stacked, tree_distance

from datarater.config import (
  MeshConfig,
  MetaConfig,
  MetaTrainConfig,
  ModelConfig,
  OptimizerConfig,
)
from datarater.data_config import DataConfig
from datarater.meta import placement, trainer
from datarater.runtime.sharding import make_mesh
from datarater.types import Batch, FrozenMetaState, MetaState
from datarater.variant_config import FrozenConfig, LoraConfig

DEVICES, STEPS = 8, 3
LAYOUTS = [
  (member, data, DEVICES // member // data)
  for member in (1, 2, 4, 8)
  for data in (1, 2, 4, 8)
  if member * data <= DEVICES
]
VARIANT_LAYOUT = (2, 2, 2)
MODEL = ModelConfig(width=16, layers=2, heads=2, mlp_width=32)
CONFIG = MetaTrainConfig(
  data=DataConfig(datapoint="document", length=LENGTH, segments=SEGMENTS),
  rater=MODEL,
  inner=MODEL,
  inner_optimizer=OptimizerConfig(name="adamw", learning_rate=0.1, eps=1e-2, weight_decay=1e-2),
  meta=MetaConfig(
    population=8,
    unroll_length=2,
    lifetime=5,  # some members start anew within the three steps, others do not
    inner_batch=8,
    outer_batch=8,
    learning_rate=0.1,
    warmup_steps=2,
    clip_norm=1e-3,
    eps=1e-3,
  ),
)

SOME_RUN = FrozenConfig(run="some run")
VARIANTS = {
  "token": {"data": dataclasses.replace(CONFIG.data, datapoint="token")},
  "online on adapters": {
    "rater_kind": "online",
    "rater_reference": SOME_RUN,
    "lora": LoraConfig(rank=2, base=SOME_RUN),
    "meta": CONFIG.meta,  # no microbatch
  },
}


def batches(seed: int) -> tuple[Batch, Batch]:
  """(inner PxTxB, outer PxB)."""
  meta = CONFIG.meta
  seeds = iter(range(100 * seed, 100 * seed + 100))
  inner = [
    stacked([random_batch(next(seeds), meta.inner_batch) for _ in range(meta.unroll_length)])
    for _ in range(meta.population)
  ]
  outer = [random_batch(next(seeds), meta.outer_batch) for _ in range(meta.population)]
  return stacked(inner), stacked(outer)


class Run:
  """Three meta-steps on a mesh; what a test looks at is read when they are done."""

  def __init__(self, layout: tuple[int, int, int], initial: MetaState, **changes):
    # Blocks are recomputed in some, and rows taken in parts: that changes nothing either.
    model = dataclasses.replace(MODEL, remat=layout[1] > 1)
    meta = dataclasses.replace(CONFIG.meta, microbatch=4 if layout[1] in (2, 4) else 0)
    config = dataclasses.replace(
      CONFIG,
      mesh=MeshConfig(*layout),
      inner=model,
      rater=model,
      meta=meta,
    )
    config = dataclasses.replace(config, **changes)
    mesh: Mesh = make_mesh(config.mesh)
    placed = placement.place(config, *trainer.build(config, VOCAB), mesh)
    step = placed.step.lower(placed.state, placed.inner, placed.outer).compile(QUICK)
    state = jax.device_put(initial, jax.tree.map(lambda x: x.sharding, placed.state))
    shardings = jax.tree.map(lambda x: x.sharding, (placed.inner, placed.outer))
    losses = []
    for seed in range(STEPS):
      state, metrics = step(state, *jax.device_put(batches(seed), shardings))
      losses.append(np.asarray(metrics["outer_loss"]))
    self.program = step.as_text()
    self.state = state
    self.numbers = {
      "outer_loss": losses,
      "ratings": np.asarray(metrics["ratings"]),
      "movement of eta": jax.tree.map(lambda a, b: np.asarray(a - b), state.eta, initial.eta),
      "theta": jax.tree.map(np.asarray, state.members.theta),
      "generation": np.asarray(state.members.generation),
    }

  def shares(self) -> dict[str, float]:
    """What part of a parameter, and of what Adam keeps for it, lies on each device."""
    kernel = ("transformer", "blocks", "mlp_in", "kernel")
    trees = {
      "eta": self.state.eta,
      "moments": optimizer_copy(self.state.moments),
      "theta": self.state.members.theta,
      "opt_state": optimizer_copy(self.state.members.opt_state),
    }
    shares = {}
    for name, tree in trees.items():
      for key in kernel:
        tree = tree[key]
      sizes = {shard.data.size for shard in tree.addressable_shards}
      assert len(sizes) == 1
      shares[name] = sizes.pop() / tree.size
    return shares

  def collectives_in_loops(self) -> int:
    """How many stand in the program anywhere but at its outermost level."""
    loops = self.program[: self.program.index("\nENTRY")]
    names = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    return len(re.findall(rf" ({names})(-start)?\(", loops))


def optimizer_copy(state):
  """The tree of second moments of an Adam."""
  return jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "nu"))[0].nu


def initial_of(config: MetaTrainConfig) -> MetaState:
  """The initial state, with frozen models that are random."""
  state = jax.jit(trainer.build(config, VOCAB)[0], compiler_options=QUICK)()
  rng = np.random.default_rng(0)
  draw = lambda x: 0.1 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
  if isinstance(state, FrozenMetaState):
    state = state.replace(frozen=jax.tree.map(draw, state.frozen))
  return jax.tree.map(np.asarray, state)


def main() -> None:
  jax.config.update("jax_numpy_rank_promotion", "raise")
  initial = initial_of(CONFIG)
  one = Run((1, 1, 1), initial)
  results: dict = {"moved": tree_distance(one.state.eta, initial.eta), "layouts": {}}
  results["renewed"] = int(one.numbers["generation"].sum())
  for layout in LAYOUTS:
    run = Run(layout, initial)
    results["layouts"]["x".join(map(str, layout))] = {
      "distance": {k: tree_distance(v, one.numbers[k]) for k, v in run.numbers.items()},
      "shares": run.shares(),
      "collectives_in_loops": run.collectives_in_loops(),
    }
  for name, changes in VARIANTS.items():
    start = initial_of(dataclasses.replace(CONFIG, **changes))
    one, spread = (Run(layout, start, **changes) for layout in ((1, 1, 1), VARIANT_LAYOUT))
    results[name] = {k: tree_distance(v, one.numbers[k]) for k, v in spread.numbers.items()}
  print(json.dumps(results))


@pytest.fixture(scope="module")
def results():
  environment = os.environ | {
    "JAX_NUM_CPU_DEVICES": str(DEVICES),
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
  }
  done = subprocess.run(
    [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "x".join(map(str, layout)))
def test_every_layout_gives_the_numbers_of_one_device(results, layout):
  result = results["layouts"]["x".join(map(str, layout))]
  assert len(result["distance"]) == 5
  assert max(result["distance"].values()) < 1e-5, result["distance"]
  member, data, model = layout
  assert result["shares"] == {
    "eta": 1 / (data * model),
    "moments": 1 / DEVICES,
    "theta": 1 / DEVICES,
    "opt_state": 1 / DEVICES,
  }
  # Members have nothing to say to each other until their updates are averaged.
  assert (result["collectives_in_loops"] == 0) == (member == DEVICES)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_laid_out_as_well(results, name):
  assert max(results[name].values()) < 1e-5, results[name]


def test_the_three_steps_do_something(results):
  assert results["moved"] > 1e-2
  assert 0 < results["renewed"] < CONFIG.meta.population


if __name__ == "__main__":
  main()
