"""The bundled corpus keeps its promises. No network, no JAX."""

import collections
import hashlib
import json
import lzma
import re
from pathlib import Path

import pytest

from datarater.data.builders import bundled
from datarater.data.builders.pieces import tally

FOLDER = Path(bundled.__file__).parents[1] / "bundled"
SPLITS = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
# Kilobytes; the sizes that the documentation tells.
DOMAINS = {
  "speeches": 1200,
  "literature": 600,
  "techdocs": 500,
  "raw_html": 500,
  "code": 500,
  "jargon": 300,
  "lexdb": 300,
  "tables": 300,
}


@pytest.fixture(scope="module")
def lines() -> bytes:
  return lzma.decompress((FOLDER / "corpus.jsonl.xz").read_bytes())


@pytest.fixture(scope="module")
def rows(lines) -> list[dict]:
  return [json.loads(line) for line in lines.decode("utf-8").split("\n")[:-1]]


@pytest.fixture(scope="module")
def account() -> dict:
  return json.loads((FOLDER / "sources.json").read_text())


def test_records_have_the_five_fields_and_ids_of_their_own(rows):
  assert all(list(row) == ["id", "text", "domain", "source", "split"] for row in rows)
  assert all(isinstance(value, str) and value for row in rows for value in row.values())
  assert len({row["id"] for row in rows}) == len(rows)


def test_account_tells_of_this_corpus(rows, lines, account):
  assert account["corpus"] == {
    "documents": len(rows),
    "bytes": sum(len(row["text"].encode()) for row in rows),
    "jsonl_sha256": hashlib.sha256(lines).hexdigest(),
  }
  assert account["domains"] == tally(rows)


@pytest.mark.parametrize(("domain", "kilobytes"), DOMAINS.items())
def test_every_domain_is_in_every_split_in_proportion(rows, domain, kilobytes):
  sizes = collections.Counter()
  for row in rows:
    if row["domain"] == domain:
      sizes[row["split"]] += len(row["text"].encode())
  assert set(sizes) == set(SPLITS)
  for split, share in SPLITS.items():
    assert sizes[split] / sizes.total() == pytest.approx(share, abs=0.015), split
  assert sizes.total() / 1000 == pytest.approx(kilobytes, rel=0.06)


def test_domains_are_the_documented_ones(rows):
  assert {row["domain"] for row in rows} == set(DOMAINS)


def test_a_source_is_in_one_split(rows):
  splits = collections.defaultdict(set)
  for row in rows:
    splits[row["source"]].add(row["split"])
  assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize(
  "prefix", ["moby-dick", "jargon", "cmudict", "primes", "sensors", "wordnet/data.noun"]
)
def test_single_files_are_cut_into_blocks_that_reach_every_split(rows, prefix):
  found = {row["source"]: row["split"] for row in rows if row["source"].startswith(prefix)}
  assert all(re.search(r"/block-\d\d$", source) for source in found)
  assert set(found.values()) == set(SPLITS)


def test_documents_are_about_four_kilobytes(rows):
  sizes = [len(row["text"].encode()) for row in rows]
  assert min(sizes) >= 600
  assert max(sizes) <= 8000
  assert 3000 < sum(sizes) / len(sizes) < 4200


def test_speeches_of_every_era_are_held_out(rows):
  eras = collections.defaultdict(set)
  for row in rows:
    if row["domain"] == "speeches":
      eras[row["split"]].add((int(row["source"].removeprefix("sotu/")[:4]) - 1790) // 60)
  assert eras == {split: {0, 1, 2, 3} for split in SPLITS}


def _windows(row: dict) -> set[str]:
  """Every 50 characters that begin a word; markup and ruled lines are not text."""
  text = re.sub(r"<[^>]*>", " ", row["text"]) if row["domain"] == "raw_html" else row["text"]
  text = re.sub(r"([^\w\s])\1{3,}", r"\1", text)
  text = " ".join(text.casefold().split())
  ends = range(len(text) - 49)
  return {text[i : i + 50] for i in ends if i == 0 or text[i - 1] == " "}


def test_splits_share_no_text_but_navigation(rows):
  home = collections.defaultdict(set)
  places = collections.defaultdict(set)
  for row in rows:
    for window in _windows(row):
      home[window].add(row["split"])
      places[window].add((row["domain"], row["source"]))
  shared = [window for window, splits in home.items() if len(splits) > 1]
  assert all(domain == "raw_html" for window in shared for domain, _ in places[window])
  # Fewer than NAVIGATION_PAGES: some of the pages that had it were dropped for other text.
  assert [window for window in shared if len(places[window]) < 5] == []


def test_no_text_is_there_twice(rows):
  assert len({" ".join(row["text"].casefold().split()) for row in rows}) == len(rows)


def test_no_package_registry_is_named(rows):
  named = re.compile("|".join(("py" + "pi", "npm" + "js", "python" + "hosted")), re.IGNORECASE)
  assert [row["id"] for row in rows if named.search(row["text"])] == []


def test_notices_name_every_package_with_its_version(account):
  notices = (FOLDER / "NOTICES.md").read_text()
  for package in account["packages"]:
    assert f"`{package['name']}` {package['version']}" in notices
  for domain in DOMAINS:
    assert f"| {domain} |" in notices


@pytest.mark.parametrize(
  "needed",
  [
    "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
    "Python Software Foundation; All Rights Reserved",
    "WordNet 3.0 Copyright 2006 by Princeton University.",
    "Copyright (C) 1993-2015 Carnegie Mellon University. All rights reserved.",
    "licenses/by/2.5/legalcode",
    "licenses/by/4.0/legalcode",
    "Jargon File, version 4.4.7, 29 Dec 2003",
  ],
)
def test_notices_hold_what_the_licences_ask_for(needed):
  assert needed in " ".join((FOLDER / "NOTICES.md").read_text().split())
