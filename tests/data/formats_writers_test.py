"""Any kind to any other: every field arrives, nothing is bent, TFDS opens what is written."""

import datetime
import decimal
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from datarater.data.datasets import open_dataset
from datarater.data.formats import (
  KINDS,
  Row,
  Shard,
  find_shards,
  finish_folder,
  open_writer,
  output_kind,
  read_records,
  shard_name,
)
from datarater.data.formats.arrow_values import ENCODING
from datarater.errors import InputError

ROWS = [
  {"text": "eins ä", "id": "a", "domain": "d", "meta": {"year": 1999, "tags": ["x", "y"]}},
  {"text": "zwei", "id": "b", "domain": "d", "mixed": 1, "score": 0.5, "yes": True},
  {"text": "drei\nvier", "id": "c", "domain": "e", "mixed": "one", "meta": {"other": None}},
  {"text": "fünf", "id": "d", "domain": "e", "mixed": {"a": [1]}, "score": 2, "big": 2**70},
]
BAD = [b"{broken", b'{"text": 5, "id": "e"}', b"\xff\xfe"]


def write_lines(path, rows, more=()):
  lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b"".join(line + b"\n" for line in [*lines, *more]))
  return path


def convert(path, output, kind, reasons=False, keys=("text", "id", "domain"), **read):
  """Writes all records of a shard as another kind, and returns where."""
  (shard,) = find_shards(path)
  kind = output_kind([shard], kind)
  target = output / shard_name(shard, kind, 0, 1)
  with open_writer(target, path, reasons, kind) as writer:
    for record in read_records(path, *keys, **read):
      if reasons or isinstance(record, Row):
        writer.write(record, "the rule")
  if not reasons:
    finish_folder(output, kind, [shard])
  return target


def fields(row):
  """What a reader finds in any kind: those of ArrayRecord lie in `fields`, absent ones are null."""
  values = row.values()
  values = {**values.pop("fields", {}), **values}
  return {key: value for key, value in values.items() if value is not None}


def without_null(value):
  if isinstance(value, dict):
    return {key: without_null(child) for key, child in value.items() if child is not None}
  return value


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_every_field_arrives_by_way_of_any_two_kinds(tmp_path, first, second):
  path = write_lines(tmp_path / "in" / "x.jsonl", ROWS)
  one = convert(path, tmp_path / "one", first)
  two = convert(one, tmp_path / "two", second)
  records = list(read_records(two))
  assert [(r.id, r.text, r.domain) for r in records] == [
    (row["id"], row["text"], row["domain"]) for row in ROWS
  ]
  assert [without_null(fields(row)) for row in records] == [without_null(row) for row in ROWS]
  assert [path.name for path in (tmp_path / "two").iterdir() if path.name[0] == "."] == []
  again = convert(one, tmp_path / "again", second)
  assert again.read_bytes() == two.read_bytes()


def test_names_follow_the_input(tmp_path):
  def name(path, kind):
    return shard_name(Shard(tmp_path / path, path), kind, 3, 12)

  assert name("x/a.b.ndjson.gz", "parquet") == "x/a.b.parquet"
  assert name("x/a.json.zst", "jsonl.zst") == "x/a.jsonl.zst"
  assert name("x/a.jsonl.zst", "jsonl.zst") == "x/a.jsonl.zst"
  assert name("x/a.txt", None) == "x/a.txt"
  assert name("a-train.array_record-00001-of-00002", "jsonl") == "a-train-00001-of-00002.jsonl"
  assert name("x/a.txt", "array_record") == "curated-train.array_record-00003-of-00012"
  shards = [Shard(tmp_path / n, n) for n in ("a.jsonl", "a.txt")]
  with pytest.raises(InputError, match=r"'a.jsonl' and 'a.txt' would get one name as parquet"):
    output_kind(shards, "parquet")
  with pytest.raises(InputError, match=r"output kind is 'csv'; give one of jsonl, "):
    output_kind(shards, "csv")
  assert output_kind(shards) is None


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_the_rejected_carry_their_reason_in_every_kind(tmp_path, kind):
  path = write_lines(tmp_path / "in" / "x.jsonl", ROWS, BAD)
  target = convert(path, tmp_path / "out", kind, reasons=True)
  if target.suffix == ".parquet":
    rows = pq.read_table(target).to_pylist()
    raw = [row["rejected_raw"] or row["rejected_raw_base64"] for row in rows[4:]]
    assert [row["rejected_row"] for row in rows] == list(range(7))
  else:
    rows = [json.loads(record.source) for record in read_records(target)]
    raw = [row.get("raw") or row["raw_base64"] for row in rows[4:]]
    assert [{**row, "rejected_reason": "the rule"} for row in ROWS] == rows[:4]
  reasons = ["broken JSON", "text is not a string", "invalid UTF-8"]
  assert [row["rejected_reason"] for row in rows] == ["the rule"] * 4 + reasons
  assert raw == [BAD[0].decode(), BAD[1].decode(), "//4="]


