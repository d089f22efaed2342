"""The corpus of horrors as far as files go, and shards at URLs."""

import gzip
import json
import os
import subprocess
import sys

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from datarater.data.builders.text import prepare_dataset
from datarater.data.formats import (
  KINDS,
  Row,
  find_shards,
  fingerprint,
  finish_folder,
  input_places,
  open_writer,
  output_kind,
  read_records,
  require_apart,
  require_text_key,
  shard_name,
)
from datarater.errors import InputError
from datarater.runtime.places import place


@pytest.fixture
def store():
  """An empty file system in memory."""
  fs = fsspec.filesystem("memory")
  fs.store.clear()
  fs.pseudo_dirs[:] = [""]
  yield "memory://bucket"
  fs.store.clear()


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)
  return path


def lines(number):
  return b"".join(b'{"text": "text %d", "n": %d}\n' % (i, i) for i in range(number))


def test_shards_at_urls_are_found_read_and_written_like_files(tmp_path, store):
  names = {
    "a.jsonl": lines(3),
    "deep/b.jsonl.gz": gzip.compress(lines(2)),
    "deep/er/c.jsonl.zst": zstandard.compress(lines(4)),
    "t.txt": b"plain",
    "broken.jsonl.zst": zstandard.compress(lines(9))[:-5],
    "empty.jsonl.gz": b"",
  }
  pq.write_table(pa.table({"text": ["x", "y"], "n": [1, 2]}), tmp_path / "p.parquet")
  names["deep/p.parquet"] = (tmp_path / "p.parquet").read_bytes()
  for name, content in names.items():
    write(tmp_path / "in" / name, content)
    write(place(f"{store}/in/{name}"), content)
  local, remote = find_shards(f"{tmp_path}/in/**/*.*"), find_shards(f"{store}/in/**/*.*")
  assert [shard.name for shard in remote] == [shard.name for shard in local] == sorted(names)
  assert find_shards(f"{store}/in/deep/*.gz")[0].name == "b.jsonl.gz"
  for here, there in zip(local, remote, strict=True):
    assert (here.size, here.format) == (there.size, there.format)
    assert fingerprint(here.path) == fingerprint(there.path)
    ours, theirs = (list(read_records(shard.path, paragraphs=True)) for shard in (here, there))
    assert [r.raw if not isinstance(r, Row) else r.values() for r in ours] == [
      r.raw if not isinstance(r, Row) else r.values() for r in theirs
    ]
    for kind in [None, *KINDS]:
      name = shard_name(there, kind, 0, 1)
      for output, shard, records in ((tmp_path, here, ours), (store, there, theirs)):
        with open_writer(f"{output}/out/{kind}/{name}", shard.path, kind=kind) as writer:
          for record in records:
            if isinstance(record, Row):
              writer.write(record)
      written = tmp_path / "out" / str(kind) / name
      assert written.read_bytes() == place(f"{store}/out/{kind}/{name}").read_bytes()
  require_text_key(remote, "text")


def test_a_dataset_at_a_url_reads_by_its_features_and_is_written_so(tmp_path, store):
  documents = [{"text": f"t{i}", "id": f"i{i}", "domain": "d", "source": "s"} for i in range(5)]
  prepare_dataset({"train": lambda: documents}, tmp_path / "x", "x")
  for path in (tmp_path / "x").iterdir():
    write(place(f"{store}/x/{path.name}"), path.read_bytes())
  shards = find_shards(f"{store}/x/*.array_record*")
  rows = list(read_records(shards[0].path))
  assert {row.id for row in rows} == {d["id"] for d in documents}
  kind = output_kind(shards)
  name = shard_name(shards[0], kind, 0, 1)
  with open_writer(f"{store}/out/{name}", shards[0].path, kind=kind) as writer:
    for row in rows:
      writer.write(row)
  finish_folder(f"{store}/out", kind, shards)
  info = json.loads(place(f"{store}/out/dataset_info.json").read_bytes())
  assert info["splits"][0]["shardLengths"] == ["5"]
  (again,) = find_shards(f"{store}/out/*.array_record*")
  assert [row.source for row in read_records(again.path)] == [row.source for row in rows]


