"""A corpus of horrors: each is set aside with its reason, or one clear error; the counts add up."""

import contextlib
import gzip
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from toys import Length

from datarater.curation.rules import TopFraction
from datarater.curation.score import score
from datarater.curation.select import select
from datarater.data.formats import BadRecord, read_records
from datarater.errors import InputError

GOOD = [json.dumps({"text": f"good text {i}", "id": f"g{i}"}).encode() + b"\n" for i in range(50)]
LONG = 100 << 20


def write_horrors(folder: Path) -> dict[str, int]:
  """Writes the corpus; returns how many records are to be set aside, by reason."""
  folder.mkdir()
  lines = [
    b"{broken\n",
    b'{"no": "text"}\n',
    b'{"text": 5}\n',
    b'{"text": null}\n',
    b'{"text": ""}\n',
    b'{"text": "nul \\u0000"}\n',
    b'{"text": "half a pair \\ud800"}\n',
    b'{"text": "\xff\xfe"}\n',
    b"[1, 2]\n",
    b"\n",
  ]
  (folder / "lines.jsonl").write_bytes(b"".join(GOOD[:25] + lines + GOOD[25:]))
  noise = [json.dumps({"text": os.urandom(30).hex()}).encode() + b"\n" for _ in range(500)]
  (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b"".join(noise), mtime=0)[:-100])
  (folder / "cut.jsonl.zst").write_bytes(zstandard.compress(b"".join(noise))[:-100])
  (folder / "cut.parquet").write_bytes(b"PAR1 and no more")
  (folder / "empty.jsonl").write_bytes(b"")
  (folder / "empty.jsonl.gz").write_bytes(b"")
  pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "none.parquet")
  with (folder / "long.jsonl").open("wb") as file:
    file.write(GOOD[0])
    file.write(b'{"text": "' + b"x" * LONG + b'"}\n')
    file.write(GOOD[1])
  (folder / "twice.jsonl").write_bytes(GOOD[0] * 3)
  return {
    "broken JSON": 1,
    "text missing": 2,
    "text is not a string": 1,
    "empty text": 1,
    "NUL in text": 1,
    "text is not Unicode": 1,
    "invalid UTF-8": 1,
    "not a JSON object": 1,
    "blank line": 1,
    "broken gz": 2,
    "broken zst": 1,
    "broken parquet": 1,
    "record too long": 1,
  }


@pytest.fixture(scope="module")
def horrors(tmp_path_factory):
  folder = tmp_path_factory.mktemp("horrors") / "corpus"
  return folder, write_horrors(folder)


def test_each_is_set_aside_and_every_record_is_in_exactly_one_place(horrors, tmp_path):
  folder, expected = horrors
  inputs = [str(folder / "*")]
  scored = score(Length(), inputs, tmp_path / "r", quiet=True)
  assert scored["rejected"] == expected
  assert scored["records"] == scored["documents"] + sum(expected.values())
  assert scored["shards_cut_short"] == 4
  selected = select(tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=inputs, quiet=True)
  assert selected["records"] == scored["records"]
  assert selected["kept"] + sum(selected["rejected"].values()) == scored["records"]
  for reason, number in expected.items():
    assert selected["rejected"][reason] == number
  for path in folder.iterdir():
    records = list(read_records(path))
    kept = list(read_records(tmp_path / "s" / "kept" / path.name))
    rejected = list(read_records(tmp_path / "s" / "rejected" / path.name, extra_keys=("row",)))
    assert len(kept) + len(rejected) == len(records), path.name
    assert not any(isinstance(record, BadRecord) for record in kept)
  long = (tmp_path / "s" / "rejected" / "long.jsonl").read_bytes()
  assert len(long) > LONG  # set aside whole: nothing is lost


def test_ids_given_twice_are_told_apart(horrors, tmp_path):
  folder, _ = horrors
  score(Length(), folder / "twice.jsonl", tmp_path / "r", quiet=True)
  table = pq.read_table(tmp_path / "r" / "ratings" / "twice.jsonl.parquet")
  assert table["id"].to_pylist() == ["g0", "g0~1", "g0~2"]


def test_a_file_that_vanishes_midway_is_named_and_restored_it_goes_on(tmp_path):
  path = tmp_path / "c" / "b.jsonl"
  path.parent.mkdir()
  for name in "ab":
    (tmp_path / "c" / f"{name}.jsonl").write_bytes(b"".join(GOOD))

  class Removes(Length):
    def score_with_tokens(self, texts):
      path.rename(tmp_path / "gone")
      return super().score_with_tokens(texts)

  inputs = str(tmp_path / "c" / "*.jsonl")
  with pytest.raises(InputError, match=r"b.jsonl' cannot be read: No such file.*restore"):
    score(Removes(), inputs, tmp_path / "r", quiet=True)
  (tmp_path / "gone").rename(path)
  assert not (tmp_path / "r" / "stats.json").exists()
  assert score(Length(), inputs, tmp_path / "q", quiet=True)["documents"] == 100
  del Removes.score_with_tokens
  assert score(Removes(), inputs, tmp_path / "r", quiet=True)["documents"] == 100


@contextlib.contextmanager
def mounted(folder: Path, options: str):
  folder.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
  if subprocess.run(command, capture_output=True, check=False).returncode:
    pytest.skip("mounting needs rights that are not here")
  try:
    yield
  finally:
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_leaves_nothing_half(tmp_path):
  rng = np.random.default_rng(0)
  lines = [json.dumps({"text": rng.bytes(8).hex()}) + "\n" for _ in range(6000)]
  (tmp_path / "a.jsonl").write_text("".join(lines))
  quiet = tmp_path / "quiet"
  score(Length(), tmp_path / "a.jsonl", quiet, quiet=True)
  disk = tmp_path / "disk"
  with mounted(disk, "size=256k"):
    with pytest.raises(InputError, match="No space left on device; free space"):
      score(Length(), tmp_path / "a.jsonl", disk / "r", quiet=True)
    assert not (disk / "r" / "stats.json").exists()
    for path in (disk / "r").rglob("*.parquet"):
      assert pq.read_table(path).num_rows > 0  # what is there is whole
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    score(Length(), tmp_path / "a.jsonl", disk / "r", quiet=True)
    name = "ratings/a.jsonl.parquet"
    assert (disk / "r" / name).read_bytes() == (quiet / name).read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(InputError, match="Read-only file system"):
      score(Length(), tmp_path / "a.jsonl", disk / "r2", quiet=True)


def test_a_link_that_leads_back_to_itself_is_one_error(tmp_path):
  (tmp_path / "c").mkdir()
  (tmp_path / "c" / "a.jsonl").write_bytes(b"".join(GOOD))
  (tmp_path / "c" / "round").symlink_to(tmp_path / "c")
  with pytest.raises(InputError, match=r"round' is a symbolic link that leads back.*remove it"):
    score(Length(), str(tmp_path / "c" / "**" / "*.jsonl"), tmp_path / "r", quiet=True)
  stats = score(Length(), str(tmp_path / "c" / "*.jsonl"), tmp_path / "r", quiet=True)
  assert stats["documents"] == 50
  (tmp_path / "c" / "self.jsonl").symlink_to(tmp_path / "c" / "self.jsonl")
  with pytest.raises(InputError, match=r"self\.jsonl"):
    score(Length(), str(tmp_path / "c" / "self.jsonl"), tmp_path / "r2", quiet=True)
