"""Folders that name their files' digests: what is written comes back, what is damaged does not."""

import pytest

from datarater.errors import InputError
from datarater.runtime.sealed import CONFIG, Sealed

THING = Sealed("thing", 2, "give a folder of things", "make it again")


def _write(folder):
  THING.write(folder, {"colour": "blue"}, lambda partial: (partial / "part").write_text("whole"))


def test_it_comes_back(tmp_path):
  _write(tmp_path / "thing")
  assert THING.read(tmp_path / "thing", ("part",)) == {"colour": "blue"}


@pytest.mark.parametrize(
  ("harm", "message"),
  [
    (lambda f: (f / "part").write_text("other"), "is damaged"),
    (lambda f: (f / "part").unlink(), "lacks part"),
    (lambda f: (f / CONFIG).unlink(), "has no config.json"),
    (lambda f: (f / CONFIG).write_text('{"format_version": 3}'), "version 3, newer than the 2"),
    (lambda f: (f / CONFIG).write_text("{}"), "names no format_version"),
    (lambda f: (f / CONFIG).write_text('{"format_version": 1, "files": 3}'), "lists no files"),
  ],
)
def test_a_damaged_one_is_refused(tmp_path, harm, message):
  _write(tmp_path / "thing")
  harm(tmp_path / "thing")
  with pytest.raises(InputError, match=message) as error:
    THING.read(tmp_path / "thing", ("part",))
  assert "\n" not in str(error.value)


def test_nothing_is_refused(tmp_path):
  with pytest.raises(InputError, match="give a folder of things"):
    THING.read(tmp_path / "none", ())
