"""A run's folder refuses another config and another process."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from datarater.config import MeshConfig, MetaTrainConfig
from datarater.config_io import to_json
from datarater.errors import InputError
from datarater.runtime.run_folder import CONFIG, run_folder

GIVEN = MetaTrainConfig()
EXTENDABLE = ("meta.steps",)


def enter(folder, config, extendable=EXTENDABLE):
  with run_folder(folder, config, extendable) as path:
    return json.loads((path / CONFIG).read_text())


def with_steps(steps):
  return dataclasses.replace(GIVEN, meta=dataclasses.replace(GIVEN.meta, steps=steps))


def test_the_config_is_written_and_the_same_one_is_accepted_again(tmp_path):
  folder = tmp_path / "deep" / "run"
  assert enter(folder, GIVEN) == to_json(GIVEN)
  written = (folder / CONFIG).stat().st_mtime_ns
  assert enter(folder, GIVEN) == to_json(GIVEN)
  assert (folder / CONFIG).stat().st_mtime_ns == written


def test_another_config_is_refused_naming_every_field(tmp_path):
  enter(tmp_path, GIVEN)
  other = dataclasses.replace(
    GIVEN, seed=3, inner=dataclasses.replace(GIVEN.inner, width=128), name="x"
  )
  with pytest.raises(InputError) as caught:
    enter(tmp_path, other)
  for part in ("inner.width: 64 -> 128", "name: 'datarater' -> 'x'", "seed: 0 -> 3", str(tmp_path)):
    assert part in str(caught.value)
  assert json.loads((tmp_path / CONFIG).read_text()) == to_json(GIVEN)


def test_a_field_that_an_earlier_version_lacked_counts_as_its_default(tmp_path):
  earlier = to_json(GIVEN)
  del earlier["snapshot_every"]
  (tmp_path / CONFIG).write_text(json.dumps(earlier))
  enter(tmp_path, GIVEN)
  with pytest.raises(InputError, match="snapshot_every: 0 -> 5"):
    enter(tmp_path, dataclasses.replace(GIVEN, snapshot_every=5))


def test_a_field_that_only_a_later_version_has_is_named(tmp_path):
  (tmp_path / CONFIG).write_text(json.dumps({**to_json(GIVEN), "from_the_future": 1}))
  with pytest.raises(InputError, match="from_the_future: 1 -> None"):
    enter(tmp_path, GIVEN)


def test_more_steps_extend_and_fewer_are_refused(tmp_path):
  enter(tmp_path, with_steps(10))
  assert enter(tmp_path, with_steps(20))["meta"]["steps"] == 20
  with pytest.raises(InputError, match=r"meta\.steps: 20 -> 15"):
    enter(tmp_path, with_steps(15))
  with pytest.raises(InputError, match=r"meta\.steps: 20 -> 30"):
    enter(tmp_path, with_steps(30), extendable=())
  other = dataclasses.replace(with_steps(30), seed=1)
  with pytest.raises(InputError, match=r"\(seed: 0 -> 1\)"):
    enter(tmp_path, other)
  assert json.loads((tmp_path / CONFIG).read_text())["meta"]["steps"] == 20


def test_a_free_field_may_be_anything(tmp_path):
  def with_mesh(config, data):
    return dataclasses.replace(config, mesh=MeshConfig(data=data))

  enter(tmp_path, with_mesh(GIVEN, 8))
  for data in (2, 4):
    with run_folder(tmp_path, with_mesh(GIVEN, data), free=("mesh",)) as folder:
      assert json.loads((folder / CONFIG).read_text())["mesh"]["data"] == data
  with pytest.raises(InputError, match=r"mesh\.data: 4 -> 1"):
    enter(tmp_path, GIVEN)
  other = dataclasses.replace(with_mesh(GIVEN, 2), seed=1)
  with (
    pytest.raises(InputError, match=r"seed: 0 -> 1"),
    run_folder(tmp_path, other, free=("mesh",)),
  ):
    pass


def test_a_broken_config_is_named(tmp_path):
  (tmp_path / CONFIG).write_text('{"seed": ')
  with pytest.raises(InputError, match=r"run config .* is not JSON"):
    enter(tmp_path, GIVEN)


HOLD = """
import sys, time
from datarater.config import MetaTrainConfig
from datarater.runtime.run_folder import run_folder
with run_folder(__import__("pathlib").Path(sys.argv[1]), MetaTrainConfig()):
  print("held", flush=True)
  time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
  )
  try:
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"{str(tmp_path)!r} is in use by another process"):
      enter(tmp_path, GIVEN)
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()
  enter(tmp_path, GIVEN)  # a killed process holds no lock


def test_the_lock_is_let_go_after_an_exception(tmp_path):
  with pytest.raises(RuntimeError), run_folder(tmp_path, GIVEN):
    raise RuntimeError
  enter(tmp_path, GIVEN)
