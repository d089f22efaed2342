"""Selections with the corpus: nothing lost, a killed run ends as a quiet one, misfits refused."""

import base64
import gzip
import json
import lzma
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from side_files import RULES, decisions_of, tree
from toys import Length

from datarater.curation.engines import engine_of
from datarater.curation.rules import (
  Threshold,
  TopFraction,
)
from datarater.curation.score import score
from datarater.curation.select import select
from datarater.data.formats import Row, read_records
from datarater.errors import InputError
from datarater.scorers.random import RandomScorer


def write_corpus(folder):
  """Lines of every kind, sound and broken; Parquet and text."""
  rng = random.Random(0)
  words = ["alpha", "beta", "gamma", "delta"]

  def line(i):
    text = " ".join(rng.choices(words, k=1 + i % 9))
    return json.dumps({"text": text, "domain": f"d{i % 3}", "n": i}).encode() + b"\n"

  lines = [line(i) for i in range(400)]
  (folder / "sub").mkdir(parents=True)
  (folder / "a.jsonl").write_bytes(b"".join([*lines[:40], b"{broken\n", b"\xff\n", b"\n"]))
  (folder / "sub" / "a.jsonl").write_bytes(b"")
  (folder / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines))[:-60])
  (folder / "c.json.zst").write_bytes(zstandard.compress(b"".join(lines[::3])))
  (folder / "d.jsonl.xz").write_bytes(lzma.compress(b'{"text": "nan"}\n{"text": ""}\n'))
  pq.write_table(pa.table({"text": ["x", None, "yy"], "k": [1, 2, 3]}), folder / "e.parquet")
  (folder / "f.parquet").write_bytes(b"PAR1 and no more")
  (folder / "g.txt").write_text("a document of its own\n")
  (folder / "h.txt").write_bytes(b"\xff\xfe")
  return str(folder / "**/*.*")


def run_all(inputs, output, rule=None, **options):
  score(Length(), inputs, output / "ratings", quiet=True)
  rule = rule or TopFraction(0.5)
  return select(output / "ratings", output / "selected", rule, inputs=inputs, quiet=True, **options)