def test_bad_rows_of_parquet_and_examples_lose_nothing_as_json(tmp_path):
  bad = pa.StringArray.from_buffers(
    2, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"ok\xff\xfe")
  )
  path = tmp_path / "in" / "a.parquet"
  path.parent.mkdir()
  pq.write_table(pa.table({"text": bad, "n": [1, 2]}), path)
  target = convert(path, tmp_path / "out", "jsonl", reasons=True)
  _, row = map(json.loads, target.read_bytes().splitlines())
  assert json.loads(row["raw"]) == {"text": {"base64": "//4="}, "n": 2}


def test_types_of_parquet_become_valid_json(tmp_path):
  table = pa.table(
    {
      "text": ["a", "b"],
      "when": pa.array([1, 10**18 + 1], pa.timestamp("ns", "UTC")),
      "day": pa.array([datetime.date(2020, 2, 3), None]),
      "span": pa.array([datetime.timedelta(seconds=90), None]),
      "price": pa.array([decimal.Decimal("1.50"), None]),
      "raw": pa.array([b"\xff", b"ok"]),
      "not": [float("nan"), float("inf")],
      "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
      "deep": [{"l": [{"b": b"\xfe"}]}, {"l": [{"b": b"x"}]}],
    }
  )
  path = tmp_path / "a.parquet"
  pq.write_table(table, path)
  target = convert(path, tmp_path / "out", "jsonl")

  def refuse(constant):
    raise AssertionError(constant)

  first, second = (
    json.loads(line, parse_constant=refuse) for line in target.read_bytes().splitlines()
  )
  assert first["when"].startswith("1970-01-01T00:00:00.000000001")
  assert (first["day"], first["span"], first["price"]) == ("2020-02-03", 90.0, "1.50")
  assert (first["raw"], second["raw"]) == ({"base64": "/w=="}, "ok")
  assert first["not"] is second["not"] is None
  assert first["map"] == [["k", 1]]
  assert [row["deep"] for row in (first, second)] == [
    {"l": [{"b": {"base64": "/g=="}}]},
    {"l": [{"b": "x"}]},
  ]


def test_columns_of_several_types_are_json_strings_and_say_so(tmp_path):
  rows = [{"text": "x", "n": 1, "late": None, "m": 1} for _ in range(1500)]
  rows += [
    {"text": "x", "n": 0.5, "late": {"a": 1}, "m": "one", "huge": 2**60 + 1},
    {"text": "x", "n": 2, "late": {"b": [True]}, "huge": 1, "empty": {}},
  ]
  rows += [{"text": "x", "huge": 0.5} for _ in range(1500)]
  rows[0]["far"], rows[-1]["far"] = 2**60 + 1, 0.5  # too far apart to meet in one block
  path = write_lines(tmp_path / "in" / "a.jsonl", rows)
  target = convert(path, tmp_path / "out", "parquet")
  schema = pq.read_schema(target)
  encoded = {field.name for field in schema if (field.metadata or {}).get(ENCODING) == b"json"}
  assert encoded == {"m", "huge", "empty", "far"}
  assert schema.field("n").type == pa.float64()
  table = pq.read_table(target)
  assert table["m"][:1].to_pylist() + table["m"][1500:1501].to_pylist() == ["1", '"one"']
  assert table["huge"][1500].as_py() == str(2**60 + 1)
  values = [without_null(row.values()) for row in read_records(target)]
  bent = [without_null(row) for row in rows]
  bent[1500]["late"], bent[1501]["late"] = {"a": 1}, {"b": [True]}
  assert values == bent
  assert type(values[1500]["huge"]) is int


