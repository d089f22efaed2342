"""Plans against the real thing: parameters, bytes of real shards, operation counts, no memory.

What needs several devices runs in a process of its own, which `PLANS` is the program of.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from problems import tiny_run

from datarater.config import MeshConfig
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError
from datarater.meta.plan import make_plan, start_virtual_devices, vocabulary
from datarater.models import cost

ROOT = Path(__file__).parents[2]

PLANS = """
import dataclasses, json, math, sys
import jax
from datarater.config import MeshConfig
from datarater.meta import placement, plan, trainer
from datarater.runtime.sharding import make_mesh
plan.start_virtual_devices(8)
sys.path.insert(0, "tests")
from problems import QUICK, tiny_run  # starts jax

def real(config):
  placed = placement.place(config, *trainer.build(config, 257), make_mesh(config.mesh))
  state = placed.init.lower().compile(QUICK)()
  first = jax.devices()[0]
  def held(tree):
    shards = [s for x in jax.tree.leaves(tree) for s in x.addressable_shards]
    return sum(s.data.nbytes for s in shards if s.device == first)
  trees = (state.eta, state.moments, state.members.theta, state.members.opt_state)
  sizes = [sum(math.prod(x.shape) for x in jax.tree.leaves(t)) for t in trees]
  return {"bytes": [held(tree) for tree in trees], "sizes": sizes}

result = {}
for mesh in ([1, 1, 1], [2, 2, 2]):
  config = dataclasses.replace(tiny_run(), mesh=MeshConfig(*mesh))
  made = dataclasses.asdict(plan.make_plan(config))
  live = len(jax.live_arrays())
  result[math.prod(mesh)] = {"plan": made, "live": live, "real": real(config)}
print(json.dumps(result))
"""

STATE = ("rater", "rater's moments", "inner parameters", "inner optimiser")


@pytest.fixture(scope="module")
def plans():
  """By devices: the plan, how many arrays it left, and the real state's numbers."""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  done = subprocess.run(
    [sys.executable, "-c", PLANS], capture_output=True, text=True, cwd=ROOT, env=environment
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("devices", ["1", "8"])
def test_state_takes_the_bytes_of_its_real_shards(plans, devices):
  memory = plans[devices]["plan"]["memory"]
  assert [memory[part] for part in STATE] == plans[devices]["real"]["bytes"]
  assert memory["sum"] == sum(size for part, size in memory.items() if part != "sum")
  assert memory["temporaries"] > 0


@pytest.mark.parametrize("devices", ["1", "8"])
def test_parameters_are_those_of_the_initialised_trees(plans, devices):
  parameters = plans[devices]["plan"]["parameters"]
  rater, _, population, _ = plans[devices]["real"]["sizes"]
  assert (parameters["rater"], 2 * parameters["inner"]) == (rater, population)


@pytest.mark.parametrize("devices", ["1", "8"])
def test_operation_count_is_that_of_the_traced_program(plans, devices):
  made, config = plans[devices]["plan"], tiny_run()
  step = cost.meta_step_flops(
    config.inner,
    config.rater,
    257,
    32,
    unroll_length=2,
    inner_rows=4,
    outer_rows=4,
    datapoints=2,
  )
  assert made["meta_step_flops"] == 2 * step
  # Sums by datapoint are products too in the program, and the count leaves them out.
  assert made["traced_flops"] == pytest.approx(2 * step, rel=0.02)
  assert 0 < made["compiler_flops"] < made["traced_flops"]


@pytest.mark.parametrize("devices", ["1", "8"])
def test_planning_leaves_no_arrays(plans, devices):
  assert plans[devices]["live"] == 0


def test_more_devices_hold_less_and_take_fewer_days(plans):
  one, eight = (plans[devices]["plan"] for devices in "18")
  for part in (*STATE, "batches"):
    assert eight["memory"][part] < one["memory"][part]
  for task, days in one["days"].items():
    assert eight["days"][task] == pytest.approx(days / 8)


def test_a_state_of_gigabytes_is_planned_in_little_memory(tmp_path):
  # 8 members of 38M parameters with Adam's moments: 3.7 GB of state.
  options = {
    "--inner.width": 1024,
    "--inner.mlp-width": 4096,
    "--inner.layers": 3,
    "--meta.population": 8,
    "--meta.inner-batch": 2,
    "--meta.outer-batch": 2,
    "--data.length": 32,
    "--output": tmp_path / "plan.json",
  }
  arguments = [str(a) for pair in options.items() for a in pair]
  # Peak of this program alone: what the kernel tells a parent includes what the parent was.
  code = (
    "import sys; from datarater.cli import main; code = main(sys.argv[1:])\n"
    "print(open('/proc/self/status').read()); sys.exit(code)"
  )
  plan = [sys.executable, "-c", code, "plan", str(ROOT / "configs" / "tiny.py"), "--devices", "1"]
  command = [*plan, "--quiet", *arguments]
  status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
  peak = 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])
  memory = json.loads((tmp_path / "plan.json").read_text())["memory"]
  state = sum(memory[part] for part in STATE)
  assert state > 3.6e9
  assert peak < 0.5 * state


def test_too_few_devices_say_so():
  jax.devices()
  with pytest.raises(InputError, match=r"1 of 8 devices; plan in a new process"):
    start_virtual_devices(8)
  with pytest.raises(InputError, match=r"mesh is 2 x 2 x 2 .* needs 8 devices"):
    make_plan(dataclasses.replace(tiny_run(), mesh=MeshConfig(2, 2, 2)))
  start_virtual_devices(1)


def test_vocabulary_is_the_tokenizers_where_it_is_there(tmp_path):
  def with_tokenizer(tokenizer):
    data = dataclasses.replace(tiny_run().data, tokenizer=tokenizer)
    return dataclasses.replace(tiny_run(), data=data)

  assert vocabulary(tiny_run(), 1_000) == 257
  path = tmp_path / "tokenizer.json"
  config = with_tokenizer(TokenizerConfig("huggingface", str(path)))
  assert vocabulary(config, 1_000) == 1_001
  tokenizers = pytest.importorskip("tokenizers")
  tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?")).save(str(path))
  assert vocabulary(config, 1_000) == 3
