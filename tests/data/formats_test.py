"""Shards in and out: what is read, what is set aside, that nothing is lost, that bytes repeat."""

import gzip
import json
import lzma
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from datarater.data.formats import (
  BadRecord,
  Numbering,
  Row,
  default_domain,
  find_shards,
  fingerprint,
  id_base,
  input_places,
  open_writer,
  read_records,
  require_apart,
  require_text_key,
)
from datarater.errors import InputError

COMPRESS = {
  "": bytes,
  ".gz": gzip.compress,
  ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
  ".xz": lzma.compress,
}


def lines(number, start=0):
  return b"".join(
    b'{"text": "number %d, %s", "id": "i%d"}\n' % (i, str(i * 2654435761 % 2**32).encode(), i)
    for i in range(start, start + number)
  )


def read(path, *args, **kwargs):
  return list(read_records(path, *args, **kwargs))


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)
  return path


@pytest.mark.parametrize("suffix", COMPRESS)
def test_lines_round_trip_untouched_and_repeat_byte_for_byte(tmp_path, suffix):
  raw = [
    '{"text":"ä", "other": {"b":1,  "a":[1.50]}}'.encode(),
    b'{"id": 7, "text": "x"}\r',
    b'{"text": "last"}',
  ]
  path = write(tmp_path / f"a.jsonl{suffix}", COMPRESS[suffix](b"\n".join(raw)))
  for name in ("one", "two"):
    with open_writer(tmp_path / name / path.name, path) as writer:
      for record in read_records(path):
        writer.write(record)
  assert [record.source for record in read(tmp_path / "one" / path.name)] == raw
  first, second = ((tmp_path / n / path.name).read_bytes() for n in ("one", "two"))
  assert first == second
  if suffix == ".gz":
    assert first[3:8] == b"\0" * 5  # neither a name nor a time in the header


def test_each_bad_line_is_set_aside_with_its_reason_and_its_bytes(tmp_path):
  bad = {
    "broken JSON": [b"{", b'{"text": "a\x00b"}', b'{"text": 1', b"[" * 100_000],
    "not a JSON object": [b"[1]", b'"text"', b"null"],
    "text missing": [b'{"body": "x"}', b'{"text": null}', b"{}"],
    "text is not a string": [b'{"text": 1}', b'{"text": ["a"]}'],
    "empty text": [b'{"text": ""}', b'{"text": " \\n"}'],
    "invalid UTF-8": [b'{"text": "\xff"}', b"\xfe\xff\x00{"],
    "NUL in text": [b'{"text": "a\\u0000"}'],
    "text is not Unicode": [b'{"text": "\\ud800"}'],
    "blank line": [b"", b"  \r"],
  }
  content = [(line, reason) for reason, group in bad.items() for line in group]
  good = b'{"text": "good"}'
  path = write(tmp_path / "a.jsonl", b"".join(line + b"\n" + good + b"\n" for line, _ in content))
  records = read(path)
  assert [r.number for r in records] == list(range(2 * len(content)))
  assert [(r.raw, r.reason) for r in records[::2]] == content
  assert all(isinstance(r, Row) and r.text == "good" for r in records[1::2])


def test_raw_of_a_bad_record_survives_json(tmp_path):
  path = write(tmp_path / "a.jsonl", b'\xff\xfe\n{"text": 3}\n')
  first, second = (json.loads(json.dumps(record.as_json())) for record in read(path))
  assert first["raw_base64"] == "//4="
  assert second["raw"] == '{"text": 3}'
  assert (second["row"], second["reason"]) == (1, "text is not a string")


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "at once"])
def test_broken_compression_keeps_what_was_read_and_says_so_once(tmp_path, suffix, damage):
  whole = COMPRESS[suffix](lines(20_000))
  half = len(whole) // 2
  content = {
    "cut": whole[:-20],
    "garbage": whole[:half] + b"\xa5" * 64 + whole[half + 64 :],
    "at once": b"this is no compressed file",
  }[damage]
  records = read(write(tmp_path / f"a.jsonl{suffix}", content))
  *rows, last = records
  assert isinstance(last, BadRecord)
  assert last.rest
  assert last.reason == f"broken {suffix[1:]}"
  assert [row.number for row in records] == list(range(len(records)))
  if damage == "cut":
    assert len(rows) > 10_000
    assert [row.id for row in rows] == [f"i{i}" for i in range(len(rows))]
  if damage == "at once":
    assert not rows


def test_frames_and_members_may_follow_each_other(tmp_path):
  for suffix in (".gz", ".zst", ".xz"):
    content = COMPRESS[suffix](lines(10)) + COMPRESS[suffix](lines(10, start=10))
    records = read(write(tmp_path / f"a.jsonl{suffix}", content))
    assert [record.id for record in records] == [f"i{i}" for i in range(20)]


