"""A run killed with SIGKILL, and started again by the same command, ends as if never killed.

The environment's KILLS says how often (3 unless told). One kind of moment after the other: anywhere
in a step, inside a checkpoint's write, while the rater's folder is written, during start-up.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from problems import assert_same_tree

from datarater.config import MetaTrainConfig
from datarater.config_io import load_config_file
from datarater.meta import trainer
from datarater.runtime.checkpoint import Checkpoints
from datarater.runtime.metrics import TIMINGS, read_metrics

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("KILLS_SEED", "0"))
STEPS = 48
DEADLINE = 300.0
"""Seconds that one start may take, on a busy machine."""

CONFIG = f"""
from problems import tiny_run, MetaConfig

def config():
  meta = MetaConfig(
    steps={STEPS}, population=2, lifetime=20, inner_batch=4, outer_batch=4, objective="target",
    warmup_steps=5, clip_norm=1.0,
  )
  return tiny_run(meta=meta, checkpoint_every=2)
"""


class Command:
  """`datarater meta-train`, as often as one likes in the same folder."""

  def __init__(self, folder: Path, run_dir: Path):
    self.config = folder / "config.py"
    self.config.write_text(CONFIG)
    self.run_dir = run_dir
    self._environment = os.environ | {
      "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
      # Starting again costs no compilation: the very same program is loaded.
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    self._log = (folder / f"{run_dir.name}.log").open("ab+")

  def start(self) -> subprocess.Popen:
    arguments = ["meta-train", str(self.config), "--run-dir", str(self.run_dir), "--quiet"]
    return subprocess.Popen(
      [sys.executable, "-m", "datarater.cli", *arguments],
      env=self._environment,
      stdout=self._log,
      stderr=self._log,
    )

  def finish(self) -> None:
    code = self.start().wait(DEADLINE)
    self._log.seek(0)
    assert code == 0, self._log.read().decode()

  def steps(self) -> int:
    """Rows of the metrics file now."""
    path = self.run_dir / trainer.METRICS
    return path.read_bytes().count(b"\n") if path.exists() else 0

  def writes_checkpoint(self) -> bool:
    folder = self.run_dir / trainer.CHECKPOINTS
    return folder.exists() and any(not name.isdigit() for name in os.listdir(folder))

  def writes_rater(self) -> bool:
    return (self.run_dir / ".rater.partial").exists()


def kill(command: Command, kind: str, after_steps: int, rng: random.Random) -> str:
  """Starts the command and kills it at a moment of that kind; says when that was."""
  process = command.start()
  started = time.monotonic()

  def wait_until(condition) -> None:
    while process.poll() is None and not condition():
      assert time.monotonic() - started < DEADLINE, "the command hangs"
      time.sleep(0.001)

  if kind == "start-up":
    time.sleep(rng.uniform(0.0, 4.0))
  elif kind == "rater":
    wait_until(command.writes_rater)
  else:
    wait_until(lambda: command.steps() >= after_steps)
    if kind == "checkpoint":
      wait_until(command.writes_checkpoint)
      time.sleep(rng.uniform(0.0, 0.03))
    else:
      time.sleep(rng.uniform(0.0, 0.2))
  within = [name for name in ("checkpoint", "rater") if getattr(command, f"writes_{name}")()]
  process.send_signal(signal.SIGKILL)
  code = process.wait()
  assert code in (-signal.SIGKILL, 0), code
  outcome = "killed" if code else "done before the kill"
  return f"{kind}: {outcome} at step {command.steps()}, writing {within or 'nothing'}"


def test_killed_and_started_again_is_as_if_never_killed(tmp_path):
  whole, killed = (Command(tmp_path, tmp_path / name) for name in ("whole", "killed"))
  whole.finish()
  rng = random.Random(SEED)
  kinds = list(itertools.islice(itertools.cycle(["checkpoint", "step", "checkpoint"]), KILLS))
  if KILLS >= 3:
    kinds[-1] = "rater"
  if KILLS >= 10:
    kinds[0] = kinds[KILLS // 2] = "start-up"
  outcomes = [
    kill(killed, kind, number * STEPS // (KILLS + 1), rng) for number, kind in enumerate(kinds, 1)
  ]
  print("\n".join(outcomes))
  killed.finish()
  assert sum(": killed" in outcome for outcome in outcomes) >= (2 * KILLS) // 3, outcomes

  assert_same_files(killed.run_dir / trainer.RATER, whole.run_dir / trainer.RATER)
  assert metrics_without_timings(killed) == metrics_without_timings(whole)
  assert len(metrics_without_timings(whole)) == STEPS
  (state, position), (expected, expected_position) = (last_checkpoint(c) for c in (killed, whole))
  assert_same_tree(state, expected)
  assert position == expected_position
  # Nothing is left over of the writes that were cut off.
  assert listing(killed.run_dir) == listing(whole.run_dir)
  assert listing(killed.run_dir / trainer.CHECKPOINTS) == listing(
    whole.run_dir / trainer.CHECKPOINTS
  )


def assert_same_files(a: Path, b: Path) -> None:
  assert listing(a) == listing(b)
  for name in listing(a):
    assert (a / name).read_bytes() == (b / name).read_bytes(), name


def listing(folder: Path) -> list[str]:
  return sorted(os.listdir(folder))


def metrics_without_timings(command: Command) -> list[dict]:
  rows = read_metrics(command.run_dir / trainer.METRICS)
  return [{name: row[name] for name in row if name not in TIMINGS} for row in rows]


def last_checkpoint(command: Command):
  config = load_config_file(command.config, MetaTrainConfig)
  shapes = jax.eval_shape(trainer.build(config, 257)[0])
  like = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  with Checkpoints(command.run_dir / trainer.CHECKPOINTS, 2) as checkpoints:
    assert checkpoints.latest() == STEPS
    return checkpoints.restore(STEPS, like)
