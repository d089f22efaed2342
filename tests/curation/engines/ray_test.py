"""The engine of Ray, on a real cluster: the same files, errors as they are, deaths, orphans."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from works import Digest, Environment, Unloadable

from datarater.curation.engines import engine_of
from datarater.data.formats import Shard
from datarater.errors import InputError, WorkerDiedError

TESTS = str(Path(__file__).parents[2])
PATIENCE = 120.0
"""Seconds for something to happen on a busy machine."""


@pytest.fixture(scope="module")
def cluster():
  """A cluster that is there before the engine, with two CPUs."""
  ray = pytest.importorskip("ray")
  before = os.environ.get("PYTHONPATH")
  os.environ["PYTHONPATH"] = TESTS
  os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
  ray.init(
    "local",
    num_cpus=2,
    include_dashboard=False,
    log_to_driver=False,
    logging_level=logging.ERROR,
    object_store_memory=100 << 20,
  )
  yield ray
  ray.shutdown()
  del os.environ["PYTHONPATH"]
  if before:
    os.environ["PYTHONPATH"] = before


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
    time.sleep(0.05)


def alive(pid):
  try:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
  except psutil.NoSuchProcess:
    return False


def test_two_actors_do_what_this_process_does(cluster, tmp_path, capfd):
  shards = shards_of(tmp_path / "in", *(f"{i}.jsonl" for i in range(6)))
  found = list(engine_of("ray", 2)(Digest(tmp_path / "ray"), shards))
  said = capfd.readouterr().out
  expected = list(engine_of("local")(Digest(tmp_path / "local"), shards))
  assert sorted(found, key=lambda r: r[0].name) == expected
  assert len(tree(tmp_path / "ray")) == 6
  assert tree(tmp_path / "ray") == tree(tmp_path / "local")
  assert said == ""  # neither progress bars nor what actors print
  assert cluster.is_initialized()  # it was not ours to end


def test_results_come_while_others_are_still_at_work_and_closing_stops_those(cluster, tmp_path):
  shards = shards_of(tmp_path / "in", "a", "sleep")
  results = engine_of("ray", 2)(Digest(tmp_path / "out", tmp_path / "begun"), shards)
  assert next(results)[0].name == "a"
  wait_until(lambda: list((tmp_path / "begun").glob("sleep.*")))
  (sleeper,) = (tmp_path / "begun").glob("sleep.*")
  pid = int(sleeper.name.rpartition(".")[2])
  assert alive(pid)
  results.close()
  wait_until(lambda: not alive(pid))


def test_an_error_comes_out_as_it_was(cluster, tmp_path):
  shards = shards_of(tmp_path / "in", "sleep.jsonl", "bad.jsonl", "a")
  with pytest.raises(InputError) as caught:
    list(engine_of("ray", 2)(Digest(tmp_path / "out"), shards))
  assert type(caught.value) is InputError
  assert str(caught.value) == "shard 'bad.jsonl' is bad; mend it"
  assert "works.py" in "".join(caught.value.__notes__)  # where it happened


def test_an_error_that_cannot_travel_says_what_it_was(cluster, tmp_path):
  with pytest.raises(RuntimeError, match=r"(?s)works\.py.*PickyError: shard 7"):
    list(engine_of("ray", 1)(Digest(tmp_path), shards_of(tmp_path / "in", "picky")))


def test_work_that_cannot_be_loaded_in_an_actor_says_why(cluster, tmp_path):
  work = Unloadable("rater is gone; copy it again")
  with pytest.raises(InputError) as caught:
    list(engine_of("ray", 1)(work, shards_of(tmp_path, "a")))
  assert str(caught.value) == "rater is gone; copy it again"


def test_a_shard_is_done_again_where_its_actor_was_killed(cluster, tmp_path):
  shards = shards_of(tmp_path / "in", "a", "once", "b")
  results = list(engine_of("ray", 2)(Digest(tmp_path / "out", tmp_path / "begun"), shards))
  assert sorted(shard.name for shard, _ in results) == ["a", "b", "once"]
  assert len(list((tmp_path / "begun").glob("once.*"))) == 2
  assert len(tree(tmp_path / "out")) == 3


def test_a_shard_that_kills_every_actor_is_one_clear_error(cluster, tmp_path):
  shards = shards_of(tmp_path / "in", "suicide")
  with pytest.raises(WorkerDiedError, match=r"Ray actor died.*4 times.*same command again"):
    list(engine_of("ray", 1)(Digest(tmp_path / "out", tmp_path / "begun"), shards))
  assert len(list((tmp_path / "begun").iterdir())) == 4


def test_more_actors_than_cpus_do_not_wait_forever(cluster, tmp_path):
  shards = shards_of(tmp_path / "in", *"abcd")
  assert len(list(engine_of("ray", 4)(Digest(tmp_path / "out"), shards))) == 4


def test_actors_are_no_more_than_the_shards_and_see_every_cpu(cluster, tmp_path):
  ((_, stats),) = engine_of("ray")(Environment(), shards_of(tmp_path, "a"))
  assert stats["affinity"] == len(os.sched_getaffinity(0))


def test_no_shards_no_cluster(tmp_path):
  assert list(engine_of("ray", 2)(Digest(tmp_path), [])) == []


def test_missing_ray_names_the_extra(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "ray", None)
  with pytest.raises(InputError, match=r"pip install 'datarater\[ray\]'"):
    list(engine_of("ray", 2)(Digest(tmp_path), shards_of(tmp_path, "a")))


SCRIPT = """
import signal
import sys
from pathlib import Path
from works import Digest
from datarater.curation.engines import engine_of
from datarater.data.formats import Shard

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it
shards = [Shard(Path({folder!r}) / name, name) for name in {names!r}]
work = Digest(Path({folder!r}) / "out", Path({folder!r}) / "begun")
print(sorted(shard.name for shard, _ in engine_of("ray", 2)(work, shards)))
"""


def start(folder, *names, **environment):
  shards_of(folder, *names)
  return subprocess.Popen(
    [sys.executable, "-c", SCRIPT.format(folder=str(folder), names=names)],
    env={**os.environ, "PYTHONPATH": TESTS, "RAY_ADDRESS": "", **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def test_a_cluster_of_its_own_is_quiet_and_ended(tmp_path):
  process = start(tmp_path, "a", "b", "c")
  said, errors = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, errors
  assert said == "['a', 'b', 'c']\n"
  assert len(errors.splitlines()) <= 1, errors  # Ray says that its log level is set
  wait_until(lambda: process.pid not in [session_of(pid) for pid in psutil.pids()])


def session_of(pid):
  try:
    return os.getsid(pid) if alive(pid) else None
  except ProcessLookupError:
    return None


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_nothing_is_left_where_the_driver_ends(tmp_path, how):
  process = start(tmp_path, "sleep0", "sleep1")
  begun = tmp_path / "begun"
  wait_until(lambda: process.poll() is None and begun.exists() and len(list(begun.iterdir())) == 2)
  pids = [int(path.name.rpartition(".")[2]) for path in begun.iterdir()]
  # Ray's own two agents take a minute to notice; they hold nothing.
  everything = [
    p.pid
    for p in psutil.Process(process.pid).children(recursive=True)
    if "Agent" not in "".join(p.cmdline())
  ]
  assert len(everything) > len(pids)
  if how == "killed":
    process.kill()
  else:
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
  try:
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(alive(pid) for pid in {*pids, *everything}))
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)


def test_an_address_where_nothing_answers_is_refused(tmp_path):
  process = start(tmp_path, "a", RAY_ADDRESS="127.0.0.1:9")
  _, errors = process.communicate(timeout=PATIENCE)
  assert process.returncode == 1
  assert "InputError: RAY_ADDRESS is '127.0.0.1:9', where no Ray cluster answers" in errors
