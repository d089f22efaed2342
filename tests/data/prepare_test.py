"""The user's text as a dataset: disjoint splits by group, nothing lost, the same bytes again."""

import gzip
import json
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from datarater.data.builders import prepare as module
from datarater.data.builders.prepare import FRACTIONS, prepare, split_of
from datarater.data_config import SPLITS
from datarater.errors import InputError


def write_lines(path, records):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(
    b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records)
  )
  return path


def documents(output):
  """By split, the records of a prepared dataset as dicts of strings."""
  builder = tfds.builder_from_directory(str(output))
  return {
    split: [
      {key: value.decode() for key, value in record.items()}
      for record in builder.as_data_source(split)
    ]
    for split in builder.info.splits
  }


def rejected(output):
  return [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]


def test_documents_go_whole_into_five_disjoint_splits(tmp_path):
  folder = tmp_path / "in"
  records = [
    {"body": {"text": f"piece {i} of book {i // 4}"}, "book": i // 4, "site": f"s{i % 2}"}
    for i in range(400)
  ]
  write_lines(folder / "a.jsonl", records[:200])
  (folder / "b.jsonl.gz").write_bytes(
    gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in records[200:]))
  )
  output = tmp_path / "out" / "My books-2"
  summary = prepare(
    str(folder / "*"), output, text_key="body.text", domain_key="site", group_key="book"
  )
  splits = documents(output)
  assert set(splits) == set(SPLITS)
  texts = [d["text"] for split in SPLITS for d in splits[split]]
  assert sorted(texts) == sorted(r["body"]["text"] for r in records)
  books = {split: {d["text"].split()[-1] for d in splits[split]} for split in SPLITS}
  assert sum(map(len, books.values())) == len(set.union(*books.values())) == 100
  assert len({d["id"] for split in SPLITS for d in splits[split]}) == 400
  assert summary["domains"] == ["s0", "s1"]
  assert summary["prepare"]["kept"] == {split: len(splits[split]) for split in SPLITS}
  assert rejected(output) == []
  # The same command leaves it as it is; another one is refused, the difference named.
  before = {path: path.read_bytes() for path in output.iterdir()}
  arguments = {"text_key": "body.text", "domain_key": "site", "group_key": "book"}
  assert prepare(str(folder / "*"), output, **arguments) == summary
  assert {path: path.read_bytes() for path in output.iterdir()} == before
  with pytest.raises(InputError, match=r"was made otherwise .*seed: 0 -> 1.*; remove it"):
    prepare(str(folder / "*"), output, **arguments, seed=1)
  assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_fractions_hold_on_average_and_the_seed_draws():
  groups = [f"group {i}" for i in range(8000)]
  first = [split_of(group, FRACTIONS, 0) for group in groups]
  for split, fraction in FRACTIONS.items():
    assert abs(first.count(split) / len(groups) - fraction) < 0.02
  second = [split_of(group, FRACTIONS, 1) for group in groups]
  by_chance = sum(f * f for f in FRACTIONS.values())
  same = sum(a == b for a, b in zip(first, second, strict=True)) / len(groups)
  assert abs(same - by_chance) < 0.03


def test_bad_records_and_repeated_texts_are_set_aside_and_counted(tmp_path):
  good = [{"text": f"text {i}", "split": split} for split in SPLITS for i in [SPLITS.index(split)]]
  bad = [
    b"{broken\n",
    b'{"text": "\xff"}\n',
    {"text": "", "split": "lm"},
    {"text": "text 0", "split": "test"},  # of inner
    {"text": "text 0", "split": "inner", "domain": "again"},  # the same split: not across
    {"text": "no such split", "split": "train"},
    {"text": "no split"},
  ]
  path = write_lines(tmp_path / "in" / "corpus.jsonl", good + bad)
  broken = tmp_path / "in" / "z.jsonl.gz"
  broken.write_bytes(b"no gzip")
  write_lines(tmp_path / "in" / "x.jsonl", [good[0]])  # again within its split: another id
  summary = prepare(str(tmp_path / "in" / "*"), tmp_path / "out", split_key="split")
  assert summary["prepare"]["rejected"] == {
    "broken JSON": 1,
    "broken gz": 1,
    "empty text": 1,
    "invalid UTF-8": 1,
    "same text in split inner": 1,
    "unknown split": 2,
  }
  aside = rejected(tmp_path / "out")
  assert [(r["file"], r["row"]) for r in aside] == [
    *[(path.name, row) for row in (5, 6, 7, 8, 10, 11)],
    (broken.name, 0),
  ]
  assert aside[1]["raw_base64"]
  assert aside[3]["text"] == "text 0"
  splits = documents(tmp_path / "out")
  assert sum(map(len, splits.values())) == 7
  # Without a domain the file's name stands in.
  assert {d["domain"] for d in splits["inner"]} == {"corpus", "again", "x"}
  assert len({d["id"] for d in splits["inner"]}) == 3


