"""ArrayRecord in: TFDS-prepared files without TensorFlow, plain JSON records, and damaged files."""

import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer

from datarater.data.builders.text import prepare_dataset
from datarater.data.formats import BadRecord, Row, default_domain, find_shards, read_records
from datarater.errors import InputError


def write_records(path, records, options="group_size:1"):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = array_record_module.ArrayRecordWriter(str(path), options)
  for record in records:
    writer.write(record)
  writer.close()
  return path


def prepared(folder, features, examples, name="x-train.array_record-00000-of-00001"):
  """A TFDS folder as far as reading needs one."""
  features = tfds.features.FeaturesDict(features)
  serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
  records = [serializer.serialize_example(features.encode_example(e)) for e in examples]
  path = write_records(folder / name, records)
  features.save_config(str(folder))
  return path


def test_a_prepared_dataset_reads_as_it_was_prepared(tmp_path):
  documents = [
    {"text": f"text ä {i}", "id": f"i{i}", "domain": "d", "source": ""} for i in range(300)
  ]
  prepare_dataset({"train": lambda: documents, "test": lambda: documents[:3]}, tmp_path / "x", "x")
  shards = find_shards(tmp_path / "x" / "*.array_record*")
  assert [shard.format for shard in shards] == ["array_record"] * 2
  assert [default_domain(shard.path) for shard in shards] == ["x-test", "x-train"]
  steps = []
  records = list(read_records(shards[1].path, progress=steps.append))
  assert all(isinstance(record, Row) for record in records)
  assert [record.number for record in records] == list(range(300))
  assert sorted((r.values() for r in records), key=lambda v: int(v["id"][1:])) == documents
  assert {record.id for record in records} == {d["id"] for d in documents}
  assert sum(steps) == shards[1].size
  assert "tensorflow" not in sys.modules


def test_features_of_every_kind_become_python_values(tmp_path):
  F = tfds.features
  features = {
    "doc": F.FeaturesDict({"body": F.Text(), "year": np.int32}),
    "site": F.ClassLabel(names=["news", "web"]),
    "tags": F.Sequence(F.Text()),
    "parts": F.Sequence({"a": F.Text(), "b": np.float32}),
    "nested": F.Dataset({"x": F.Text()}),
    "grid": F.Tensor(shape=(2,), dtype=np.float32),
    "raw": F.Text(),
    "yes": np.bool_,
  }
  example = {
    "doc": {"body": "ä", "year": 3},
    "site": 1,
    "tags": ["p", "q"],
    "parts": {"a": ["u", "v"], "b": [0.5, 1.5]},
    "nested": [{"x": "y"}],
    "grid": [1, 2],
    "raw": b"\xff",
    "yes": True,
  }
  path = prepared(tmp_path, features, [example])
  (row,) = read_records(path, "doc.body", "doc.year", "site", extra_keys=("tags",))
  assert (row.text, row.id, row.domain, row.extra) == ("ä", "3", "web", {"tags": ["p", "q"]})
  assert row.values() == {**example, "site": "web"}
  assert {type(x) for x in row.values()["parts"]["b"]} == {float}


def test_bad_examples_are_set_aside_whole(tmp_path):
  path = prepared(tmp_path, {"text": tfds.features.Text()}, [{"text": "a"}, {"text": b"\xff"}])
  good, not_utf8 = read_records(path)
  assert good.text == "a"
  assert (not_utf8.reason, not_utf8.detail) == ("invalid UTF-8", "feature text")
  mixed = [good.source, b"garbage", not_utf8.raw, b"", good.source]
  records = list(read_records(write_records(tmp_path / "b.array_record", mixed)))
  assert [getattr(r, "reason", "") for r in records] == [
    "",
    "broken example",
    "invalid UTF-8",
    "text missing",
    "",
  ]
  assert [r.source for r in records] == mixed
  (long, *_) = read_records(path, max_record_bytes=5)
  assert (long.reason, long.raw) == ("record too long", good.source)


def test_without_features_each_record_is_a_json_object(tmp_path):
  lines = [b'{"text": "a", "n": {"m": 1}}', b"", b"[1]", b"\xff", b'{"text": "b"']
  path = write_records(tmp_path / "a.array_record", lines, "group_size:100")
  row, *bad = read_records(path)
  assert (row.text, row.values()) == ("a", json.loads(lines[0]))
  reasons = ["blank record", "not a JSON object", "invalid UTF-8", "broken JSON"]
  assert [(r.reason, r.raw) for r in bad] == list(zip(reasons, lines[1:], strict=True))


def test_damage_keeps_what_was_read_and_says_so_once(tmp_path):
  lines = [b'{"text": "%d %s"}' % (i, np.random.default_rng(i).bytes(200).hex().encode())
           for i in range(2000)]  # fmt: skip
  content = write_records(tmp_path / "a.array_record", lines).read_bytes()
  half = len(content) // 2
  damaged = {
    "cut": content[:-100],
    "half": content[:half],
    "empty": b"",
    "garbage": content[:half] + b"\xa5" * 40_000 + content[half + 40_000 :],
    "text": b"this is no array_record",
  }
  for name, bad in damaged.items():
    (tmp_path / f"{name}.array_record").write_bytes(bad)
    *rows, last = read_records(tmp_path / f"{name}.array_record")
    assert isinstance(last, BadRecord)
    assert (last.reason, last.rest, last.number) == ("broken array_record", True, len(rows))
    assert [row.source for row in rows] == lines[: len(rows)]
    assert (len(rows) > 500) == (name == "garbage")


def test_no_records_and_no_file(tmp_path):
  assert list(read_records(write_records(tmp_path / "a.array_record", []))) == []
  with pytest.raises(InputError, match=r"gone.array_record' cannot be read: No such file"):
    list(read_records(tmp_path / "gone.array_record"))
  (tmp_path / "features.json").write_text("{")
  with pytest.raises(InputError, match=r"features.json' cannot be read: .*prepare the dataset"):
    list(read_records(tmp_path / "a.array_record"))
  (tmp_path / "features.json").unlink()
  (tmp_path / "dataset_info.json").write_text("{}")
  with pytest.raises(InputError, match=r"has dataset_info.json and no features.json"):
    list(read_records(tmp_path / "a.array_record"))
