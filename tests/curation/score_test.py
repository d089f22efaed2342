"""Scoring runs: promised columns, the same bytes however they were killed, refusals."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import Length
from upath import UPath

from datarater.corpus_config import ScoreConfig
from datarater.curation import rate_shard
from datarater.curation import ratings as side
from datarater.curation.rate_shard import RateShard, record_blocks
from datarater.curation.score import score
from datarater.data.blocks import BLOCK_CHARACTERS, BLOCK_DOCUMENTS, blocks
from datarater.data.fingerprints import digests, minhashes
from datarater.data.formats import BadRecord, Row, find_shards, read_records
from datarater.data.signals import SIGNALS, signals
from datarater.errors import InputError
from datarater.scorers.random import RandomScorer

WORDS = ["alpha", "beta", "gamma", "delta"]


def write_corpus(folder, shards=3, documents=5000):
  """JSON lines of several blocks a shard, some of them broken."""
  folder.mkdir(parents=True)
  rng = random.Random(0)
  for shard in range(shards):
    with (folder / f"{shard}.jsonl").open("w") as file:
      for i in range(documents):
        text = " ".join(rng.choices(WORDS, k=1 + i % 9))
        file.write("{broken\n" if i % 1000 == 7 else json.dumps({"text": text, "n": i}) + "\n")
  return str(folder / "*.jsonl")


def tree(folder):
  """Contents by name, less locks and the log."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and not path.name.startswith(".") and path.name != "log.jsonl"
  }