def test_empty_files_have_no_records(tmp_path):
  for name in ("a.jsonl", "a.txt"):
    assert read(write(tmp_path / name, b"")) == []
  for suffix in (".gz", ".zst", ".xz"):
    assert read(write(tmp_path / f"a.jsonl{suffix}", COMPRESS[suffix](b""))) == []
  pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
  assert read(tmp_path / "a.parquet") == []


def test_no_compressed_file_and_no_parquet_has_no_bytes(tmp_path):
  for name in ("a.jsonl.gz", "a.jsonl.zst", "a.jsonl.xz", "a.parquet"):
    (only,) = read(write(tmp_path / name, b""))
    assert only.reason.startswith("broken")
    assert only.rest


def test_byte_order_mark_belongs_to_no_document(tmp_path):
  (row,) = read(write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "x"}\n'))
  assert row.text == "x"
  assert row.source.startswith(b"\xef\xbb\xbf")


def test_nested_keys_and_keys_with_dots(tmp_path):
  line = b'{"doc": {"body": "x", "meta": {"id": 5, "site": "s"}}, "a.b": "y", "a": {"b": "z"}}\n'
  path = write(tmp_path / "a.jsonl", line)
  (row,) = read(path, "doc.body", "doc.meta.id", "doc.meta.site", extra_keys=("a.b", "none.x"))
  assert (row.text, row.id, row.domain) == ("x", "5", "s")
  assert row.extra == {"a.b": "y", "none.x": None}
  table = pa.Table.from_pylist([json.loads(line)])
  pq.write_table(table, tmp_path / "a.parquet")
  (row,) = read(
    tmp_path / "a.parquet", "doc.body", "doc.meta.id", "doc.meta.site", extra_keys=("a.b",)
  )
  assert (row.text, row.id, row.domain, row.extra["a.b"]) == ("x", "5", "s", "y")


def test_ids_never_repeat_and_tell_their_base(tmp_path):
  records = [
    {"text": "same"},
    {"text": "same"},
    {"text": "a", "id": "x"},
    {"text": "b", "id": "x"},
    {"text": "c", "id": "x~1"},
    {"text": "d", "id": "x"},
    {"text": "e", "id": 5},
    {"text": "f", "id": "5"},
    {"text": "g", "id": [1]},
    {"text": "h", "id": ""},
    {"text": "i", "id": "../../etc/passwd"},
  ]
  content = "".join(json.dumps(record) + "\n" for record in records).encode()
  rows = read(write(tmp_path / "a.jsonl", content), numbering=Numbering())
  ids = [row.id for row in rows]
  assert len(set(ids)) == len(ids)
  assert ids[0].endswith("-0")
  assert ids[1] == ids[0][:-1] + "1"
  assert ids[2:4] == ["x", "x~1"]
  assert rows[3].flags == rows[7].flags == ("repeated_id",)
  assert rows[8].flags == rows[9].flags == ("unusable_id",)
  bases = [id_base(row.id, row.flags) for row in rows]
  assert bases[2] == bases[3] == bases[5] == ("x", False)
  assert bases[4] == ("x~1", False)
  assert bases[0] == bases[1]
  assert bases[0][1]
  # The content alone makes the id: another file, another place, the same name.
  again = read(write(tmp_path / "b.jsonl", b'\n{"text": "same", "k": 1}\n'))[1]
  assert again.id == ids[0]
  # Without a numbering nothing is remembered: each has the id that its base gives.
  alone = [row.id for row in read(tmp_path / "a.jsonl")]
  assert alone[:4] == [ids[0], ids[0], "x", "x"]
  assert [id_base(r.id, r.flags) for r in read(tmp_path / "a.jsonl")] == bases
  shared = Numbering()
  both = [r for p in (tmp_path / "a.jsonl",) * 2 for r in read_records(p, numbering=shared)]
  assert len({row.id for row in both}) == 2 * len(records)