def test_plain_text_is_cut_at_blank_lines_only_when_asked(tmp_path):
  for number in range(30):
    path = tmp_path / "in" / "notes" / f"{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"one {number}\n\ntwo {number}\n")
  inputs = str(tmp_path / "in" / "**" / "*.txt")
  whole = prepare(inputs, tmp_path / "whole")
  cut = prepare(inputs, tmp_path / "cut", paragraphs=True)
  assert sum(whole["prepare"]["kept"].values()) == 30
  assert sum(cut["prepare"]["kept"].values()) == 60
  assert whole["domains"] == ["notes"]


def test_an_empty_split_is_an_error_before_the_output_appears(tmp_path):
  path = write_lines(
    tmp_path / "in" / "a.jsonl", [{"text": f"text {i}"} for i in range(3)] + [b"\n"]
  )
  with pytest.raises(
    InputError, match=r"is empty \(documents: inner \d.*; set aside: 1 blank line"
  ):
    prepare(path, tmp_path / "out")
  with pytest.raises(InputError, match=r"unknown split.*put documents with 'part' set to it"):
    prepare(path, tmp_path / "out", split_key="part")
  assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_impossible_arguments_say_thing_value_and_remedy(tmp_path):
  path = write_lines(tmp_path / "in" / "a.jsonl", [{"text": "x"}])
  (tmp_path / "there").mkdir()
  for arguments, message in (
    ({"output": tmp_path / "in"}, "name a folder beside it"),
    ({"output": tmp_path / "there"}, "exists and is no dataset of this command"),
    ({"text_key": "body"}, "text key 'body' .* name the field"),
    ({"fractions": {"inner": 1.0}}, r"fractions name \['inner'\]; give one for each"),
    ({"fractions": FRACTIONS | {"inner": 0.9}}, "fractions add up to 1.56"),
    ({"fractions": FRACTIONS | {"inner": 0.0}}, "fraction of inner is 0"),
    ({"seed": -1}, "seed is -1"),
  ):
    with pytest.raises(InputError, match=message):
      prepare(path, **({"output": tmp_path / "out"} | arguments))
  with pytest.raises(InputError, match="matches no file"):
    prepare(tmp_path / "none.jsonl", tmp_path / "out")


def test_a_run_that_dies_leaves_no_output_and_a_repeat_makes_it(tmp_path, monkeypatch):
  path = write_lines(tmp_path / "in" / "a.jsonl", [{"text": f"text {i}"} for i in range(200)])

  def die(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(module, "prepare_dataset", die)
    with pytest.raises(KeyboardInterrupt):
      prepare(path, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  stale = tmp_path / ".out.preparing"  # what SIGKILL would leave
  write_lines(stale / "inner", [{"text": "stale", "id": "stale", "domain": "x"}])
  prepare(path, tmp_path / "out")
  assert "stale" not in {d["text"] for split in documents(tmp_path / "out").values() for d in split}
  prepare(path, tmp_path / "again")
  files = list((tmp_path / "out").glob("*array_record*"))
  assert len(files) == 5
  for file in files:
    other = Path(str(file).replace("/out/", "/again/").replace("out-", "again-"))
    assert file.read_bytes() == other.read_bytes()
