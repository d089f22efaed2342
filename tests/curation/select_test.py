"""Selections from side files alone: each document decided once, for one reason."""

import json
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from side_files import RULES, decisions_of, tree, write_ratings
from toys import Length

from datarater.corpus_config import ScoreConfig
from datarater.curation.candidates import Candidates
from datarater.curation.rules import (
  PerDomain,
  Pointwise,
  Temperature,
  TokenBudget,
  TopFraction,
)
from datarater.curation.score import score
from datarater.curation.select import select
from datarater.data.formats import read_records
from datarater.errors import InputError
from datarater.runtime.run_folder import locked

ONE_BY_ONE = ("top", "threshold", "pointwise", "per domain")


DOCUMENT = st.fixed_dictionaries(
  {
    "rating": st.sampled_from([np.nan, 0.0, 1.0, 1.0, 2.0, np.inf]) | st.floats(-3, 3, width=32),
    "tokens": st.integers(0, 30),
    "domain": st.sampled_from([None, "d0", "d1"]),
    "text": st.sampled_from("abcdefgh"),
    "signal_words": st.sampled_from([0.0, 5.0, 9.0, np.nan]),
  }
)


def shards_of(documents, places):
  """Documents, each called by its number, in the shards that `places` names, in that order."""
  shards = {"a": [], "x/b": [], "c": []}
  for number, place in places:
    shards[["a", "x/b", "c"][place]].append({"id": f"n{number}", **documents[number]})
  return shards


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
  st.lists(DOCUMENT, max_size=15),
  st.sampled_from(sorted(RULES)),
  st.lists(st.sampled_from(["words >= 5", "domain != d1", "tokens < 25"]), max_size=2),
  st.sampled_from([None, "exact"]),
  st.booleans(),
  st.data(),
)
def test_each_document_is_decided_once_by_filters_then_copies_then_the_rule(
  documents, name, where, duplicates, approximate, data
):
  rule = RULES[name]
  if name == "per domain" and not any(d["domain"] == "d0" for d in documents):
    rule = PerDomain(0.5)
  approximate = approximate and name in ONE_BY_ONE and duplicates is None
  orders = [
    list(
      zip(
        data.draw(st.permutations(range(len(documents)))),
        data.draw(st.lists(st.integers(0, 2), min_size=15, max_size=15)),
        strict=False,
      )
    )
    for _ in range(2)
  ]
  options = {"where": where, "duplicates": duplicates, "approximate": approximate, "quiet": True}
  with tempfile.TemporaryDirectory() as folder:
    found = []
    for side, order in enumerate(orders):
      ratings = write_ratings(Path(folder) / f"r{side}", shards_of(documents, order))
      output = Path(folder) / f"s{side}"
      stats = select(ratings, output, rule, **options)
      rows = decisions_of(output)
      assert stats["records"] == len(documents) == stats["kept"] + sum(stats["rejected"].values())
      assert stats == json.loads((output / "stats.json").read_text())
      for shard, own in shards_of(documents, order).items():
        table = pq.read_table(output / "decisions" / f"{shard}.parquet")
        assert table["id"].to_pylist() == [row["id"] for row in own]
      found.append({row["id"]: row["reason"] for row in rows.values()})
      assert all(row["kept"] == (row["reason"] == "") for row in rows.values())
      check_counts(stats, documents, found[-1])
  assert found[0] == found[1]  # neither the order nor the shards matter
  check_reasons(documents, found[0], rule, where, duplicates, approximate)


def check_counts(stats, documents, reasons):
  for side, own in (("before", list(reasons)), ("after", [n for n in reasons if not reasons[n]])):
    rows = [documents[int(name[1:])] for name in own]
    mixture = stats[side]
    assert mixture["documents"] == len(rows)
    for name in {row["domain"] for row in rows}:
      counts = mixture["domains"][name or "(none)"]
      assert counts["documents"] == sum(row["domain"] == name for row in rows)
      assert counts["tokens"] == sum(row["tokens"] for row in rows if row["domain"] == name)
    rated = sum(row["rating"] == row["rating"] for row in rows)
    if stats["histogram"]:
      assert sum(stats["histogram"][side]) == rated