def test_keys_that_are_data_do_not_become_columns_without_end(tmp_path):
  rows = [{"text": "x", f"key {i}": i, "deep": {f"k{i}": i}} for i in range(1500)]
  path = write_lines(tmp_path / "in" / "a.jsonl", rows)
  target = convert(path, tmp_path / "out", "parquet")
  assert len(pq.read_schema(target)) <= 1001
  values = [without_null(row.values()) for row in read_records(target)]
  flat = [{**row.pop("other_fields", {}), **row} for row in values]
  assert flat == rows


def test_names_and_values_that_are_no_unicode_arrive_escaped(tmp_path):
  line = b'{"text": "x", "\\ud800": 1, "v": "\\udfff", "d": {"\\ud801": 2}}'
  path = write_lines(tmp_path / "in" / "a.jsonl", [], [line])
  for kind in ("parquet", "array_record"):
    (row,) = read_records(convert(path, tmp_path / kind, kind))
    values = row.values().get("fields") or row.values()
    assert values["v"] == "\udfff"
    assert values["d"] == {"\ud801": 2}
  assert "\\ud800" in pq.read_schema(tmp_path / "parquet" / "a.parquet").names


def test_plain_text_as_another_kind_has_its_id(tmp_path):
  (tmp_path / "in").mkdir()
  path = tmp_path / "in" / "a.txt"
  path.write_text("ein Text")
  (row,) = read_records(path)
  for kind in ("jsonl.gz", "parquet"):
    (copy,) = read_records(convert(path, tmp_path / kind, kind))
    assert copy.values() == {"text": "ein Text", "id": row.id}
    assert copy.id == row.id


def test_nested_keys_do_not_double_the_text(tmp_path):
  line = {"doc": {"body": "x", "n": 1, "id": 7}, "domain": ["no name"]}
  path = write_lines(tmp_path / "in" / "a.jsonl", [line])
  target = convert(path, tmp_path / "out", "array_record", keys=("doc.body", "doc.id", "domain"))
  (row,) = read_records(target)
  rest = {"doc": {"n": 1, "id": 7}, "domain": ["no name"]}
  assert row.values() == {"text": "x", "id": "7", "domain": "a", "fields": rest}


def test_a_prepared_dataset_opens_with_empty_shards_too(tmp_path):
  for number, name in ((2, "a"), (0, "b"), (3, "c")):
    rows = [{"text": f"{name}{i}", "id": f"{name}{i}", "n": i} for i in range(number)]
    write_lines(tmp_path / "in" / f"{name}.jsonl", rows)
  shards = find_shards(tmp_path / "in" / "*")
  kind = output_kind(shards, "array_record")
  for index, shard in enumerate(shards):
    name = shard_name(shard, kind, index, len(shards))
    with open_writer(tmp_path / "kept" / name, shard.path, kind=kind) as writer:
      for record in read_records(shard.path):
        writer.write(record)
  with pytest.raises(InputError, match=r"has no dataset_info.json"):
    open_dataset(str(tmp_path / "kept"))
  finish_folder(tmp_path / "kept", kind, shards)
  info = (tmp_path / "kept" / "dataset_info.json").read_bytes()
  finish_folder(tmp_path / "kept", kind, shards, [2, 0, 3])
  assert (tmp_path / "kept" / "dataset_info.json").read_bytes() == info
  for builder in (
    open_dataset(str(tmp_path / "kept")),
    tfds.builder_from_directory(tmp_path / "kept"),
  ):
    examples = list(builder.as_data_source("train"))
    assert [example["text"].decode() for example in examples] == ["a0", "a1", "c0", "c1", "c2"]
    assert json.loads(examples[1]["fields"]) == {"n": 1}
    assert examples[0]["domain"] == b"a"
    part = builder.as_data_source("train[1:3]")
    assert [example["id"] for example in part] == [b"a1", b"c0"]