def test_every_format_in_and_out_and_the_counts_add_up(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  stats = run_all(inputs, tmp_path)
  names = [p.relative_to(tmp_path / "corpus") for p in (tmp_path / "corpus").rglob("*.*")]
  selected = tmp_path / "selected"
  assert stats == json.loads((selected / "stats.json").read_text())
  assert stats["records"] == stats["kept"] + sum(stats["rejected"].values())
  assert stats["shards"] == len(names) == 9
  assert stats["shards_cut_short"] == 2
  assert stats["shards_not_scored"] == 0
  assert stats["rejected"]["rating is not a number"] == 1
  assert stats["before"]["documents"] - 1 == 2 * stats["kept"]
  assert not (selected / "progress").exists()
  for name in names:
    records = list(read_records(tmp_path / "corpus" / name))
    decisions = pq.read_table(selected / "decisions" / f"{name}.parquet").to_pylist()
    good = [record for record in records if isinstance(record, Row)]
    assert [d["row"] for d in decisions] == [record.number for record in good]
    wanted = {d["row"] for d in decisions if d["kept"]}
    if name.suffix == ".txt":
      places = [p for p in ("kept", "rejected") if (selected / p / name).exists()]
      assert places == ["kept" if wanted else "rejected"]
      continue
    kept = list(read_records(selected / "kept" / name)) if "f." not in str(name) else []
    assert all(isinstance(row, Row) for row in kept)
    assert [row.text for row in kept] == [r.text for r in good if r.number in wanted]
    if "json" in name.name:
      assert [row.source for row in kept] == [r.source for r in good if r.number in wanted]
    else:
      rejected = pq.read_table(selected / "rejected" / name)
      refused = [r.number for r in records if r.number not in wanted]
      assert rejected["rejected_row"].to_pylist() == refused
      assert all(rejected["rejected_reason"].to_pylist())


def test_the_best_half_is_kept_and_the_mixture_counted(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  texts = ["a" * n for n in (5, 1, 4, 2, 3, 6)]
  (folder / "a.jsonl").write_text(
    "".join(json.dumps({"text": t, "domain": str(len(t) % 2)}) + "\n" for t in texts)
  )
  inputs = folder / "a.jsonl"
  stats = run_all(inputs, tmp_path)
  kept = read_records(tmp_path / "selected" / "kept" / "a.jsonl")
  assert [row.text for row in kept] == ["aaaaa", "aaaa", "aaaaaa"]
  assert stats["before"] == {
    "documents": 6,
    "tokens": 6,
    "domains": {
      "0": {"documents": 3, "tokens": 3, "bytes": 12},
      "1": {"documents": 3, "tokens": 3, "bytes": 9},
    },
    "bytes": 21,
  }
  assert stats["after"]["domains"] == {
    "0": {"documents": 2, "tokens": 2, "bytes": 10},
    "1": {"documents": 1, "tokens": 1, "bytes": 5},
  }
  # Another cut needs no scoring: the corpus is read, the scorer is not there.
  ratings = tmp_path / "ratings"
  stats = select(ratings, tmp_path / "t", Threshold(6.0), inputs=inputs, quiet=True)
  assert stats["kept"] == 1
  assert stats["rejected"] == {"below the threshold": 5}
  assert stats["cut"] == 6.0


@pytest.mark.parametrize("kind", ["jsonl.zst", "parquet", "array_record"])
def test_the_output_may_be_of_another_kind(tmp_path, kind):
  folder = tmp_path / "corpus"
  folder.mkdir()
  for name in ("a.jsonl", "b.parquet"):
    rows = [{"text": f"{name} " + "x" * i, "n": i} for i in range(9)]
    if name == "a.jsonl":
      (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
      pq.write_table(pa.Table.from_pylist(rows), folder / name)
  stats = run_all(str(folder / "*"), tmp_path, format=kind)
  files = sorted(path for path in (tmp_path / "selected" / "kept").iterdir() if kind in path.name)
  assert len(files) == 2
  texts = [row.text for path in files for row in read_records(path)]
  wanted = [row["id"] for row in decisions_of(tmp_path / "selected").values() if row["kept"]]
  assert len(texts) == len(wanted) == stats["kept"] == 9
  assert sorted(len(text) for text in texts)[0] > 10
  with pytest.raises(InputError, match="format is 'parquet' without inputs to write; give both"):
    select(tmp_path / "ratings", tmp_path / "t", TopFraction(0.5), format="parquet", quiet=True)


RECORDS = st.one_of(
  st.text(max_size=20).map(lambda text: json.dumps({"text": text}).encode()),
  st.builds(
    lambda i, t: json.dumps({"id": i, "text": t}).encode(), st.integers(0, 3), st.text(max_size=5)
  ),
  st.sampled_from(
    [b"", b" ", b"{", b"[]", b'{"text": 1}', b'{"text": "nan"}', b"\xff", b'{"text": "\\u0000"}']
  ),
  st.binary(max_size=12).filter(lambda line: b"\n" not in line),
)
SHARD = st.tuples(st.lists(RECORDS, max_size=12), st.sampled_from(["", ".gz", ".zst", ".xz"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
  st.lists(SHARD, min_size=1, max_size=3),
  st.sampled_from(["top", "threshold", "pointwise", "tokens", "temperature"]),
  st.booleans(),
  st.data(),
)
def test_every_record_is_kept_or_rejected_exactly_once(shards, rule, cut, data):
  compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".xz": lzma.compress}
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "corpus").mkdir()
    # A corpus without any text would be refused, rightly.
    (folder / "corpus" / "z.jsonl").write_text('{"text": "sound"}\n')
    for number, (lines, suffix) in enumerate(shards):
      content = compress[suffix](b"".join(line + b"\n" for line in lines))
      if cut and suffix:
        content = content[: data.draw(st.integers(0, len(content)))]
      (folder / "corpus" / f"{number}.jsonl{suffix}").write_bytes(content)
    stats = run_all(str(folder / "corpus" / "*"), folder, RULES[rule])
    total = 0
    for path in (folder / "corpus").iterdir():
      records = list(read_records(path))
      total += len(records)
      expected = sorted(r.source if isinstance(r, Row) else r.raw for r in records)
      kept = [row.source for row in read_records(folder / "selected" / "kept" / path.name)]
      refused = [
        original(line.source) for line in lines_of(folder / "selected" / "rejected" / path.name)
      ]
      assert sorted(kept + refused) == expected
      decided = pq.read_table(folder / "selected" / "decisions" / f"{path.name}.parquet")
      assert len(decided) == sum(isinstance(record, Row) for record in records)
    assert stats["records"] == total == stats["kept"] + sum(stats["rejected"].values())


def lines_of(path):
  """Rejected lines; the text is taken from a key that every one of them has."""
  return read_records(path, "rejected_reason", "")


def original(line):
  """The line as it stood in the corpus."""
  values = json.loads(line)
  if "raw" in values or "raw_base64" in values:
    return values["raw"].encode() if "raw" in values else base64.b64decode(values["raw_base64"])
  return line[: line.rindex(b', "rejected_reason"')] + b"}"


def test_a_limit_is_for_trials(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  score(Length(), inputs, tmp_path / "r", limit=50, quiet=True)
  stats = select(tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=inputs, quiet=True)
  assert stats["records"] == 50
  assert stats["shards_not_scored"] == 7


def test_workers_give_the_same_bytes(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  run_all(inputs, tmp_path)
  select(
    tmp_path / "ratings",
    tmp_path / "two",
    TopFraction(0.5),
    inputs=inputs,
    engine=engine_of("local", 2),
    quiet=True,
  )
  assert tree(tmp_path / "two") == tree(tmp_path / "selected")


KILLED = """
import os, signal, sys
from datarater.curation.rules import TopFraction
from datarater.curation.select import select

left = int(sys.argv[4])
replace = os.replace
def last_breath(*args):  # dies when a file is complete, before it is in place
  global left
  left -= 1
  if left < 0:
    os.kill(os.getpid(), signal.SIGKILL)
  replace(*args)
os.replace = last_breath
select(sys.argv[1], sys.argv[3], TopFraction(0.5), inputs=sys.argv[2], quiet=True)
"""


@pytest.mark.parametrize("moment", [0, 5, 12, 35])
def test_sigkill_at_any_file_leaves_no_half_and_a_repeat_ends_the_same(tmp_path, moment):
  inputs = write_corpus(tmp_path / "corpus")
  run_all(inputs, tmp_path)
  ratings, output = tmp_path / "ratings", tmp_path / "s"
  arguments = [str(ratings), inputs, str(output), str(moment)]
  done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, timeout=60)
  assert done.returncode == -9
  assert not (output / "stats.json").exists()
  for name, content in tree(output).items():  # what is there is whole
    if name.startswith(("decisions/", "kept/", "rejected/")):
      assert content == (tmp_path / "selected" / name).read_bytes()
  select(ratings, output, TopFraction(0.5), inputs=inputs, quiet=True)
  assert tree(output) == tree(tmp_path / "selected")


def test_a_repeat_does_nothing_and_a_change_is_refused_by_name(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  first = run_all(inputs, tmp_path)
  before = tree(tmp_path)
  times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*") if "ratings" not in p.parts}
  assert run_all(inputs, tmp_path) == first
  assert tree(tmp_path) == before
  assert times == {p: p.stat().st_mtime_ns for p in times}
  ratings, output = tmp_path / "ratings", tmp_path / "selected"
  for change, message in (
    ({"rule": TopFraction(0.25)}, r"rule.discard_fraction: 0.5 -> 0.25"),
    ({"rule": TopFraction(0.5, seed=3)}, r"rule.seed: 0 -> 3"),
    ({"rule": Threshold(0.5)}, r"rule.kind: 'top_fraction' -> 'threshold'"),
    ({"where": ["tokens > 2"]}, r"where: \[\] -> \['tokens > 2'\]"),
    ({"approximate": True}, r"approximate: False -> True"),
    ({"inputs": None}, r"divided: 'as the input' -> None"),
    ({"format": "parquet"}, r"divided: 'as the input' -> 'parquet'"),
  ):
    options = {"rule": TopFraction(0.5), "inputs": inputs, "quiet": True} | change
    with pytest.raises(InputError, match=rf"was begun otherwise .*{message}"):
      select(ratings, output, **options)
  side_file = ratings / "ratings" / "a.jsonl.parquet"
  side_file.write_bytes((ratings / "ratings" / "b.jsonl.gz.parquet").read_bytes())
  with pytest.raises(InputError, match=r"was begun otherwise .*ratings\.a\.jsonl: '"):
    select(ratings, output, TopFraction(0.5), inputs=inputs)
  with (tmp_path / "corpus" / "a.jsonl").open("a") as file:
    file.write('{"text": "more"}\n')
  with pytest.raises(InputError, match=r"do not belong together \(a.jsonl: .*give the files"):
    select(ratings, tmp_path / "t", TopFraction(0.5), inputs=inputs)


def test_decisions_that_changed_under_way_are_noticed(tmp_path, monkeypatch):
  inputs = write_corpus(tmp_path / "corpus")
  score(Length(), inputs, tmp_path / "r", quiet=True)
  select(tmp_path / "r", tmp_path / "other", Threshold(1e9), quiet=True)

  def tampering(work, shards):
    mine, theirs = (tmp_path / f / "decisions" / "b.jsonl.gz.parquet" for f in ("s", "other"))
    mine.write_bytes(theirs.read_bytes())
    return engine_of("local")(work, shards)

  with pytest.raises(InputError, match=r"kept of the divided corpus is \d+, but \d+ of the decis"):
    select(
      tmp_path / "r",
      tmp_path / "s",
      TopFraction(0.5),
      inputs=inputs,
      engine=tampering,
      quiet=True,
    )


def test_folders_inside_each_other_are_refused(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  score(Length(), inputs, tmp_path / "r", quiet=True)
  for output in ("r", "r/out", ".", "corpus", "corpus/sub/out"):
    with pytest.raises(InputError, match="name a folder beside it"):
      select(tmp_path / "r", tmp_path / output, TopFraction(0.5), inputs=inputs, quiet=True)
  for output in ("r", "r/out", "."):
    with pytest.raises(InputError, match="name a folder beside it"):
      select(tmp_path / "r", tmp_path / output, TopFraction(0.5), quiet=True)
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "notes.txt").write_text("mine")
  with pytest.raises(InputError, match=r"holds other files and no run\.json"):
    select(tmp_path / "r", tmp_path / "other", TopFraction(0.5), quiet=True)
  assert tree(tmp_path / "other") == {"notes.txt": b"mine"}


def test_ids_and_domains_never_become_paths(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  (folder / "a.jsonl").write_text(
    '{"text": "x", "id": "../../evil", "domain": "/etc/evil"}\n{"text": "yy", "id": "a/b"}\n'
  )
  run_all(str(folder / "a.jsonl"), tmp_path)
  assert not list(tmp_path.parent.rglob("*evil*"))
  assert list(decisions_of(tmp_path / "selected")) == ["../../evil", "a/b"]


def test_tables_say_what_happened(tmp_path, capsys):
  inputs = write_corpus(tmp_path / "corpus")
  score({"random": RandomScorer()}, inputs, tmp_path / "r", quiet=True)
  select(tmp_path / "r", tmp_path / "s", TopFraction(0.5), dry_run=True)
  said = capsys.readouterr().out
  for word in ("nothing was written", "d0", "broken JSON", "not in the top fraction", "least rat"):
    assert word in said
  select(tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=inputs, approximate=True)
  said = capsys.readouterr().out
  for word in ("selected", "bytes before", "broken JSON", "ranks are off by at most"):
    assert word in said