def test_output_may_not_lie_in_or_around_the_input_at_a_url(tmp_path, store):
  write(place(f"{store}/in/a.jsonl"), lines(1))
  write(place(f"{store}/in/b/a.jsonl"), lines(1))
  places = input_places(f"{store}/in/**/*.jsonl")
  for output in (
    f"{store}/in",
    f"{store}/in/out",
    f"{store}/in/b/c",
    store,
    "memory:///bucket/in/x",
  ):
    with pytest.raises(InputError, match="name a folder beside it"):
      require_apart(output, places, "input")
  for output in (f"{store}/input", f"{store}/out", tmp_path, "/bucket/in"):
    require_apart(output, places, "input")
  require_apart(f"{store}/in/out", input_places(f"{store}/in/a.jsonl"), "input")
  write(tmp_path / "a.jsonl", lines(1))
  with pytest.raises(InputError, match=r"different places \(local, memory\)"):
    find_shards([tmp_path / "a.jsonl", f"{store}/in/a.jsonl"])


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("in/none/*.jsonl", "matches no file; check the path"),
    ("in/a.jsonl.none", "matches no file; check the path"),
    ("in", r"is a folder; give a glob of its files such as 'memory://bucket/in/\*.jsonl'"),
    ("in/../in/a.jsonl", "leads upwards"),
  ],
)
def test_wrong_urls_say_thing_value_and_remedy(store, pattern, message):
  write(place(f"{store}/in/a.jsonl"), lines(1))
  with pytest.raises(InputError, match=message):
    find_shards(f"{store}/{pattern}")


def test_a_file_that_vanishes_is_named(tmp_path, store):
  for name in ("a.jsonl", "a.jsonl.zst", "a.parquet", "a.array_record", "a.txt"):
    for where in (str(tmp_path), store):
      path = place(f"{where}/{name}")
      write(path, b"x")
      (shard,) = find_shards(f"{where}/{name}")
      path.unlink()
      assert shard.size == 0
      with pytest.raises(InputError, match=rf"{name}' cannot be read: No such file"):
        list(read_records(shard.path))
      with pytest.raises(InputError, match=rf"{name}' cannot be read: No such file"):
        fingerprint(shard.path)


def test_links_in_a_circle_are_one_clear_error(tmp_path):
  write(tmp_path / "in" / "deep" / "a.jsonl", lines(1))
  (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in")
  with pytest.raises(InputError, match=r"deep/up' is a symbolic link that leads back to"):
    find_shards(tmp_path / "in" / "**" / "*.jsonl")
  (shard,) = find_shards(tmp_path / "in" / "*" / "*.jsonl")
  (tmp_path / "in" / "deep" / "up").unlink()
  for target in (tmp_path / "in" / "b.jsonl", tmp_path / "gone"):
    (tmp_path / "in" / "b.jsonl").symlink_to(target)
    for pattern in ("in/b.jsonl", "in/*.jsonl", "in/**/*.jsonl"):
      with pytest.raises(InputError, match=r"b.jsonl' is a symbolic link that leads nowhere or"):
        find_shards(tmp_path / pattern)
    (tmp_path / "in" / "b.jsonl").unlink()
  assert find_shards(tmp_path / "in" / "**" / "*.jsonl")[0].path == shard.path


def test_links_that_are_no_circle_are_followed_and_files_count_once(tmp_path):
  write(tmp_path / "data" / "x" / "a.jsonl", lines(1))
  (tmp_path / "data" / "y").symlink_to(tmp_path / "data" / "x")
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "far").symlink_to(tmp_path / "data")
  write(tmp_path / "in" / ".hidden" / "b.jsonl", lines(1))
  write(tmp_path / "in" / "[1]" / "c.jsonl", lines(1))
  shards = find_shards(tmp_path / "in" / "**" / "*.jsonl")
  assert [shard.name for shard in shards] == ["[1]/c.jsonl", "far/x/a.jsonl"]
  assert [s.name for s in find_shards(tmp_path / "in" / "[1]" / "c.jsonl")] == ["c.jsonl"]


def test_a_folder_called_like_a_file_is_no_shard(tmp_path):
  (tmp_path / "a.jsonl").mkdir()
  write(tmp_path / "b.jsonl", lines(1))
  assert [shard.name for shard in find_shards(tmp_path / "*.jsonl")] == ["b.jsonl"]