def check_reasons(documents, reasons, rule, where, duplicates, approximate):
  """Against the order of things, told once more."""
  passes = {
    "words >= 5": lambda d: d["signal_words"] >= 5,
    "domain != d1": lambda d: d["domain"] not in (None, "d1"),
    "tokens < 25": lambda d: d["tokens"] < 25,
  }
  left = []
  for number, document in enumerate(documents):
    failed = next((f"filtered: {w}" for w in where if not passes[w](document)), None)
    if np.isnan(document["rating"]):
      failed = "rating is not a number"
    if failed:
      assert reasons[f"n{number}"] == failed
    else:
      left.append(number)
  if duplicates:
    for text in {documents[n]["text"] for n in left}:
      same = [n for n in left if documents[n]["text"] == text]
      (best,) = (n for n in same if reasons[f"n{n}"] != "exact duplicate")
      assert documents[best]["rating"] == max(documents[n]["rating"] for n in same)
    left = [n for n in left if reasons[f"n{n}"] != "exact duplicate"]
  own = [documents[n] for n in left]
  candidates = Candidates.of(
    np.array([d["rating"] for d in own], np.float32),
    [f"n{n}" for n in left],
    [d["tokens"] for d in own],
    # Names of all domains, as a rule may speak of one whose documents are all gone.
    [d["domain"] for d in own],
  )
  if isinstance(rule, PerDomain):
    rule = PerDomain(0.5, {k: v for k, v in rule.fractions.items() if k in candidates.domains})
  expected = rule.keep(candidates)
  if not approximate or len({d["rating"] for d in own}) == len(own):  # else ties go one by one
    assert [not reasons[f"n{n}"] for n in left] == expected.tolist()
  assert {reasons[f"n{n}"] for n in left} <= {"", rule.reason}


def test_what_is_known_of_a_selection_is_in_its_numbers(tmp_path):
  rows = [{"rating": i / 100, "tokens": i, "domain": f"d{i % 2}"} for i in range(100)]
  ratings = write_ratings(tmp_path / "r", {"a": rows})
  stats = select(ratings, tmp_path / "s", TopFraction(0.7), where=["tokens >= 10"], quiet=True)
  kept = round(0.3 * 90)
  assert stats["kept"] == kept
  assert stats["rejected"] == {"filtered: tokens >= 10": 10, "not in the top fraction": 90 - kept}
  assert stats["cut"] == pytest.approx((100 - kept) / 100)
  assert stats["after"]["tokens"] == sum(range(100 - kept, 100))
  assert stats["rule"] == {"kind": "top_fraction", "discard_fraction": 0.7, "seed": 0}
  assert stats["where"] == ["tokens >= 10"]
  assert stats["approximate"] is None
  histogram = stats["histogram"]
  assert len(histogram["edges"]) == 61
  assert np.all(np.diff(histogram["edges"]) > 0)
  assert (sum(histogram["before"]), sum(histogram["after"])) == (100, kept)
  per = select(ratings, tmp_path / "p", PerDomain(0.5, {"d1": 0.9}), quiet=True)
  assert per["cut"] == pytest.approx({"d0": 0.5, "d1": 0.91})
  drawn = select(ratings, tmp_path / "q", Pointwise(0.5, 10), quiet=True)
  assert drawn["cut"] is None
  other = select(ratings, tmp_path / "o", TopFraction(0.9), rating="other", quiet=True)
  assert other["cut"] == pytest.approx(-0.09)


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path):
  rows = [{"rating": float(i % 37), "tokens": i % 9} for i in range(200)]
  ratings = write_ratings(tmp_path / "r", {"a": rows, "b": rows[:50]})
  before = tree(tmp_path)
  for name, rule in RULES.items():
    if name == "per domain":
      rule = PerDomain(0.5)
    for approximate in (False, True)[: 1 + (name in ONE_BY_ONE)]:
      options = {"approximate": approximate, "quiet": True}
      dry = select(ratings, tmp_path / "s", rule, dry_run=True, **options)
      assert tree(tmp_path) == before
      assert not (tmp_path / "s").exists()
      real = select(ratings, tmp_path / f"out/{name}/{approximate}", rule, **options)
      assert dry == real
      assert 0 < dry["kept"] < 250
      for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
      (tmp_path / "out").rmdir()


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_as_long_as_a_sketch_keeps_everything_it_is_exact(tmp_path, name):
  """Ratings that differ, and filters that cut off the better half."""
  order = np.random.default_rng(0).permutation(300)
  rows = [{"rating": i / 100, "tokens": i, "domain": f"d{i % 2}"} for i in order.tolist()]
  ratings = write_ratings(tmp_path / "r", {"a": rows[:100], "b": rows[100:]})
  for mode in (False, True):
    options = {"where": ["tokens < 150", "domain != d7"], "approximate": mode, "quiet": True}
    select(ratings, tmp_path / str(mode), RULES[name], **options)
  assert decisions_of(tmp_path / "True") == decisions_of(tmp_path / "False")
  assert 0 < sum(row["kept"] for row in decisions_of(tmp_path / "True").values()) < 150


