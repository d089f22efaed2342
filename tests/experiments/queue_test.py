"""Jobs run once each, after what they need, several at a time; failures and kills lose nothing."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from datarater.errors import InputError, WorkerDiedError
from experiments.jobs import Job, digest
from experiments.queue import SlurmConfig, run_jobs, unfinished


@dataclasses.dataclass(frozen=True)
class Note(Job):
  """Writes when it ran; `word` says what may happen instead."""

  word: str
  after: tuple["Note", ...] = ()
  kind = "notes"
  result_file = Path("note.txt")

  @property
  def name(self):
    return self.word

  @property
  def needs(self):
    return self.after

  @property
  def flops(self):
    return 1e12

  def run(self, root):
    if self.word == "bad":
      raise ValueError("it is bad")
    if self.word == "dies":
      os._exit(9)
    path = self.result_path(root)
    path.parent.mkdir(parents=True)
    if self.word.startswith("sleeps"):
      (path.parent / "pid.txt").write_text(str(os.getpid()))
      time.sleep(600)
    path.write_text(f"{time.monotonic_ns()} {os.getpid()}")


def when(job, root):
  return int(job.result_path(root).read_text().split()[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_each_once_and_what_is_needed_first(tmp_path, workers):
  first = Note("first")
  second = [Note(f"second {i}", (first,)) for i in range(3)]
  last = Note("last", tuple(second))
  run_jobs([last, last, *second], tmp_path, workers)
  assert when(first, tmp_path) < min(when(job, tmp_path) for job in second)
  assert max(when(job, tmp_path) for job in second) < when(last, tmp_path)
  before = when(last, tmp_path)
  run_jobs([last], tmp_path, workers)
  assert when(last, tmp_path) == before


def test_only_what_is_left_is_to_do(tmp_path):
  first = Note("first")
  last = Note("last", (first,))
  assert list(unfinished([last, last], tmp_path).values()) == [first, last]
  first.run(tmp_path)
  assert list(unfinished([last], tmp_path).values()) == [last]


def test_others_go_on_where_one_fails(tmp_path):
  bad, good = Note("bad"), Note("good")
  waits = Note("waits", (bad,))
  told = []
  with pytest.raises(InputError, match=r"1 jobs failed.*bad: it is bad"):
    run_jobs([waits, bad, good], tmp_path, 1, on_done=told.append)
  assert good.is_done(tmp_path)
  assert not waits.is_done(tmp_path)
  assert told == [digest(good)]


def test_a_worker_that_dies_is_told(tmp_path):
  with pytest.raises(WorkerDiedError, match="run it again"):
    run_jobs([Note("dies"), Note("good")], tmp_path, 2)
  run_jobs([Note("good")], tmp_path, 2)


DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from queue_test import Note
from experiments.queue import run_jobs

if __name__ == "__main__":
  run_jobs([Note("sleeps 1"), Note("sleeps 2")], Path({folder!r}), 2)
"""


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
  script = tmp_path / "driver.py"
  tests = Path(__file__).parent
  script.write_text(
    DRIVER.format(root=str(tests.parents[1]), tests=str(tests), folder=str(tmp_path / "jobs"))
  )
  driver = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)

  def pids():
    return [int(path.read_text()) for path in tmp_path.rglob("pid.txt") if path.read_text()]

  assert eventually(lambda: len(pids()) == 2)
  driver.kill()
  driver.wait()
  assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids()))


def eventually(holds, seconds=60):
  stop = time.monotonic() + seconds
  while time.monotonic() < stop:
    if holds():
      return True
    time.sleep(0.1)
  return False


def test_time_runs_out_between_jobs(tmp_path):
  with pytest.raises(InputError, match="2 jobs are left after 1e-09 minutes"):
    run_jobs([Note("a"), Note("b")], tmp_path, 1, minutes=1e-9)


def test_submitit_runs_them_as_a_cluster_would(tmp_path, monkeypatch):
  submitit = pytest.importorskip("submitit")
  asked = {}

  class Cluster(submitit.AutoExecutor):
    def __init__(self, folder):
      super().__init__(folder, cluster="local")

    def update_parameters(self, **parameters):
      asked.update(parameters)
      super().update_parameters(**parameters)  # refuses names that it does not know

  monkeypatch.setattr(submitit, "AutoExecutor", Cluster)
  first = Note("first")
  slurm = SlurmConfig(minutes=7, gpus=0, cpus=1, memory_gb=1, partition="fast")
  run_jobs([Note("last", (first,))], tmp_path, engine="slurm", slurm=slurm)
  assert first.is_done(tmp_path)
  assert asked == {
    "timeout_min": 7,
    "gpus_per_node": 0,
    "cpus_per_task": 1,
    "mem_gb": 1,
    "slurm_partition": "fast",
  }


def test_a_digest_is_blind_to_new_fields_at_their_defaults():
  @dataclasses.dataclass(frozen=True)
  class Part:
    a: int = 1

  def job(fields):
    concrete = {"name": "", "run": print}
    made = dataclasses.make_dataclass("Note", fields, bases=(Job,), namespace=concrete, frozen=True)
    return digest(made(word="x"))

  before = job([("word", str)])
  assert job(
    [("word", str), ("new", int, 3), ("part", Part, dataclasses.field(default=Part()))]
  ) == (before)
  assert job([("word", str), ("part", Part, dataclasses.field(default=Part()))]) == before


def test_a_digest_ignores_defaults_and_knows_what_is_needed():
  assert digest(Note("a")) == digest(Note("a", ()))
  assert digest(Note("a")) != digest(Note("b"))
  assert digest(Note("a", (Note("x"),))) != digest(Note("a", (Note("y"),)))
