"""Dividing a shard: every record ends in one of two places, and what does not fit is noticed."""

import dataclasses
import json
import pickle
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import Length

from datarater.curation import ratings as side
from datarater.curation.decisions import DecisionWriter
from datarater.curation.divide import DivideShard
from datarater.curation.run_folder import shard_lock
from datarater.curation.score import score
from datarater.data.formats import find_shards, finish_folder, read_records, shard_name
from datarater.errors import InputError

LINES = [
  b'{"text": "one", "id": "x", "more": [1, null]}',
  b"{broken",
  b'{"text": "two words"}',
  b'{"id": "x", "text": "the same id again"}',
  b'{"text": "two words"}',
  b"",
  b'{"text": "nan"}',
]


@pytest.fixture
def work(tmp_path):
  """A scored shard, every second document of which is to be kept."""
  path = tmp_path / "c" / "a.jsonl"
  path.parent.mkdir()
  path.write_bytes(b"\n".join(LINES) + b"\n")
  score(Length(), path, tmp_path / "r", quiet=True)
  DecisionWriter(tmp_path / "s", ("", "odd"), "rating").write(
    "a.jsonl",
    side.side_path(tmp_path / "r", "a.jsonl"),
    lambda table, rows: (np.arange(rows.start, rows.stop) % 2).astype(np.int16),
  )
  settings = json.loads((tmp_path / "r" / "run.json").read_text())["settings"]
  return DivideShard(tmp_path / "r", tmp_path / "s", settings, None, {"a.jsonl": "a.jsonl"})


def test_each_record_is_in_one_place_as_it_was(tmp_path, work):
  (shard,) = find_shards(tmp_path / "c" / "a.jsonl")
  stats = pickle.loads(pickle.dumps(work))(shard)
  kept = (tmp_path / "s" / "kept" / "a.jsonl").read_bytes().splitlines()
  assert kept == [LINES[i] for i in (0, 3, 6)]
  rejected = [
    json.loads(line) for line in (tmp_path / "s" / "rejected" / "a.jsonl").read_bytes().splitlines()
  ]
  assert [r["rejected_reason"] for r in rejected] == ["broken JSON", "odd", "odd", "blank line"]
  assert [r.get("row") for r in rejected] == [1, None, None, 5]
  assert stats["records"] == 7
  assert stats["kept"] == 3
  assert stats["rejected"] == {"blank line": 1, "broken JSON": 1, "odd": 2}
  assert stats["after"]["bytes"] == len("one") + len("the same id again") + len("nan")


def test_a_divided_shard_is_left_alone(tmp_path, work):
  (shard,) = find_shards(tmp_path / "c" / "a.jsonl")
  stats = work(shard)
  (tmp_path / "s" / "kept" / "a.jsonl").unlink()
  assert work(shard) == stats
  assert not (tmp_path / "s" / "kept" / "a.jsonl").exists()


def test_another_kind_gets_the_final_ids(tmp_path, work):
  (shard,) = find_shards(tmp_path / "c" / "a.jsonl")
  name = shard_name(shard, "array_record", 0, 1)
  other = dataclasses.replace(work, kind="array_record", names={shard.name: name})
  stats = other(shard)
  finish_folder(tmp_path / "s" / "kept", "array_record", [shard], [stats["kept"]])
  rows = list(read_records(tmp_path / "s" / "kept" / name))
  assert [row.text for row in rows] == ["one", "the same id again", "nan"]
  ids = pq.read_table(side.side_path(tmp_path / "r", "a.jsonl"))["id"].to_pylist()
  assert [row.id for row in rows] == ids[::2]
  assert ids[:3:2] == ["x", "x~1"]


@pytest.mark.parametrize(
  ("number", "line", "message"),
  [
    (2, b'{"text": "two  words"}', "row 2 is '.*', rated was '.*'"),
    (2, b"{broken", "row 2 is rated, but cannot be read as a document"),
    (1, b'{"text": "mended"}', "row 1 has no rating"),
    (6, None, "row 6 is the first that is not there, of 7 when it was rated"),
  ],
)
def test_a_shard_that_changed_is_noticed(tmp_path, work, number, line, message):
  path = tmp_path / "c" / "a.jsonl"
  (shard,) = find_shards(path)
  lines = [*LINES[:number], *([] if line is None else [line]), *LINES[number + 1 :]]
  path.write_bytes(b"\n".join(lines) + b"\n")
  with pytest.raises(InputError, match=f"'a.jsonl' and its ratings do not belong.*{message}"):
    work(shard)
  assert not list((tmp_path / "s").glob("kept/*"))
  assert not list((tmp_path / "s").glob("rejected/*"))
  assert not list((tmp_path / "s").glob("progress/*.json"))


def test_decisions_on_other_documents_are_noticed(tmp_path, work):
  (shard,) = find_shards(tmp_path / "c" / "a.jsonl")
  (tmp_path / "c" / "b.jsonl").write_text('{"text": "only one"}\n')
  score(Length(), tmp_path / "c" / "b.jsonl", tmp_path / "q", quiet=True)
  DecisionWriter(tmp_path / "s", ("", "odd"), "rating").write(
    "a.jsonl",
    side.side_path(tmp_path / "q", "b.jsonl"),
    lambda table, rows: np.zeros(len(table), np.int16),
  )
  with pytest.raises(InputError, match=r"decisions '.*' are not on '.*'; select into a new folder"):
    work(shard)


def test_a_shard_in_work_is_waited_for(tmp_path, work):
  (shard,) = find_shards(tmp_path / "c" / "a.jsonl")
  found = []
  thread = threading.Thread(target=lambda: found.append(work(shard)))
  with shard_lock(work.output, shard.name):
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert not (tmp_path / "s" / "kept").exists()
  thread.join(60)
  assert found[0]["kept"] == 3
