"""Files and folders are whole or absent, whatever ends the writer."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from datarater.errors import InputError
from datarater.runtime import atomic


def test_a_folder_appears_whole(tmp_path):
  target = tmp_path / "deep" / "folder"
  with atomic.atomic_folder(target) as partial:
    (partial / "a").write_text("new")
    assert not target.exists()
  assert (target / "a").read_text() == "new"
  assert os.listdir(target.parent) == ["folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
  target = tmp_path / "folder"
  target.mkdir()
  (target / "old").write_text("old")
  with atomic.atomic_folder(target) as partial:
    (partial / "new").write_text("new")
    assert os.listdir(target) == ["old"]
  assert os.listdir(target) == ["new"]
  assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, error):
  target, file = tmp_path / "folder", tmp_path / "file"
  target.mkdir()
  (target / "old").write_text("old")
  file.write_text("old")

  def write_folder():
    with atomic.atomic_folder(target) as partial:
      (partial / "new").write_text("half")
      raise error

  def write_file():
    with atomic.atomic_file(file) as stream:
      stream.write(b"half")
      raise error

  for write in (write_folder, write_file):
    with pytest.raises(error):
      write()
  assert os.listdir(target) == ["old"]
  assert file.read_text() == "old"
  assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


CRASH = """
import os, signal, sys
from pathlib import Path
from datarater.runtime import atomic

def die(*args):
  os.kill(os.getpid(), signal.SIGKILL)

where, target = sys.argv[1], Path(sys.argv[2])
if where == "between renames":
  rename, calls = Path.rename, []
  def rename_once(self, other):
    if calls:
      die()
    calls.append(self)
    return rename(self, other)
  Path.rename = rename_once
with atomic.atomic_folder(target) as partial:
  (partial / "a").write_text("new")
  if where == "while writing":
    die()
  (partial / "b").write_text("new")
"""


@pytest.mark.parametrize("where", ["while writing", "between renames"])
def test_a_killed_writer_leaves_the_folder_whole_or_absent(tmp_path, where):
  target = tmp_path / "folder"
  target.mkdir()
  (target / "old").write_text("old")
  code = subprocess.run([sys.executable, "-c", CRASH, where, str(target)], check=False).returncode
  assert code == -signal.SIGKILL
  if where == "while writing":
    assert os.listdir(target) == ["old"]
  else:
    assert not target.exists()
  assert len(os.listdir(tmp_path)) == 2, "something half written is left"
  with atomic.atomic_folder(target) as partial:  # the next one cleans up
    (partial / "a").write_text("again")
  assert os.listdir(tmp_path) == ["folder"]
  assert os.listdir(target) == ["a"]


def test_json_is_written_for_people_and_refuses_nan(tmp_path):
  path = tmp_path / "deep" / "x.json"
  atomic.write_json(path, {"b": 1, "a": "é"})
  assert path.read_text() == '{\n  "b": 1,\n  "a": "é"\n}\n'
  assert atomic.read_json(path, "thing") == {"b": 1, "a": "é"}
  with pytest.raises(ValueError, match="JSON compliant"):
    atomic.write_json(path, {"x": float("nan")})
  assert atomic.read_json(path, "thing") == {"b": 1, "a": "é"}


def test_unreadable_json_is_named(tmp_path):
  path = tmp_path / "x.json"
  with pytest.raises(InputError, match=r"thing '.*x\.json' cannot be read"):
    atomic.read_json(path, "thing")
  path.write_bytes(b'{"a": 1')
  with pytest.raises(InputError, match=r"thing '.*x\.json' is not JSON"):
    atomic.read_json(path, "thing")
  path.write_bytes(b'"\xff"')
  with pytest.raises(InputError, match=r"thing '.*x\.json' is not JSON"):
    atomic.read_json(path, "thing")


def test_what_the_system_refuses_is_said(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("a file, not a folder")
  with pytest.raises(InputError, match=r"cannot be written: File exists; free space or name"):
    atomic.write_json(blocked / "x.json", {})
  with (
    pytest.raises(InputError, match=r"cannot be written: No space left on device"),
    atomic.atomic_folder(tmp_path / "folder"),
  ):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  assert os.listdir(tmp_path) == ["file"]
