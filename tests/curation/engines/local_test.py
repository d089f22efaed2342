"""The engine of this machine, with real processes: results, errors, deaths, orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from works import Digest, Environment, Unloadable

from datarater.curation.engines import engine_of, local
from datarater.data.formats import Shard
from datarater.errors import InputError, WorkerDiedError

TESTS = str(Path(__file__).parents[2])
PATIENCE = 60.0
"""Seconds for something to happen on a busy machine."""


def shards_of(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).write_text(name * 100)
  return [Shard(folder / name, name) for name in names]


def tree(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_until(condition):
  end = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < end, "it did not happen"
    time.sleep(0.02)


def test_two_workers_do_what_one_does(tmp_path):
  shards = shards_of(tmp_path / "in", *(f"{i}.jsonl" for i in range(6)))
  results = {}
  for workers in (1, 2):
    work = Digest(tmp_path / f"out{workers}")
    results[workers] = sorted(engine_of("local", workers)(work, shards), key=lambda r: r[0].name)
  assert results[1] == results[2]
  assert [shard for shard, _ in results[1]] == shards
  assert len(tree(tmp_path / "out1")) == 6
  assert tree(tmp_path / "out1") == tree(tmp_path / "out2")


def test_one_worker_is_this_process_and_lazy(tmp_path):
  shards = shards_of(tmp_path / "in", "a.jsonl", "bad.jsonl")
  results = engine_of("local")(Digest(tmp_path / "out", tmp_path / "begun"), shards)
  assert next(results)[0].name == "a.jsonl"
  assert [p.name for p in (tmp_path / "begun").iterdir()] == [f"a.jsonl.{os.getpid()}"]
  with pytest.raises(InputError, match="mend it"):
    next(results)


def spawned() -> set[int]:
  """Workers of this process, other tests' included."""
  children = psutil.Process().children()
  return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


def test_no_shards_no_workers(tmp_path):
  assert list(engine_of("local", 2)(Digest(tmp_path), [])) == []


def test_an_error_comes_out_as_it_was_and_stops_the_others(tmp_path):
  shards = shards_of(tmp_path / "in", "sleep.jsonl", "bad.jsonl", *(f"{i}" for i in range(50)))
  started, before = time.monotonic(), spawned()
  with pytest.raises(InputError, match=r"^shard 'bad\.jsonl' is bad; mend it$"):
    list(engine_of("local", 2)(Digest(tmp_path / "out"), shards))
  assert time.monotonic() - started < PATIENCE
  assert spawned() <= before


def test_an_error_that_cannot_travel_says_what_it_was(tmp_path):
  with pytest.raises(RuntimeError, match=r"(?s)works\.py.*PickyError: shard 7"):
    list(engine_of("local", 2)(Digest(tmp_path), shards_of(tmp_path / "in", "picky", "a")))


def test_work_that_cannot_be_loaded_in_a_worker_says_why(tmp_path):
  with pytest.raises(InputError, match=r"^rater is gone; copy it again$"):
    list(
      engine_of("local", 2)(
        Unloadable("rater is gone; copy it again"), shards_of(tmp_path, "a", "b")
      )
    )


def test_a_killed_worker_is_one_clear_error_and_the_same_call_goes_on(tmp_path):
  shards = shards_of(tmp_path / "in", "a", "once", "b", "c")
  work = Digest(tmp_path / "out", tmp_path / "begun")
  with pytest.raises(WorkerDiedError, match=r"worker process died.*same command again"):
    list(engine_of("local", 2)(work, shards))
  assert len(list(engine_of("local", 2)(work, shards))) == 4
  assert len(tree(tmp_path / "out")) == 4


def test_closing_the_results_early_stops_the_workers(tmp_path):
  shards = shards_of(tmp_path / "in", "a", "sleep", "b")
  results = engine_of("local", 2)(Digest(tmp_path / "out"), shards)
  before = spawned()
  next(results)
  pids = spawned() - before
  assert len(pids) == 2
  results.close()
  assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("name", ["moon", ""])
def test_an_unknown_engine_is_refused(name):
  with pytest.raises(InputError, match=f"engine is '{name}'; give 'local' or 'ray'"):
    engine_of(name)


def test_no_workers_are_refused():
  with pytest.raises(InputError, match="workers is 0; give 1 or more"):
    engine_of("local", 0)


def alive(pid):
  try:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
  except psutil.NoSuchProcess:
    return False


