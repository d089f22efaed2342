"""Meta-training by two processes on loopback, killed and started again, and on changing layouts.

What they are held against is one process with two virtual devices.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from problems import tree_distance

from datarater.cli import BAD_INPUT, FAILED
from datarater.meta import trainer
from datarater.runtime.artifact import read_rater
from datarater.runtime.metrics import TIMINGS, read_metrics

STEPS = 12
DEADLINE = 500.0
"""Seconds that one start may take, on a busy machine."""

# Epsilons are large so that Adam does not enlarge what is rounding alone, which layouts differ in.
CONFIG = f"""
from datarater.config import *
from datarater.data_config import DataConfig

def config():
  model = ModelConfig(width=8, layers=2, heads=2, mlp_width=16)
  return MetaTrainConfig(
    data=DataConfig(
      target_domain="speeches", datapoint="document", length=32, segments=2, shuffle_window=512
    ),
    rater=model,
    inner=model,
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=0.1, eps=1e-2),
    meta=MetaConfig(
      steps={STEPS}, population=2, lifetime=4, inner_batch=4, outer_batch=4, objective="target",
      learning_rate=0.1, warmup_steps=2, clip_norm=1.0, eps=1e-3,
    ),
    checkpoint_every=2,
    cdf_documents=8,
  )
"""


class Command:
  """`datarater meta-train` of one config, by one process or by two."""

  def __init__(self, folder: Path):
    self.folder = folder
    self.config = folder / "config.py"
    self.config.write_text(CONFIG)
    self._environment = os.environ | {
      "PYTHONPATH": os.pathsep.join(sys.path),
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }

  def start(self, run_dir: Path, *options: str, devices: int = 1, name: str = "one"):
    arguments = ["meta-train", str(self.config), "--run-dir", str(run_dir), "--quiet", *options]
    with self.log(name).open("wb") as log:
      return subprocess.Popen(
        [sys.executable, "-m", "datarater.cli", *arguments],
        env=self._environment | {"JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=log,
        stderr=log,
      )

  def log(self, name: str) -> Path:
    return self.folder / f"{name}.log"

  def run(self, run_dir: Path, *options: str, devices: int) -> None:
    code = self.start(run_dir, *options, devices=devices).wait(DEADLINE)
    assert code == 0, self.log("one").read_text()

  def start_two(self, run_dir: Path, *options: str, second: tuple[str, ...] = ()):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    together = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", *options]
    return [
      self.start(run_dir, *together, "--process-id", str(i), *(second if i else ()), name=f"two{i}")
      for i in range(2)
    ]

  def finish(self, processes) -> list[int]:
    return [process.wait(DEADLINE) for process in processes]

  def logs(self) -> str:
    return self.log("two0").read_text() + self.log("two1").read_text()


@pytest.fixture(scope="module")
def command(tmp_path_factory):
  return Command(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def whole(command):
  """axis -> the folder of a run by one process whose two devices lie along that axis."""
  folders = {}

  def run(axis: str) -> Path:
    if axis not in folders:
      folders[axis] = command.folder / f"whole_{axis}"
      command.run(folders[axis], f"--mesh.{axis}", "2", devices=2)
    return folders[axis]

  return run


def steps(folder: Path) -> int:
  path = folder / trainer.METRICS
  return path.read_bytes().count(b"\n") if path.exists() else 0


def rows(folder: Path) -> list[dict]:
  return [
    {name: value for name, value in row.items() if name not in TIMINGS}
    for row in read_metrics(folder / trainer.METRICS)
  ]


@pytest.mark.parametrize("axis", ["member", "data"])
def test_two_processes_killed_and_started_again_are_as_one(command, whole, axis):
  folder = command.folder / f"two_{axis}"
  processes = command.start_two(folder, f"--mesh.{axis}", "2")
  started = time.monotonic()
  while steps(folder) < STEPS // 2 and all(process.poll() is None for process in processes):
    assert time.monotonic() - started < DEADLINE, "the processes hang"
    time.sleep(0.01)
  for process in processes:
    process.send_signal(signal.SIGKILL)
  codes = command.finish(processes)
  assert codes == [-signal.SIGKILL] * 2, command.logs()
  assert STEPS // 2 <= steps(folder) < STEPS

  codes = command.finish(command.start_two(folder, f"--mesh.{axis}", "2"))
  assert codes == [0, 0], command.logs()
  assert rows(folder) == rows(whole(axis))
  assert len(rows(folder)) == STEPS
  assert sorted(os.listdir(folder)) == sorted(os.listdir(whole(axis)))
  for file in (whole(axis) / trainer.RATER).iterdir():
    assert (folder / trainer.RATER / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_run_goes_on_with_another_mesh(command, whole, tmp_path):
  results = {}
  for layout in ((2, 1, 1), (1, 2, 1), (1, 1, 1)):
    folder = results[layout] = tmp_path / "x".join(map(str, layout))
    shutil.copytree(whole("member"), folder)
    mesh = [
      f"--mesh.{axis}={n}" for axis, n in zip(("member", "data", "model"), layout, strict=True)
    ]
    command.run(folder, f"--meta.steps={STEPS + 3}", *mesh, devices=max(layout))
  same = rows(results[2, 1, 1])
  eta, before = (read_rater(f / trainer.RATER).eta for f in (results[2, 1, 1], whole("member")))
  assert tree_distance(eta, before) > 1e-3
  for layout in ((1, 2, 1), (1, 1, 1)):
    other = rows(results[layout])
    assert [row["step"] for row in other] == list(range(1, STEPS + 4))
    for name in ("outer_loss", "meta_gradient_norm", "tokens", "age", "rating_std"):
      a, b = ([row[name] for row in some[STEPS:]] for some in (other, same))
      np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=name)
    assert tree_distance(read_rater(results[layout] / trainer.RATER).eta, eta) < 1e-5


def test_devices_taken_too_early_say_where(tmp_path):
  config = tmp_path / "config.py"
  config.write_text("import jax\njax.devices()\n" + CONFIG)
  options = ["--coordinator", "127.0.0.1:1", "--processes", "1", "--process-id", "0", "--run-dir"]
  done = subprocess.run(
    [sys.executable, "-m", "datarater.cli", "meta-train", str(config), *options, str(tmp_path)],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == BAD_INPUT
  assert "compute nothing with JAX where the config file is imported" in done.stderr


def test_what_one_process_meets_ends_both_with_a_line(command, tmp_path):
  """Bad input of the second alone, while the first is at work or waits for it."""
  processes = command.start_two(
    tmp_path / "run", "--mesh.member", "2", second=("--data.dataset", str(tmp_path / "nowhere"))
  )
  assert command.finish(processes) == [FAILED, BAD_INPUT], command.logs()
  first, second = (command.log(f"two{i}").read_text() for i in range(2))
  assert "process 1 failed: " in first
  for log in (first, second):
    assert str(tmp_path / "nowhere") in log
    assert "Traceback" not in log


def test_a_process_that_is_lost_ends_the_other(command, tmp_path):
  folder = tmp_path / "run"
  processes = command.start_two(folder, "--mesh.member", "2", "--meta.steps", "100000")
  started = time.monotonic()
  while steps(folder) < 1 and all(process.poll() is None for process in processes):
    assert time.monotonic() - started < DEADLINE, "the processes hang"
    time.sleep(0.01)
  processes[1].send_signal(signal.SIGKILL)
  codes = command.finish(processes)
  assert codes == [FAILED, -signal.SIGKILL], command.logs()
  log = command.log("two0").read_text()
  assert "process 0 lost another process of the run" in log
  assert "Traceback" not in log