def test_parquet_round_trip_keeps_types_that_python_would_bend(tmp_path):
  table = pa.table(
    {
      "text": ["a", "b", None, "d"],
      "when": pa.array([1, 2, 3, 4], pa.timestamp("ns", "UTC")),
      "small": pa.array([1, 2, 3, 4], pa.uint8()),
      "half": pa.array(np.array([1, 2, 3, 4], np.float16)),
      "kind": pa.array(["x", "y", "x", "y"]).dictionary_encode(),
      "deep": [{"l": [1]}, {"l": []}, None, {"l": [2, 3]}],
      "raw": pa.array([b"\xff", b"", None, b"\0"], pa.large_binary()),
    }
  ).replace_schema_metadata({"own": "metadata"})
  path = tmp_path / "a.parquet"
  pq.write_table(table, path, compression="zstd", row_group_size=3)
  table = pq.read_table(path)  # the fields of lists are called otherwise in a file
  records = read(path)
  assert [record.number for record in records] == [0, 1, 2, 3]
  assert records[2].reason == "text missing"
  with open_writer(tmp_path / "out.parquet", path) as writer:
    for record in records[::2] + records[1::2]:
      writer.write(record)
  assert pq.read_table(tmp_path / "out.parquet").equals(table.take([0, 2, 1, 3]), True)
  with open_writer(tmp_path / "rejected.parquet", path, reasons=True) as writer:
    writer.write(records[3], "why")
    writer.write(records[2])
  rejected = pq.read_table(tmp_path / "rejected.parquet")
  assert rejected["rejected_reason"].to_pylist() == ["why", "text missing"]
  assert rejected["rejected_row"].to_pylist() == [3, 2]
  kept = rejected.drop(["rejected_reason", "rejected_row"])
  assert kept.equals(table.take([3, 2]).replace_schema_metadata())


def test_parquet_with_a_bad_string_a_bad_page_and_a_lost_footer(tmp_path):
  bad = pa.StringArray.from_buffers(
    2, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"ok\xff\xfe")
  )
  pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
  good, record = read(tmp_path / "a.parquet")
  assert good.text == "ok"
  assert (record.reason, record.detail) == ("invalid UTF-8", "column text")
  assert json.loads(record.raw) == {"text": {"base64": "//4="}}

  texts = [f"text {i} {'ab' * 40}" for i in range(5000)]
  pq.write_table(pa.table({"text": texts}), tmp_path / "b.parquet", row_group_size=1000)
  content = bytearray((tmp_path / "b.parquet").read_bytes())
  place = pq.read_metadata(tmp_path / "b.parquet").row_group(2).column(0).data_page_offset
  content[place : place + 3000] = b"\xa5" * 3000
  *rows, last = read(write(tmp_path / "c.parquet", bytes(content)))
  assert [row.text for row in rows] == texts[: len(rows)]
  assert len(rows) >= 1000
  assert (last.reason, last.rest, last.number) == ("broken parquet", True, len(rows))

  (only,) = read(write(tmp_path / "d.parquet", bytes(content[:-9])))
  assert (only.reason, only.number, only.rest) == ("broken parquet", 0, True)
  with open_writer(tmp_path / "e.parquet", tmp_path / "d.parquet", reasons=True) as writer:
    writer.write(only)
  assert pq.read_table(tmp_path / "e.parquet")["rejected_reason"].to_pylist() == ["broken parquet"]


def test_plain_text_is_a_document_or_its_paragraphs(tmp_path):
  path = write(tmp_path / "wiki" / "a.txt", "eins\nzwei\n\n \n\nd\xe4\n".encode())
  (row,) = read(path)
  assert row.text == "eins\nzwei\n\n \n\nd\xe4\n"
  assert default_domain(path) == "wiki"
  assert [row.text for row in read(path, paragraphs=True)] == ["eins\nzwei", "d\xe4"]
  (bad,) = read(write(tmp_path / "b.txt", b"a\xff"))
  assert bad.reason == "invalid UTF-8"
  with open_writer(tmp_path / "out" / "a.txt", path) as writer:
    writer.write(row)
  assert (tmp_path / "out" / "a.txt").read_bytes() == path.read_bytes()


def test_shards_are_named_below_their_common_folder_and_once_each(tmp_path):
  for name in ("x/a.jsonl", "y/a.jsonl", "y/z/b.parquet"):
    write(tmp_path / name, b"")
  patterns = [str(tmp_path / "**/*.*"), tmp_path / "x/a.jsonl"]
  shards = find_shards(patterns)
  assert [shard.name for shard in shards] == ["x/a.jsonl", "y/a.jsonl", "y/z/b.parquet"]
  assert [shard.name for shard in find_shards(tmp_path / "x/a.jsonl")] == ["a.jsonl"]
  folders = input_places(patterns)
  assert tmp_path.resolve() in folders
  for output in (tmp_path / "out", tmp_path, tmp_path.parent):
    with pytest.raises(InputError, match="name a folder beside it"):
      require_apart(output, folders, "input")
  require_apart(tmp_path.parent / "elsewhere", folders, "input")