SCRIPT = """
import signal
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from works import Digest
from datarater.curation.engines import engine_of
from datarater.data.formats import Shard

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it
shards = [Shard(Path({folder!r}) / name, name) for name in {names!r}]
work = Digest(Path({folder!r}) / "out", Path({folder!r}) / "begun")
print(sorted(shard.name for shard, _ in engine_of("local", 2)(work, shards)))
"""


def script(folder, *names):
  shards_of(folder, *names)
  return SCRIPT.format(tests=TESTS, folder=str(folder), names=names)


@pytest.mark.parametrize("how", ["file", "-c", "stdin"])
def test_a_script_needs_no_guard_and_no_file(tmp_path, how):
  code = script(tmp_path, "a", "b", "c")
  (tmp_path / "script.py").write_text(code)
  arguments = {"file": [tmp_path / "script.py"], "-c": ["-c", code], "stdin": ["-"]}[how]
  done = subprocess.run(
    [sys.executable, *arguments], input=code, capture_output=True, text=True, timeout=PATIENCE
  )
  assert done.stdout.splitlines()[-1:] == ["['a', 'b', 'c']"], done.stderr
  assert done.returncode == 0


def test_work_of_a_script_is_found_where_the_script_has_a_guard(tmp_path):
  shards_of(tmp_path, "a", "b")
  (tmp_path / "script.py").write_text(f"""
from pathlib import Path
from datarater.curation.engines import engine_of
from datarater.data.formats import Shard

def work(shard):
  return {{"size": shard.size}}

if __name__ == "__main__":
  shards = [Shard(Path({str(tmp_path)!r}) / name, name) for name in "ab"]
  print([stats for _, stats in engine_of("local", 2)(work, shards)])
""")
  done = subprocess.run(
    [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=PATIENCE
  )
  assert done.stdout == "[{'size': 100}, {'size': 100}]\n", done.stderr


@pytest.fixture
def driver(tmp_path):
  """A driver whose two workers are both busy: (process, workers' numbers)."""
  process = subprocess.Popen(
    [sys.executable, "-c", script(tmp_path, "sleep0", "sleep1")],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  begun = tmp_path / "begun"
  wait_until(lambda: begun.exists() and len(list(begun.iterdir())) == 2)
  yield process, [int(path.name.rpartition(".")[2]) for path in begun.iterdir()]
  if process.poll() is None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_driver(driver, how):
  process, workers = driver
  assert all(alive(pid) for pid in workers)
  process.send_signal(how)
  process.wait(PATIENCE)
  wait_until(lambda: not any(alive(pid) for pid in workers))


def test_ctrl_c_ends_all_and_only_the_driver_speaks(driver):
  process, workers = driver
  os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
  _, said = process.communicate(timeout=PATIENCE)
  assert not any(alive(pid) for pid in workers)
  assert said.count("KeyboardInterrupt") == 1, said
  assert "Process SpawnProcess" not in said


def test_each_worker_gets_a_gpu_of_its_own(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "")
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
  shards = shards_of(tmp_path, *"abcdef")
  told = {
    stats["pid"]: stats["CUDA_VISIBLE_DEVICES"]
    for _, stats in engine_of("local", 2)(Environment(), shards)
  }
  assert sorted(told.values()) == ["4", "GPU-abc"]


def test_on_cpu_nothing_is_touched(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
  for _, stats in engine_of("local", 2)(Environment(), shards_of(tmp_path, "a", "b")):
    assert stats["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert stats["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS")
    assert stats["affinity"] == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
  ("number", "workers", "gpus", "expected"),
  [
    (3, 4, [], {}),
    (1, 2, ["0", "1"], {"CUDA_VISIBLE_DEVICES": "1"}),
    (
      2,
      4,
      ["0", "1"],
      {"CUDA_VISIBLE_DEVICES": "0", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"},
    ),
  ],
)
def test_workers_share_what_gpus_there_are(monkeypatch, number, workers, gpus, expected):
  monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
  assert local.gpu_environment(number, workers, gpus) == expected


@pytest.mark.parametrize(
  ("visible", "expected"), [("", []), ("-1", []), ("0", ["0"]), ("GPU-a,3", ["GPU-a", "3"])]
)
def test_gpus_are_those_that_cuda_shows(monkeypatch, visible, expected):
  monkeypatch.setenv("JAX_PLATFORMS", "")
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  assert local.visible_gpus() == expected
