"""Prepared datasets open without TensorFlow, are whole or absent, and keep every document."""

import json
import sys
import tracemalloc
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from datarater.data.builders import text
from datarater.errors import InputError


def documents(prefix: str, number: int) -> list[dict[str, str]]:
  return [
    {"text": f"é{i}" * (i % 7), "id": f"{prefix}{i}", "domain": "ab"[i % 2], "source": "s"}
    for i in range(number)
  ]


def prepare(folder: Path, **splits: list[dict[str, str]]) -> dict:
  return text.prepare_dataset({k: (lambda v=v: v) for k, v in splits.items()}, folder, "tiny")


def read(folder: Path, split: str) -> list[dict[str, bytes]]:
  return list(tfds.builder_from_directory(folder).as_data_source(split=split))


def test_every_document_comes_back_and_no_tensorflow_is_imported(tmp_path: Path):
  given = documents("x", 300)
  prepare(tmp_path / "out", inner=given, odd_name=documents("y", 5))
  found = sorted(read(tmp_path / "out", "inner"), key=lambda d: int(d["id"][1:]))
  assert found == [{k: v.encode() for k, v in d.items()} for d in given]
  assert len(read(tmp_path / "out", "inner[:10%]+odd_name")) == 35
  assert "tensorflow" not in sys.modules


def test_summary_counts_documents_bytes_domains_and_what_the_caller_adds(tmp_path: Path):
  set_aside: dict[str, int] = {}

  def some():
    set_aside["empty"] = 3  # counted while the documents are read
    return documents("x", 11)

  summary = text.prepare_dataset(
    {"inner": some}, tmp_path / "out", "tiny", {"set_aside": set_aside}
  )
  size = sum(len(d["text"].encode()) for d in documents("x", 11))
  assert summary["splits"] == {
    "inner": {"documents": 11, "bytes": size, "domains": {"a": 6, "b": 5}}
  }
  assert summary["domains"] == ["a", "b"]
  assert summary["set_aside"] == {"empty": 3}
  assert json.loads((tmp_path / "out" / "datarater.json").read_text()) == summary


def test_order_is_shuffled_and_depends_on_ids_alone(tmp_path: Path):
  given = documents("x", 200)
  prepare(tmp_path / "a", inner=given)
  prepare(tmp_path / "b", inner=given[::-1])
  order = [d["id"] for d in read(tmp_path / "a", "inner")]
  assert order == [d["id"] for d in read(tmp_path / "b", "inner")]
  assert order != [d["id"].encode() for d in given]
  positions = [int(name[1:]) for name in order]
  assert 70 < sum(positions[:100]) / 100 < 130, "the first half is a sample of the whole"


def test_many_shards_hold_the_same_documents_in_the_same_order(tmp_path: Path, monkeypatch):
  given = documents("x", 200)
  prepare(tmp_path / "one", inner=given)
  monkeypatch.setattr(text, "SHARD_BYTES", 1000)
  prepare(tmp_path / "many", inner=given)
  lengths = tfds.builder_from_directory(tmp_path / "many").info.splits["inner"].shard_lengths
  assert len(lengths) > 3
  assert read(tmp_path / "many", "inner") == read(tmp_path / "one", "inner")


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ([{"text": "a", "id": "1"}, {"text": "b", "id": "1"}], "id '1' is given twice"),
    ([{"text": "a", "id": 1}], "has 1 for 'id'"),
    ([{"id": "1"}], "has None for 'text'"),
    ([], "has no documents"),
  ],
)
def test_bad_documents_are_refused_and_leave_nothing(tmp_path: Path, given, message):
  with pytest.raises(InputError, match=message):
    prepare(tmp_path / "out", inner=documents("x", 3), test=given)
  assert list(tmp_path.iterdir()) == []


def test_bad_names_and_existing_output_are_refused(tmp_path: Path):
  (tmp_path / "there").mkdir()
  with pytest.raises(InputError, match="exists"):
    prepare(tmp_path / "there", inner=documents("x", 3))
  with pytest.raises(InputError, match="split name 'a-b'"):
    prepare(tmp_path / "out", **{"a-b": documents("x", 3)})
  with pytest.raises(InputError, match="dataset name 'A'"):
    text.prepare_dataset({"inner": lambda: documents("x", 3)}, tmp_path / "out", "A")
  with pytest.raises(InputError, match="no splits"):
    prepare(tmp_path / "out")


def test_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path):
  def late():
    prepare(tmp_path / "out", inner=documents("first", 2))
    return documents("second", 2)

  with pytest.raises(InputError, match="appeared"):
    text.prepare_dataset({"inner": late}, tmp_path / "out", "tiny")
  assert {d["id"] for d in read(tmp_path / "out", "inner")} == {b"first0", b"first1"}
  assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_surrogates_and_missing_fields(tmp_path: Path):
  prepare(tmp_path / "out", inner=[{"text": "a\ud800b", "id": "x"}])
  assert read(tmp_path / "out", "inner") == [
    {"text": b"a?b", "id": b"x", "domain": b"", "source": b""}
  ]


def test_memory_does_not_grow_with_the_split(tmp_path: Path):
  """20 MB go through in a quarter of it; TFDS's own writer would hold them all."""
  number, size = 2000, 10_000
  given = ({"text": chr(97 + i % 26) * size, "id": str(i)} for i in range(number))
  tracemalloc.start()
  try:
    text.prepare_dataset({"inner": lambda: given}, tmp_path / "out", "tiny")
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < number * size / 4