def test_several_scorers_signals_and_fingerprints_share_a_side_file(tmp_path):
  texts = ["One two three. " * 9, "nan", "Some { code }"]
  (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
  scorers = {"length": Length(), "random": RandomScorer()}
  config = ScoreConfig(signals=True, fingerprints=True)
  score(scorers, tmp_path / "a.jsonl", tmp_path / "r", config, quiet=True)
  table = pq.read_table(tmp_path / "r" / "ratings" / "a.jsonl.parquet")
  assert table.schema.names[:9] == [*side.SCHEMA.names, "rating_random", "digest"]
  np.testing.assert_array_equal(table["rating"].to_numpy(), [len(texts[0]), np.nan, len(texts[2])])
  ids = table["id"].to_pylist()
  np.testing.assert_array_equal(
    table["rating_random"].to_numpy(), RandomScorer().score_documents(ids, texts)
  )
  assert table["flags"].to_pylist()[1] == ["derived_id", "rating_not_a_number"]
  assert table["digest"].to_pylist() == digests(texts)
  stored = np.frombuffer(b"".join(table["minhash"].to_pylist()), "<u4").reshape(3, -1)
  np.testing.assert_array_equal(stored, minhashes(texts))
  for name in SIGNALS:
    expected = np.array([signals(text)[name] for text in texts], np.float32)
    np.testing.assert_array_equal(table[f"signal_{name}"].to_numpy(), expected)
  cdf = json.loads((tmp_path / "r" / "ratings_cdf.json").read_text())
  assert set(cdf) == {"rating", "rating_random"}
  assert cdf["rating"]["count"] == 2  # what is not a number has no place in a distribution


def test_a_shard_is_continued_at_the_block_where_it_stopped(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=1)
  score(Length(), inputs, tmp_path / "quiet", quiet=True)

  class Stops(Length):
    """Fails in the third block."""

    calls = 0

    def score_with_tokens(self, texts):
      type(self).calls += 1
      if self.calls == 3:
        raise KeyboardInterrupt
      return super().score_with_tokens(texts)

  with pytest.raises(KeyboardInterrupt):
    score(Stops(), inputs, tmp_path / "r", quiet=True)
  done = sorted(path.name for path in (tmp_path / "r" / "progress" / "0.jsonl").iterdir())
  assert done == ["000000.jsonl", "000000.parquet", "000001.jsonl", "000001.parquet"]
  before = Stops.calls
  score(Stops(), inputs, tmp_path / "r", quiet=True)
  assert Stops.calls == before + 1  # of three blocks two were done
  ours, theirs = tree(tmp_path / "r"), tree(tmp_path / "quiet")
  assert ours.keys() == theirs.keys()
  assert all(ours[name] == theirs[name] for name in ours if name != "run.json")


def test_a_file_that_changed_within_a_shard_is_noticed(tmp_path, monkeypatch):
  inputs = write_corpus(tmp_path / "c", shards=1)
  (shard,) = find_shards(inputs)
  work = RateShard({"length": Length()}, ScoreConfig(), tmp_path / "r")
  monkeypatch.setattr(rate_shard.UnfinishedShard, "finish", lambda self: {})
  work(shard)
  lines = shard.path.read_text().splitlines(keepends=True)
  shard.path.write_text("".join(lines[:100]))
  with pytest.raises(InputError, match=r"'0.jsonl' has changed: block 0 has 100 records, 2\d+"):
    work(shard)


def test_blocks_are_those_of_the_documents_alone(tmp_path):
  """Pipelines that see documents only must be able to cut the same blocks."""
  rng = random.Random(1)
  lines = [
    "broken" if rng.random() < 0.3 else json.dumps({"text": "x" * rng.randrange(1, 2000)})
    for _ in range(6000)
  ]
  (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
  records = list(read_records(tmp_path / "a.jsonl"))
  rows = [record for record in records if isinstance(record, Row)]
  cut = list(record_blocks((record, 0) for record in records))
  assert len(cut) > 3
  assert [block.rows for block in cut] == list(blocks(rows, lambda row: len(row.text)))
  assert sum(map(len, cut)) == len(records)
  flood = [(BadRecord(i, "bad"), i) for i in range(BLOCK_DOCUMENTS + 1)]
  assert [len(block) for block in record_blocks(flood)] == [BLOCK_DOCUMENTS, 1]
  heavy = [(BadRecord(i, "bad", raw=bytes(BLOCK_CHARACTERS)), i) for i in range(40)]
  assert max(len(block) for block in record_blocks(heavy)) == 32


KILLED = """
import sys, time
from datarater.curation.engines import engine_of
from datarater.curation.score import score
from toys import Slow
if __name__ == "__main__":
  score(Slow(), sys.argv[1], sys.argv[2], engine=engine_of("local", 2), quiet=True)
"""


def test_killed_runs_end_with_the_bytes_of_a_quiet_one(tmp_path):
  inputs = write_corpus(tmp_path / "c")
  score(Length(), inputs, tmp_path / "quiet", quiet=True)
  environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
  rng = random.Random(0)
  command = [sys.executable, "-c", KILLED, inputs, str(tmp_path / "r")]
  for _ in range(int(os.environ.get("KILLS", 3))):
    process = subprocess.Popen(command, env=environment)
    time.sleep(rng.uniform(1.0, 6.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
  subprocess.run(command, env=environment, check=True)
  ours, theirs = tree(tmp_path / "r"), tree(tmp_path / "quiet")
  assert ours.keys() == theirs.keys()
  assert all(ours[name] == theirs[name] for name in ours if name != "run.json")


def test_wrong_settings_are_named(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=2, documents=20)

  def refused(message, scorer=None, config=None, output="r", **options):
    with pytest.raises(InputError, match=message):
      score(
        Length() if scorer is None else scorer,
        inputs,
        tmp_path / output,
        config,
        quiet=True,
        **options,
      )

  score(Length(), inputs, tmp_path / "r", quiet=True)
  refused("was begun otherwise .*settings.signals: False -> True", config=ScoreConfig(signals=True))
  refused("scorers", scorer=RandomScorer())
  refused("'body' is a string in none", config=ScoreConfig(text_key="body"), output="new")
  refused("limit is 0; give 1", limit=0)
  refused("limit is 3 with an engine", limit=3, engine=lambda work, shards: iter(()))
  refused("scorer name 'a b'; give letters", scorer={"a b": Length()})
  refused("no scorer is given", scorer={})
  refused("inside the input", output="c/r")


def test_a_trial_rates_the_first_records_and_says_so(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=3, documents=30)
  stats = score(Length(), inputs, tmp_path / "r", limit=40, quiet=True)
  assert (stats["records"], stats["shards"]) == (40, 2)
  assert side.scored_shards(tmp_path / "r") == ["0.jsonl", "1.jsonl"]
  assert score(Length(), inputs, tmp_path / "r", limit=40, quiet=True) == stats


def test_corpus_and_ratings_may_be_urls(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=2, documents=3000)
  store = UPath("memory://score-test")
  for path in (tmp_path / "c").iterdir():
    (store / "c" / path.name).write_bytes(path.read_bytes())
  score(Length(), inputs, tmp_path / "r", quiet=True)
  for _ in range(2):  # the second time everything is there
    score(Length(), "memory://score-test/c/*.jsonl", "memory://score-test/r", quiet=True)
  there = {
    path.path.split("/r/", 1)[1]: path.read_bytes()
    for path in (store / "r").rglob("*")
    if path.is_file()
  }
  assert there == tree(tmp_path / "r")


LAST_BREATH = """
import os, signal, sys
from datarater.curation.score import score
from toys import Length

left = int(sys.argv[3])
replace = os.replace
def last_breath(*args):  # dies when a file is complete, before it is in place
  global left
  left -= 1
  if left < 0:
    os.kill(os.getpid(), signal.SIGKILL)
  replace(*args)
os.replace = last_breath
score(Length(), sys.argv[1], sys.argv[2], quiet=True)
"""


@pytest.mark.parametrize("moment", [0, 3, 8, 10, 15])
def test_sigkill_at_any_file_leaves_no_half_and_a_repeat_ends_the_same(tmp_path, moment):
  inputs = write_corpus(tmp_path / "c", shards=2)
  score(Length(), inputs, tmp_path / "quiet", quiet=True)
  arguments = [inputs, str(tmp_path / "r"), str(moment)]
  environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
  command = [sys.executable, "-c", LAST_BREATH, *arguments]
  assert subprocess.run(command, env=environment, check=False).returncode == -9
  assert not (tmp_path / "r" / "stats.json").exists()
  for path in (tmp_path / "r" / "ratings").glob("*.parquet"):
    whole = pq.read_table(tmp_path / "quiet" / "ratings" / path.name)  # but for ids given twice
    assert pq.read_table(path)["rating"].equals(whole["rating"])
  score(Length(), inputs, tmp_path / "r", quiet=True)
  assert tree(tmp_path / "r") == tree(tmp_path / "quiet")


def test_a_folder_of_other_things_is_left_alone(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=1, documents=9)
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "notes.txt").write_text("mine")
  with pytest.raises(InputError, match=r"holds other files and no run\.json"):
    score(Length(), inputs, tmp_path / "other", quiet=True)
  assert os.listdir(tmp_path / "other") == ["notes.txt"]
  for output in ("c", "."):
    with pytest.raises(InputError, match="name a folder beside it"):
      score(Length(), inputs, tmp_path / output, quiet=True)


def test_a_corpus_that_has_grown_is_refused(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=1, documents=9)
  score(Length(), inputs, tmp_path / "r", quiet=True)
  with (tmp_path / "c" / "0.jsonl").open("a") as file:
    file.write('{"text": "more"}\n')
  with pytest.raises(InputError, match=r"was begun otherwise .*inputs.0.jsonl: "):
    score(Length(), inputs, tmp_path / "r", quiet=True)


def test_the_log_says_what_happened_and_why_it_ended(tmp_path):
  inputs = write_corpus(tmp_path / "c", shards=1, documents=9)

  class Breaks(Length):
    def score_with_tokens(self, texts):
      raise ZeroDivisionError("out of order")

  with pytest.raises(ZeroDivisionError):
    score(Breaks(), inputs, tmp_path / "r", quiet=True)
  score(Length(), inputs, tmp_path / "r", quiet=True)
  lines = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
  events = [line["event"] for line in lines]
  assert events == ["started", "stopped", "started", "shard done", "finished"]
  assert lines[1]["error"] == "ZeroDivisionError: out of order"
  assert (lines[3]["shard"], lines[3]["records"]) == ("0.jsonl", 9)
