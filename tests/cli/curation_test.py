"""The verbs on corpora, as a user types them: options reach the engine room, bad ones are named."""

import json

import pyarrow.parquet as pq
import pytest

from datarater import cli


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp("corpus")
  lines = [
    {"text": f"Document {i} says {'more and more ' * (i % 7)}.", "domain": "ab"[i % 2]}
    for i in range(60)
  ]
  lines += lines[:10]  # copies
  for shard in range(2):
    path = folder / f"{shard}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[shard::2]))
  return str(folder / "*.jsonl")


@pytest.fixture(scope="module")
def ratings(corpus, tmp_path_factory):
  """Rated at random, which costs nothing, with all that can be asked for."""
  output = tmp_path_factory.mktemp("scored") / "ratings"
  extras = ["--control", "--signals", "--fingerprints", "--workers", "2", "--quiet"]
  run("score", "--input", corpus, "--output", output, *extras)
  return output


def run(*arguments) -> None:
  assert cli.main([str(a) for a in arguments]) == cli.DONE


def refused(capsys, *arguments) -> str:
  capsys.readouterr()
  assert cli.main([str(a) for a in arguments]) == cli.BAD_INPUT
  line = capsys.readouterr().err.strip()
  assert line.startswith("datarater: ")
  assert len(line.splitlines()) == 1, line
  return line


def stats_of(folder) -> dict:
  return json.loads((folder / "stats.json").read_text())


@pytest.mark.parametrize(
  ("options", "kept"),
  [
    (["--discard-fraction", "0.5"], 35),
    (["--discard-fraction", "0.5", "--duplicates", "exact"], 30),
    (["--discard-fraction", "0.0", "--duplicates", "minhash", "--similarity", "0.95"], None),
    (["--discard-fraction", "0.0", "--where", "words >= 10", "domain == a"], None),
    (["--by-domain", "--discard-fraction", "0.8"], 14),
    (["--discard-fraction", "0.8", "--group-fraction", "a=0.0"], 42),
    (["--token-budget", "1"], None),
    (["--discard-fraction", "0.5", "--temperature", "0.1"], 35),
    (["--threshold", "0.9"], None),
    (["--discard-fraction", "0.5", "--approximate"], None),
  ],
)
def test_every_rule_divides_the_corpus(capsys, corpus, ratings, tmp_path, options, kept):
  output = tmp_path / "s"
  arguments = ["select", "--ratings", ratings, "--input", corpus, "--output", output, *options]
  if "--token-budget" in options:  # the control reads no tokens
    assert "tokens" in refused(capsys, *arguments)
    return
  run(*arguments, "--dry-run")
  assert not output.exists()
  run(*arguments, "--quiet")
  stats = stats_of(output)
  assert stats["kept"] + sum(stats["rejected"].values()) == stats["records"] == 70
  assert kept in (None, stats["kept"])
  assert stats["kept"] > 0
  lines = [(output / "kept" / f"{i}.jsonl").read_text().splitlines() for i in range(2)]
  assert sum(map(len, lines)) == stats["kept"]
  assert (output / "selection.png").stat().st_size > 10_000
  assert "documents kept" in (output / "selection.html").read_text()


def test_decisions_need_no_corpus_and_any_format_can_be_written(corpus, ratings, tmp_path):
  select = ["select", "--ratings", ratings, "--discard-fraction", "0.5", "--quiet", "--output"]
  run(*select, tmp_path / "decided")
  assert not (tmp_path / "decided" / "kept").exists()
  decisions = pq.read_table(tmp_path / "decided" / "decisions" / "0.jsonl.parquet")
  assert decisions.num_rows == 35
  options = ["--input", corpus, "--format", "parquet", "--workers", "2"]
  run(*select, tmp_path / "parquet", *options)
  tables = [pq.read_table(tmp_path / "parquet" / "kept" / f"{i}.parquet") for i in range(2)]
  assert sum(table.num_rows for table in tables) == stats_of(tmp_path / "decided")["kept"]


def test_inspect_prints_and_writes_a_page(capsys, corpus, ratings, tmp_path):
  page = tmp_path / "page.html"
  run("inspect", ratings, "--input", corpus, "--at", "0", "1", "--excerpts", "1", "--html", page)
  said = capsys.readouterr().out
  for word in ("The lowest rated", "The highest rated", "Document", "domain"):
    assert word in said
  assert "Document" in page.read_text()
  run("inspect", ratings, "--column", "signal_words")
  assert "signal_words" in capsys.readouterr().out
  assert "'z' is not in the ratings" in refused(capsys, "inspect", ratings, "--domain", "z")


def test_options_that_make_no_sense_are_named(capsys, corpus, ratings, tmp_path):
  output = ["--output", tmp_path / "x"]
  score = ["score", "--input", corpus, *output]
  assert "no scorer is given" in refused(capsys, *score)
  assert "give several as NAME=FOLDER" in refused(capsys, *score, "--rater", "a", "b")
  assert "workers is 0" in refused(capsys, *score, "--control", "--workers", "0")
  limited = [*score, "--control", "--limit", "3", "--workers", "2"]
  assert "limit is 3 with an engine" in refused(capsys, *limited)
  select = ["select", "--ratings", ratings, *output, "--discard-fraction", "0.5"]
  assert "group fraction 'code'" in refused(capsys, *select, "--group-fraction", "code")
  assert "'z'" in refused(capsys, *select, "--group-fraction", "z=0.5")
  assert "wrods" in refused(capsys, *select, "--where", "wrods > 3")
  assert "other" in refused(capsys, *select, "--rating", "other")
  assert "exclude each other" in refused(capsys, *select, "--by-domain", "--temperature", "1")
  assert "without inputs" in refused(capsys, *select, "--format", "parquet")
  assert not (tmp_path / "x").exists()