def test_output_may_lie_beside_a_named_file(tmp_path):
  write(tmp_path / "a.jsonl", b"")
  places = input_places(tmp_path / "a.jsonl")
  require_apart(tmp_path / "out", places, "input")
  for output in (tmp_path, tmp_path / "a.jsonl"):
    with pytest.raises(InputError, match="name a folder beside it"):
      require_apart(output, places, "input")


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("none/*.jsonl", "matches no file; check the path"),
    ("a.csv", r"extension '.csv'; give files that end in .jsonl"),
    ("folder", r"is a folder; give a glob of its files such as .*folder/\*.jsonl"),
  ],
)
def test_wrong_inputs_say_thing_value_and_remedy(tmp_path, pattern, message):
  write(tmp_path / "a.csv", b"text\n")
  (tmp_path / "folder").mkdir()
  with pytest.raises(InputError, match=message):
    find_shards(tmp_path / pattern)


def test_a_text_key_that_no_record_has_is_an_error_but_not_one_that_some_have(tmp_path):
  write(tmp_path / "a.jsonl", b'{"body": "x"}\n{"body": "y"}\n')
  shards = find_shards(tmp_path / "a.jsonl")
  with pytest.raises(InputError, match=r"text key 'text' .* \(fields: body\); name the field"):
    require_text_key(shards, "text")
  require_text_key(shards, "body")
  write(tmp_path / "b.jsonl", b'{"body": "x"}\n{"text": "y"}\n')
  require_text_key(find_shards(tmp_path / "*.jsonl"), "text")
  write(tmp_path / "c.jsonl", b"{broken\n")
  require_text_key(find_shards(tmp_path / "c.jsonl"), "text")
  pq.write_table(pa.table({"body": ["x"], "n": [1]}), tmp_path / "d.parquet")
  with pytest.raises(InputError, match=r"fields: body, n"):
    require_text_key(find_shards(tmp_path / "d.parquet"), "text")


def test_a_fingerprint_changes_with_the_size_and_with_either_end(tmp_path):
  base = b"a" * 300_000
  contents = [base, base + b"a", b"b" + base[1:], base[:-1] + b"b", b"", b"a"]
  prints = [fingerprint(write(tmp_path / "a.jsonl", content)) for content in contents]
  assert len(set(prints)) == len(prints)
  assert fingerprint(write(tmp_path / "b.jsonl", base)) == prints[0]


def test_an_unwritable_place_is_one_clear_error(tmp_path):
  path = write(tmp_path / "a.jsonl", lines(1))
  write(tmp_path / "file", b"")
  with (
    pytest.raises(InputError, match="cannot be written"),
    open_writer(tmp_path / "file" / "a.jsonl", path),
  ):
    pass


def test_a_writer_that_fails_leaves_nothing(tmp_path):
  path = write(tmp_path / "a.jsonl.gz", gzip.compress(lines(3)))
  pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
  for source in (path, tmp_path / "a.parquet"):
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / "o" / source.name, source) as w:
      w.write(read(source)[1 // 0])
  assert list((tmp_path / "o").iterdir()) == []


def test_rejected_lines_keep_their_fields_and_gain_a_reason(tmp_path):
  path = write(tmp_path / "a.jsonl", b'{"text": "x", "n": 1e2 } \r\n{"text": 1}\n')
  with open_writer(tmp_path / "r.jsonl", path, reasons=True) as writer:
    for record in read_records(path):
      writer.write(record, 'the "rule"')
  first, second = (tmp_path / "r.jsonl").read_bytes().splitlines()
  assert first == b'{"text": "x", "n": 1e2 , "rejected_reason": "the \\"rule\\""}'
  assert json.loads(second)["rejected_reason"] == "text is not a string"
  assert json.loads(second)["raw"] == '{"text": 1}'


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_reading_remembers_no_texts(tmp_path, suffix):
  """Ids of a shard are remembered as hashes; 3,000 more documents of 4 kB cost no megabyte."""
  random = np.random.default_rng(0)
  texts = [random.bytes(2000).hex() for _ in range(4000)]
  peaks = []
  for number in (1000, 4000):
    path = tmp_path / f"{number}{suffix}"
    if suffix == ".parquet":
      pq.write_table(pa.table({"text": texts[:number]}), path, row_group_size=500)
    else:
      lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[:number])
      write(path, COMPRESS[path.suffix](lines.encode()))
    tracemalloc.start()
    arrow = []
    for record in read_records(path):
      assert isinstance(record, Row)
      arrow.append(pa.total_allocated_bytes() if record.number % 100 == 0 else 0)
    peaks.append(tracemalloc.get_traced_memory()[1] + max(arrow))
    tracemalloc.stop()
  assert peaks[1] - peaks[0] < 1 << 20


def test_progress_adds_up_to_the_size_of_the_file(tmp_path):
  for suffix, compress in COMPRESS.items():
    path = write(tmp_path / f"a.jsonl{suffix}", compress(lines(20_000)))
    steps = []
    read(path, progress=steps.append)
    assert sum(steps) == path.stat().st_size
