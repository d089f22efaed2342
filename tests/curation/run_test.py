"""Whole runs: nothing is lost, a killed run ends as a quiet one, what does not fit is refused."""

import base64
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import Length

from datarater.config import InputError, ScoreConfig
from datarater.curation.rules import Pointwise, Threshold, TopFraction
from datarater.curation.score import score
from datarater.curation.select import select
from datarater.data.formats import Row, read_records
from datarater.scorers.random import RandomScorer


def tree(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(Path(folder).rglob("*"))
    if path.is_file()
  }


def write_corpus(folder):
  """Every format, sound and broken."""
  random.seed(0)
  words = ["alpha", "beta", "gamma", "delta", "nan"]

  def line(i):
    text = " ".join(random.choices(words[:4], k=1 + i % 9))
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


def run_all(inputs, output, rule=None):
  score(Length(), inputs, output / "ratings", quiet=True)
  return select(
    output / "ratings", output / "selected", rule or TopFraction(0.5), inputs=inputs, quiet=True
  )


def test_every_format_in_and_out_and_the_counts_add_up(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  stats = run_all(inputs, tmp_path)
  names = [p.relative_to(tmp_path / "corpus") for p in (tmp_path / "corpus").rglob("*.*")]
  selected = tmp_path / "selected"
  assert stats == json.loads((selected / "stats.json").read_text())
  assert stats["records"] == stats["kept"] + sum(stats["rejected"].values())
  assert stats["shards"] == len(names) == 9
  assert stats["shards_cut_short"] == 2
  assert stats["rejected"]["rating is not a number"] == 1
  assert stats["before"]["documents"] - 1 == 2 * stats["kept"]
  for name in names:
    records = list(read_records(tmp_path / "corpus" / name))
    decisions = pq.read_table(selected / "decisions" / f"{name}.parquet").to_pylist()
    rated = [record for record in records if isinstance(record, Row)]
    assert [d["row"] for d in decisions] == [record.number for record in rated]
    if name.suffix == ".txt":
      places = [p for p in ("kept", "rejected") if (selected / p / name).exists()]
      assert places == ["kept" if decisions and decisions[0]["kept"] else "rejected"]
      continue
    kept = list(read_records(selected / "kept" / name)) if "f." not in str(name) else []
    assert all(isinstance(row, Row) for row in kept)
    wanted = [r for r, d in zip(rated, decisions, strict=True) if d["kept"]]
    assert [row.text for row in kept] == [row.text for row in wanted]
    if "json" in name.name:
      assert [row.source for row in kept] == [row.source for row in wanted]
    else:
      rejected = pq.read_table(selected / "rejected" / name)
      refused = {d["row"]: d["reason"] for d in decisions if not d["kept"]}
      refused |= {r.number: r.reason for r in records if not isinstance(r, Row)}
      rows, reasons = (rejected[f"rejected_{key}"].to_pylist() for key in ("row", "reason"))
      assert list(zip(rows, reasons, strict=True)) == sorted(refused.items())


def test_the_best_half_is_kept_and_the_mixture_counted(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  texts = ["a" * n for n in (5, 1, 4, 2, 3, 6)]
  (folder / "a.jsonl").write_text(
    "".join(json.dumps({"text": t, "domain": str(len(t) % 2)}) + "\n" for t in texts)
  )
  score(Length(), folder / "a.jsonl", tmp_path / "r", quiet=True)
  stats = select(
    tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=folder / "a.jsonl", quiet=True
  )
  assert [row.text for row in read_records(tmp_path / "s/kept/a.jsonl")] == [
    "aaaaa",
    "aaaa",
    "aaaaaa",
  ]
  assert stats["before"]["domains"] == {
    "0": {"documents": 3, "tokens": 3, "bytes": 12},
    "1": {"documents": 3, "tokens": 3, "bytes": 9},
  }
  assert stats["after"]["domains"] == {
    "0": {"documents": 2, "tokens": 2, "bytes": 10},
    "1": {"documents": 1, "tokens": 1, "bytes": 5},
  }
  # Another cut needs no scoring: the corpus is read, the scorer is not there.
  stats = select(
    tmp_path / "r", tmp_path / "t", Threshold(6.0), inputs=folder / "a.jsonl", quiet=True
  )
  assert stats["kept"] == 1
  assert stats["rejected"] == {"below the threshold": 5}
  rule = Pointwise(0.5, 1000)
  stats = select(tmp_path / "r", tmp_path / "p", rule, inputs=folder / "a.jsonl", quiet=True)
  assert stats["kept"] == 3


def test_no_rule_can_keep_what_has_no_rating(tmp_path):
  class KeepAll:
    reason, cuts = "never said", "all"

    def keep(self, candidates):
      return np.ones(len(candidates.ratings), bool)

    def as_config(self):
      return {"kind": "all"}

  (tmp_path / "corpus").mkdir()
  (tmp_path / "corpus" / "a.jsonl").write_text('{"text": "nan"}\n{"text": "x"}\n')
  stats = run_all(str(tmp_path / "corpus" / "*"), tmp_path, KeepAll())
  assert stats["kept"] == 1
  assert stats["rejected"] == {"rating is not a number": 1}


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SHARD, min_size=1, max_size=3), st.floats(0, 0.95), st.booleans(), st.data())
def test_every_record_is_kept_or_rejected_exactly_once(shards, fraction, cut, data):
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
    inputs = str(folder / "corpus" / "*")
    stats = run_all(inputs, folder, TopFraction(fraction))
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
      ids = pq.read_table(folder / "selected" / "decisions" / f"{path.name}.parquet")["id"]
      assert len(ids) == sum(isinstance(record, Row) for record in records)
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
  stats = score(Length(), inputs, tmp_path / "r", limit=50, quiet=True)
  assert stats["records"] == 50
  stats = select(tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=inputs, quiet=True)
  assert stats["records"] == 50
  assert stats["shards_not_scored"] == 7
  again = score(Length(), inputs, tmp_path / "r", limit=50, quiet=True)
  assert again["records"] == 50