def test_a_dataset_keeps_its_features_and_its_records(tmp_path):
  features = tfds.features.FeaturesDict(
    {"body": tfds.features.Text(), "site": tfds.features.ClassLabel(names=["u", "v"])}
  )
  folder = tmp_path / "in"
  folder.mkdir()
  features.save_config(str(folder))
  from tensorflow_datasets.core import example_serializer

  serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
  source = [
    serializer.serialize_example(features.encode_example({"body": f"t{i}", "site": i % 2}))
    for i in range(4)
  ]
  from array_record.python import array_record_module

  for part in range(2):
    name = f"own-test.array_record-0000{part}-of-00002"
    writer = array_record_module.ArrayRecordWriter(str(folder / name), "group_size:1")
    for record in source[2 * part : 2 * part + 2]:
      writer.write(record)
    writer.close()
  shards = find_shards(folder / "*record-*")
  for kind in (None, "array_record"):
    kind = output_kind(shards, kind)
    out = tmp_path / "out"
    for index, shard in enumerate(shards):
      with open_writer(out / shard_name(shard, kind, index, 2), shard.path, kind=kind) as writer:
        for record in read_records(shard.path, "body", "id", "site"):
          if record.domain == "v":
            writer.write(record)
    finish_folder(out, kind, shards)
    builder = tfds.builder_from_directory(out)
    examples = list(builder.as_data_source("train"))
    assert examples == [{"body": b"t1", "site": 1}, {"body": b"t3", "site": 1}]
    assert builder.info.features["site"].names == ["u", "v"]
    kept = [r.source for s in find_shards(out / "*record-*") for r in read_records(s.path, "body")]
    assert kept == [source[1], source[3]]
  mixed = [*shards, Shard(tmp_path / "a.jsonl", "a.jsonl")]
  with pytest.raises(InputError, match=r"inputs mix a prepared dataset with other files"):
    output_kind(mixed)
  assert output_kind(mixed, "array_record") == "array_record"
  target = convert(shards[0].path, tmp_path / "json", "jsonl", keys=("body", "", ""))
  assert json.loads(target.read_bytes().splitlines()[1]) == {"body": "t1", "site": "v"}


def test_a_failing_writer_leaves_nothing(tmp_path):
  path = write_lines(tmp_path / "in" / "a.jsonl", ROWS)

  def write_and_fail(kind):
    with open_writer(tmp_path / "out" / f"a.{kind}", path, kind=kind) as writer:
      for record in read_records(path):
        writer.write(record)
      raise ZeroDivisionError

  for kind in KINDS:
    with pytest.raises(ZeroDivisionError):
      write_and_fail(kind)
  assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_without_documents_reads_as_one(tmp_path):
  path = write_lines(tmp_path / "in" / "a.jsonl", [])
  for kind in KINDS:
    assert list(read_records(convert(path, tmp_path / kind, kind))) == []


VALUES = st.recursive(
  st.none()
  | st.booleans()
  | st.integers(-(2**66), 2**66)
  | st.floats(allow_nan=False, allow_infinity=False)
  | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
  ),
  max_leaves=6,
)


def same(a, b):
  """Equal but for: null is absent, an integer may be a float of the same value."""
  if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
    return a is b
  if isinstance(a, dict) and isinstance(b, dict):
    keys = set(a) | set(b)
    return all(same(a.get(key), b.get(key)) for key in keys)
  if isinstance(a, list) and isinstance(b, list):
    return len(a) == len(b) and all(map(same, a, b))
  if isinstance(a, int | float) and isinstance(b, int | float):
    return a == b and math.copysign(1, a) == math.copysign(1, b)
  return type(a) is type(b) and a == b


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=5))
def test_any_json_survives_parquet_and_array_record(tmp_path_factory, rows):
  folder = tmp_path_factory.mktemp("x")
  rows = [{"text": "t", **row} for row in rows]
  path = write_lines(folder / "in" / "a.jsonl", rows)
  for kind in ("parquet", "array_record"):
    found = list(read_records(convert(path, folder / kind, kind)))
    back = [row.values().get("fields", row.values()) for row in found]
    assert len(back) == len(rows)
    for before, after in zip(rows, back, strict=True):
      assert same({**before, "text": None}, {**after, "text": None}), (before, after)
