"""Places: URLs and paths are told apart, read and written alike, and never half."""

import errno
import pickle
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from upath import UPath

from datarater.errors import InputError
from datarater.runtime import atomic
from datarater.runtime.places import (
  identity,
  lies_in,
  local_copy,
  open_binary,
  place,
  size_of,
  upload,
)


@pytest.fixture
def store():
  """An empty file system in memory."""
  fs = fsspec.filesystem("memory")
  fs.store.clear()
  fs.pseudo_dirs[:] = [""]
  yield "memory://bucket"
  fs.store.clear()


class Elsewhere(LocalFileSystem):
  """Local files by another scheme, as a mounted server."""

  protocol = "elsewhere"


def test_paths_stay_paths_and_urls_become_upaths(tmp_path, store):
  assert place("a/b.jsonl") == Path("a/b.jsonl")
  assert place(f"file://{tmp_path}/x y") == tmp_path / "x y"
  assert type(place(UPath(tmp_path))) is type(Path())
  url = place(f"{store}/a/b.jsonl")
  assert not isinstance(url, Path)
  assert place(url) is url
  assert (url.name, url.suffix, str(url.parent)) == ("b.jsonl", ".jsonl", f"{store}/a")
  assert pickle.loads(pickle.dumps(url)) == url


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("s3://bucket/x", r"'s3://bucket/x' needs a package that is not here: .*s3fs"),
    ("zzz://x", r"unknown scheme 'zzz'"),
    ("memory://a/../b", r"leads upwards"),
    ("simplecache::s3://x", r"chains file systems"),
    (Path("s3://bucket/x"), r"'s3:/bucket/x' is a URL that was taken for a path"),
  ],
)
def test_what_is_no_place_says_why(text, message):
  with pytest.raises(InputError, match=message):
    place(text)


def test_two_places_are_told_apart(tmp_path, store, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "link").symlink_to(tmp_path / "real")
  assert identity(place("real/x")) == identity(place(f"file://{tmp_path}/link/x"))
  assert identity(place(f"{store}/a//b/")) == identity(place(f"{store}/a/b"))
  assert identity(place("memory:///bucket/a")) == identity(place(f"{store}/a"))
  assert identity(place(f"{store}/a")) != identity(place("/bucket/a"))
  assert lies_in(place(f"{store}/a/b"), place(f"{store}/a"))
  assert not lies_in(place(f"{store}/ab"), place(f"{store}/a"))
  (tmp_path / "loop").symlink_to(tmp_path / "loop")
  with pytest.raises(InputError, match=r"loop/x' is a symbolic link that leads back to itself"):
    identity(place("loop/x"))


def test_a_remote_file_reads_as_a_local_one(tmp_path, store):
  content = b"".join(b"line %d\n" % i for i in range(300_000))
  for name in (f"{store}/x", str(tmp_path / "x")):
    where = place(name)
    where.write_bytes(content)
    assert size_of(where) == len(content)
    with open_binary(where) as file:
      assert file.read(4) == b"line"
      assert file.seek(-7, 2) == len(content) - 7
      assert file.read() == content[-7:]
    with local_copy(where) as local:
      assert local.read_bytes() == content
    with pytest.raises(FileNotFoundError) as caught:
      open_binary(where.parent / "gone").read()
    assert caught.value.errno == errno.ENOENT


class _Failing:
  """A file whose server goes away."""

  def seekable(self):
    return True

  def read(self, size):
    raise RuntimeError("connection lost")

  def close(self):
    raise RuntimeError("connection lost")


def test_what_a_store_raises_is_an_os_error_with_a_number(store, monkeypatch):
  where = place(f"{store}/x")
  monkeypatch.setattr(type(where), "open", lambda self, mode: _Failing())
  file = open_binary(where)
  with pytest.raises(OSError, match="RuntimeError: connection lost") as caught:
    file.read()
  assert caught.value.errno == errno.EIO
  file.close()


def test_files_at_urls_are_whole_or_absent(store):
  target = place(f"{store}/deep/x.json")
  atomic.write_json(target, {"a": 1})
  assert atomic.read_json(target, "thing") == {"a": 1}
  atomic.write_json(target, {"a": 2})
  assert atomic.read_json(target, "thing") == {"a": 2}
  with pytest.raises(ZeroDivisionError), atomic.atomic_file(target) as file:
    file.write(b"half" + bytes(1 // 0))
  assert atomic.read_json(target, "thing") == {"a": 2}
  assert target.fs.find("/") == ["/bucket/deep/x.json"]
  with pytest.raises(InputError, match=r"thing '.*gone.json' cannot be read: No such file"):
    atomic.read_json(target.with_name("gone.json"), "thing")


def test_where_moving_is_possible_an_upload_moves(tmp_path):
  """A server that stops midway leaves the old file, and nothing beside it."""
  fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
  target = UPath(f"elsewhere://{tmp_path}/out/x")
  source = tmp_path / "source"
  source.write_bytes(b"new")
  upload(source, target)
  assert (tmp_path / "out" / "x").read_bytes() == b"new"

  class Stops(Elsewhere):
    protocol = "stops"

    def put_file(self, lpath, rpath, *args, **kwargs):
      Path(rpath).write_bytes(b"ha")
      raise OSError("connection lost")

  fsspec.register_implementation("stops", Stops, clobber=True)
  with pytest.raises(InputError, match=r"out/x' cannot be written: OSError: connection lost"):
    upload(source, UPath(f"stops://{tmp_path}/out/x"))
  assert (tmp_path / "out" / "x").read_bytes() == b"new"
  assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