KILLED = """
import os, signal, sys
from datarater.curation.rules import TopFraction
from datarater.curation.score import score
from datarater.curation.select import select
from datarater.scorers.random import RandomScorer

left = int(sys.argv[4])
replace = os.replace
def last_breath(*args):  # dies when a file is complete, before it is in place
  global left
  left -= 1
  if left < 0:
    os.kill(os.getpid(), signal.SIGKILL)
  replace(*args)
os.replace = last_breath
if sys.argv[1] == "score":
  score(RandomScorer(), sys.argv[2], sys.argv[3], quiet=True)
else:
  select(sys.argv[5], sys.argv[3], TopFraction(0.5), inputs=sys.argv[2], quiet=True)
"""


def test_sigkill_at_any_file_leaves_no_half_and_a_repeat_ends_the_same(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  score(RandomScorer(), inputs, tmp_path / "quiet" / "r", quiet=True)
  rule = TopFraction(0.5)
  select(tmp_path / "quiet" / "r", tmp_path / "quiet" / "s", rule, inputs=inputs, quiet=True)
  ratings, selected = str(tmp_path / "r"), str(tmp_path / "s")
  command = [sys.executable, "-c", KILLED]
  for verb, output, moments in (("score", ratings, (4, 7)), ("select", selected, (5, 13))):
    for moment in moments:
      arguments = [verb, inputs, output, str(moment), ratings]
      done = subprocess.run([*command, *arguments], check=False, timeout=60)
      assert done.returncode == -9
      if verb == "score":
        score(RandomScorer(), inputs, ratings, quiet=True)
        assert tree(ratings) == tree(tmp_path / "quiet" / "r")
        if moment != moments[-1]:
          subprocess.run(["rm", "-r", ratings], check=True)
      else:
        select(ratings, selected, rule, inputs=inputs, quiet=True)
        assert tree(selected) == tree(tmp_path / "quiet" / "s")
        if moment != moments[-1]:
          subprocess.run(["rm", "-r", selected], check=True)


def test_a_repeat_does_nothing_and_a_change_is_refused_by_name(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  run_all(inputs, tmp_path)
  before = tree(tmp_path)
  times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")}
  run_all(inputs, tmp_path)
  assert tree(tmp_path) == before
  assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")} == times
  for change, message in (
    ({"config": ScoreConfig(domain_key="kind")}, "settings.domain_key: 'domain' -> 'kind'"),
    ({"limit": 3}, "limit: None -> 3"),
  ):
    with pytest.raises(InputError, match=rf"was begun otherwise .*{message}"):
      score(Length(), inputs, tmp_path / "ratings", quiet=True, **change)
  with pytest.raises(InputError, match=r"scorers.length: "):
    score(RandomScorer(), inputs, tmp_path / "ratings", quiet=True)
  with pytest.raises(InputError, match=r"rule.discard_fraction: 0.5 -> 0.25"):
    run_all(inputs, tmp_path, TopFraction(0.25))
  with (tmp_path / "corpus" / "a.jsonl").open("a") as file:
    file.write('{"text": "more"}\n')
  with pytest.raises(InputError, match=r"was begun otherwise .*inputs.a.jsonl: "):
    score(Length(), inputs, tmp_path / "ratings", quiet=True)
  with pytest.raises(InputError, match=r"do not belong together \(a.jsonl: .*give the files"):
    select(tmp_path / "ratings", tmp_path / "s", TopFraction(0.5), inputs=inputs, quiet=True)


def test_shards_that_changed_within_are_noticed(tmp_path):
  """The same size and ends, another middle: only the rows can tell."""
  folder = tmp_path / "corpus"
  folder.mkdir()
  padding = "".join(json.dumps({"text": "x" * 1000, "n": i}) + "\n" for i in range(200))
  middle = '{"text": "middle one"}\n'
  (folder / "a.jsonl").write_text(padding + middle + padding)
  score(Length(), folder / "a.jsonl", tmp_path / "r", quiet=True)
  for changed, message in (
    (middle.replace("one", "two"), "row 200 is '.*', rated was '.*'"),
    (middle.replace("text", "body"), "row 200 is rated, but cannot be read"),
  ):
    (folder / "a.jsonl").write_text(padding + changed + padding)
    with pytest.raises(InputError, match=f"'a.jsonl' and its ratings do not belong.*{message}"):
      select(
        tmp_path / "r", tmp_path / "s", TopFraction(0.5), inputs=folder / "a.jsonl", quiet=True
      )
    assert not (tmp_path / "s" / "stats.json").exists()
    assert not list((tmp_path / "s" / "kept").glob("*.jsonl"))


def test_folders_inside_each_other_are_refused(tmp_path):
  inputs = write_corpus(tmp_path / "corpus")
  for output in ("corpus/out", "corpus", "."):
    with pytest.raises(InputError, match="name a folder beside it"):
      score(Length(), inputs, tmp_path / output, quiet=True)
  score(Length(), inputs, tmp_path / "r", quiet=True)
  for output in ("r", "r/out", "corpus/sub/out"):
    with pytest.raises(InputError, match="name a folder beside it"):
      select(tmp_path / "r", tmp_path / output, TopFraction(0.5), inputs=inputs, quiet=True)
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "notes.txt").write_text("mine")
  with pytest.raises(InputError, match=r"holds other files and no run\.json"):
    score(Length(), inputs, tmp_path / "other", quiet=True)
  assert os.listdir(tmp_path / "other") == ["notes.txt"]


def test_ids_and_domains_never_become_paths(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  (folder / "a.jsonl").write_text(
    '{"text": "x", "id": "../../evil", "domain": "/etc/evil"}\n{"text": "yy", "id": "a/b"}\n'
  )
  run_all(str(folder / "a.jsonl"), tmp_path)
  assert not list(tmp_path.parent.rglob("*evil*"))
  decisions = pq.read_table(tmp_path / "selected" / "decisions" / "a.jsonl.parquet")
  assert decisions["id"].to_pylist() == ["../../evil", "a/b"]


def test_tables_say_what_happened(tmp_path, capsys):
  inputs = write_corpus(tmp_path / "corpus")
  score(Length(), inputs, tmp_path / "r")
  select(tmp_path / "r", tmp_path / "s", TopFraction(0.5))
  said = capsys.readouterr().out
  for word in ("scored", "selected", "d0", "broken JSON", "not in the top fraction"):
    assert word in said