def test_approximate_selection_states_an_error_that_holds(tmp_path):
  ratings = np.random.default_rng(0).normal(size=30_000)
  rows = [{"rating": value, "domain": f"d{i % 2}"} for i, value in enumerate(ratings)]
  folder = write_ratings(tmp_path / "r", {"a": rows[:7000], "b": rows[7000:]}, group_rows=10_000)
  for rule in (TopFraction(0.7), PerDomain(0.7)):
    stats = select(folder, tmp_path, rule, approximate=True, dry_run=True, quiet=True)
    errors = stats["approximate"]["rank_error"]
    errors = errors if isinstance(errors, dict) else {"all": errors}
    assert all(0 < error < 0.01 for error in errors.values())
    exact = select(folder, tmp_path, rule, dry_run=True, quiet=True)
    assert abs(stats["kept"] - exact["kept"]) <= max(errors.values()) * 30_000


def test_what_needs_all_documents_cannot_be_approximate(tmp_path):
  ratings = write_ratings(tmp_path / "r", {"a": [{"rating": 1.0}]})
  for rule in (TokenBudget(5), Temperature(1.0, TopFraction(0.5))):
    with pytest.raises(InputError, match=r"rule '\w+' needs all documents at once; leave --approx"):
      select(ratings, tmp_path / "s", rule, approximate=True)
  with pytest.raises(InputError, match="finds no duplicates; leave one of the two out"):
    select(ratings, tmp_path / "s", TopFraction(0.5), approximate=True, duplicates="exact")


def test_too_little_memory_names_the_need_and_the_way_out(tmp_path, monkeypatch):
  ratings = write_ratings(tmp_path / "r", {"a": [{"rating": 1.0}] * 20})
  free = psutil.virtual_memory()._replace(available=1500)
  monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
  with pytest.raises(InputError, match=r"on 20 documents takes .* GiB .* give --approximate"):
    select(ratings, tmp_path / "s", TopFraction(0.5), quiet=True)
  stats = select(ratings, tmp_path / "t", TopFraction(0.5), approximate=True, quiet=True)
  assert stats["records"] == 20


def test_no_rule_can_keep_what_has_no_rating(tmp_path):
  class KeepAll:
    reason = "never said"

    def keep(self, candidates):
      return np.ones(len(candidates), bool)

    def as_config(self):
      return {"kind": "all"}

  ratings = write_ratings(tmp_path / "r", {"a": [{"rating": np.nan}, {"rating": 1.0}]})
  stats = select(ratings, tmp_path / "s", KeepAll(), quiet=True)
  assert stats["kept"] == 1
  assert stats["rejected"] == {"rating is not a number": 1}


def test_one_at_a_time(tmp_path):
  ratings = write_ratings(tmp_path / "r", {"a": [{"rating": 1.0}]})
  with locked(tmp_path / "s"), pytest.raises(InputError, match="in use by another process"):
    select(ratings, tmp_path / "s", TopFraction(0.5), quiet=True)


def test_heuristics_and_copies_come_from_the_side_files(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  texts = [
    "one",
    "five words make a text",
    "five words make a text",
    "six words make a longer text",
  ]
  (folder / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
  config = ScoreConfig(signals=True, fingerprints=True)
  score(Length(), folder / "a.jsonl", tmp_path / "r", config, quiet=True)
  for duplicates, reason in (("exact", "exact duplicate"), ("minhash", "near duplicate")):
    stats = select(
      tmp_path / "r",
      tmp_path / duplicates,
      TopFraction(0.5),
      inputs=folder / "a.jsonl",
      where=["words > 1"],
      duplicates=duplicates,
      quiet=True,
    )
    assert stats["rejected"] == {"filtered: words > 1": 1, reason: 1, "not in the top fraction": 1}
    kept = read_records(tmp_path / duplicates / "kept" / "a.jsonl")
    assert [row.text for row in kept] == [texts[3]]
  with pytest.raises(InputError, match="duplicates is 'fuzzy'; give one of exact, minhash"):
    select(tmp_path / "r", tmp_path / "x", TopFraction(0.5), duplicates="fuzzy")
  score(Length(), folder / "a.jsonl", tmp_path / "plain", quiet=True)
  with pytest.raises(InputError, match=r"column 'words'; there are: .* score with --signals"):
    select(tmp_path / "plain", tmp_path / "x", TopFraction(0.5), where=["words > 1"])
  with pytest.raises(InputError, match="--fingerprints"):
    select(tmp_path / "plain", tmp_path / "x", TopFraction(0.5), duplicates="exact", quiet=True)