def test_records_too_long_are_set_aside_whole(tmp_path):
  long = "x" * 5000
  rows = [{"text": "short"}, {"text": long}, {"text": "after"}]
  content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
  write(tmp_path / "a.jsonl", content)
  write(tmp_path / "a.jsonl.zst", zstandard.compress(content))
  pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
  with open_writer(tmp_path / "a.array_record", tmp_path / "a.jsonl", reasons=True,
                   kind="array_record") as writer:  # fmt: skip
    for record in read_records(tmp_path / "a.jsonl"):
      writer.write(record, "none")
  for name in ("a.jsonl", "a.jsonl.zst", "a.parquet", "a.array_record"):
    first, second, third = read_records(tmp_path / name, max_record_bytes=4999)
    assert (first.text, third.text) == ("short", "after")
    assert second.reason == "record too long"
    assert second.detail.endswith(" bytes, 4999 allowed")
    assert json.loads(second.raw)["text"] == long
    assert list(read_records(tmp_path / name, max_record_bytes=6000))[1].text == long
  write(tmp_path / "a.txt", long.encode())
  (bad,) = read_records(tmp_path / "a.txt", max_record_bytes=4999)
  assert (bad.reason, bad.raw) == ("record too long", long.encode())


READ_LONG = """
import resource, sys
from pathlib import Path
from datarater.data.formats import read_records, open_writer

def peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path = Path(sys.argv[1])
before = peak()
records = list(read_records(path))
assert [getattr(record, "reason", "") for record in records] == ["", "record too long", ""]
read = peak()
print(read - before)
with open_writer(path.with_name("rejected.jsonl"), path, reasons=True) as writer:
  for record in records:
    writer.write(record, "none")
"""


def test_a_line_of_100_megabytes_costs_a_few_times_itself(tmp_path):
  size = 100 << 20
  with (tmp_path / "a.jsonl").open("wb") as file:
    file.write(b'{"text": "before"}\n{"text": "')
    for _ in range(100):
      file.write(b"x" * (1 << 20))
    file.write(b'"}\n{"text": "after"}\n')
  done = subprocess.run(
    [sys.executable, "-c", READ_LONG, str(tmp_path / "a.jsonl")],
    check=True,
    capture_output=True,
    text=True,
  )
  assert int(done.stdout) < 3 * size
  middle = (tmp_path / "rejected.jsonl").read_bytes().split(b"\n")[1]
  assert len(json.loads(json.loads(middle)["raw"])["text"]) == size


def test_no_id_and_no_text_becomes_a_path(tmp_path):
  rows = [{"text": "../../../out", "id": "/etc/passwd", "domain": "../x"}]
  path = write(tmp_path / "in" / "a.jsonl", json.dumps(rows[0]).encode())
  (shard,) = find_shards(path)
  for kind in KINDS:
    with open_writer(tmp_path / "out" / shard_name(shard, kind, 0, 1), path, kind=kind) as writer:
      for record in read_records(path):
        writer.write(record)
    finish_folder(tmp_path / "out", kind, [shard])
  found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
  assert found == {
    "in/a.jsonl",
    *(f"out/a.{kind}" for kind in KINDS if kind != "array_record"),
    "out/curated-train.array_record-00000-of-00001",
    "out/features.json",
    "out/dataset_info.json",
  }


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from datarater.errors import InputError
from datarater.data.formats import open_writer, read_records

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
path, kind = Path(sys.argv[1]), sys.argv[2]
try:
  with open_writer(path.with_name("out") / f"a.{kind}", path, kind=kind) as writer:
    for record in read_records(path):
      writer.write(record)
except InputError as error:
  print(error)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_grow_is_one_clear_error_and_nothing_is_left(tmp_path, kind):
  """As on a full disk: a write fails midway."""
  rows = [{"text": os.urandom(2000).hex()} for _ in range(2000)]
  path = write(tmp_path / "a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
  done = subprocess.run(
    [sys.executable, "-c", FULL_DISK, str(path), kind], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert "cannot be written" in done.stdout
  assert "the same command again" in done.stdout
  assert list((tmp_path / "out").iterdir()) == []
