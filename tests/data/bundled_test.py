"""The bundled corpus keeps its promises, and so do the pieces of its recipe. No network, no JAX."""

import collections
import dataclasses
import hashlib
import io
import json
import lzma
import random
import re
import string
import tarfile
from pathlib import Path

import pytest

from datarater.config import InputError
from datarater.data.builders import bundled, packages

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


# The corpus.


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
  assert account["domains"] == bundled.tally(rows)


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


# The recipe.


def _prose(seed: int, characters: int) -> str:
  """Lines of random words, a blank line after every seventh."""
  rng = random.Random(seed)
  lines, length = [], 0
  while length < characters:
    words = ("".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(9))
    lines.append(" ".join(words) + ("\n\n" if len(lines) % 7 == 6 else "\n"))
    length += len(lines[-1])
  return "".join(lines)


def test_cut_loses_nothing_and_ends_paragraphs():
  text = _prose(0, 30_000)
  pieces = bundled.cut(text)
  assert "".join(text.split()) == "".join("".join(pieces).split())
  assert all(2000 <= len(piece) <= 5000 for piece in pieces[:-1])
  assert all(text[text.index(p) + len(p) :].startswith("\n\n") for p in pieces[:-1])


@pytest.mark.parametrize(
  ("unit", "ends_with"),
  [("some words\n", "words"), ("some words. ", "words."), ("word ", "word"), ("x", "x")],
)
def test_cut_falls_back_to_lines_sentences_words_anything(unit, ends_with):
  pieces = bundled.cut(unit * (20_000 // len(unit)))
  assert len(pieces) > 3
  assert all(len(piece) <= 5000 and piece.endswith(ends_with) for piece in pieces)


def test_spread_takes_from_all_over():
  assert bundled.spread(range(100), 4) == [12, 37, 62, 87]
  assert bundled.spread("abc", 5) == ["a", "b", "c"]


def test_blocks_keep_a_gap():
  text = _prose(1, 200_000)
  pieces = bundled.blocks("d", "book", text, count=5, each=2)
  spans = [(text.index(p.text), text.index(p.text) + len(p.text)) for p in pieces]
  assert len({p.source for p in pieces}) == 5
  for (_, end), (begin, _) in zip(spans[1::2], spans[2::2], strict=False):
    assert begin - end >= bundled.PIECE_CHARACTERS


def test_blocks_without_room_for_a_gap_are_refused():
  with pytest.raises(ValueError, match="leave no gap"):
    bundled.blocks("d", "book", _prose(1, 200_000), count=20, each=2)


def test_assign_deals_every_stratum_in_proportion():
  rng = random.Random(3)
  texts = ["x" * rng.randrange(2000, 6000) for _ in range(400)]
  pieces = [bundled.Piece("d", f"s{k}", 0, text, "ab"[k % 2]) for k, text in enumerate(texts)]
  splits = bundled.assign(pieces)
  for stratum in "ab":
    sizes = collections.Counter()
    for piece in pieces:
      if piece.stratum == stratum:
        sizes[splits[piece.domain, piece.source]] += piece.size
    for split, share in SPLITS.items():
      assert sizes[split] / sizes.total() == pytest.approx(share, abs=0.01)


def _piece(source: str, text: str, domain: str = "d") -> bundled.Piece:
  return bundled.Piece(domain, source, 0, text)


def test_drop_shared_keeps_one_of_two_sources_with_a_sentence_in_common():
  sentence = "a sentence that is clearly longer than fifty characters in both of them "
  pieces = [_piece(f"s{k}", _prose(k, 900) + sentence + _prose(k + 9, 900)) for k in (0, 1)]
  other = _piece("c", _prose(77, 900))
  kept, dropped = bundled.drop_shared([*pieces, other])
  assert len(dropped) == 1
  assert other in kept
  within = [dataclasses.replace(piece, source="one") for piece in pieces]
  assert bundled.drop_shared(within)[1] == []


def test_drop_shared_lets_pages_share_navigation_but_nothing_rarer():
  bar = "<a href='x'>a bar with many entries that</a> <b>every page of the whole site repeats</b> "
  rare = "a passage which only two of all these pages have in common, and not the others "
  pages = [
    _piece(f"page-{k}", bar + (rare if k < 2 else "") + _prose(k, 900), "raw_html")
    for k in range(bundled.NAVIGATION_PAGES)
  ]
  assert [p.source for p in bundled.drop_shared(pages)[1]] in (["page-0"], ["page-1"])
  assert len(bundled.drop_shared(pages[1:])[1]) == bundled.NAVIGATION_PAGES - 2


def test_drop_unwanted_counts_what_it_drops():
  text = _prose(5, 700)
  kept, dropped = bundled.drop_unwanted(
    [_piece("a", text), _piece("b", text.upper()), _piece("c", text + "npm" + "js")]
  )
  assert [p.source for p in kept] == ["a"]
  assert dropped == {"names_a_registry": 1, "exact_duplicate": 1}


def test_clean_leaves_one_kind_of_line_end_and_no_control_characters():
  assert bundled.clean("\ufeffa\r\nb\rc\x00\x85d\te\x0cf\u2028") == "a\nb\nc\nd\te\x0cf\n"


# Packages.


def _archive(version: str, members: dict[str, str]) -> bytes:
  """An npm archive in memory."""
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode="w:gz") as tar:
    described = {"package/package.json": json.dumps({"version": version})}
    for name, text in (described | members).items():
      member = tarfile.TarInfo(name)
      member.size = len(text)
      tar.addfile(member, io.BytesIO(text.encode()))
  return stream.getvalue()


@pytest.fixture
def registry(tmp_path, monkeypatch):
  """A folder served by a stand-in for npm: `npm pack --silent WHAT` copies the file `WHAT`."""
  (tmp_path / "bin").mkdir()
  (tmp_path / "served").mkdir()
  client = tmp_path / "bin" / "npm"
  client.write_text(f'#!/bin/sh\ncp "{tmp_path}/served/$3" got.tgz\n')
  client.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
  return tmp_path / "served"


def test_fetch_unpacks_and_keeps_in_the_cache(registry, tmp_path):
  data = _archive("1.0.0", {"package/data/b.txt": "B", "package/data/a.txt": "A"})
  (registry / "words@1.0.0").write_bytes(data)
  wanted = packages.Package("npm", "words", "1.0.0", hashlib.sha256(data).hexdigest())
  fetched = packages.fetch(wanted, tmp_path / "cache")
  assert (fetched.version, fetched.sha256, fetched.drift) == ("1.0.0", wanted.sha256, "")
  assert [p.read_text() for p in packages.files(fetched, "package/data/*.txt")] == ["A", "B"]
  (registry / "words@1.0.0").unlink()
  assert packages.fetch(wanted, tmp_path / "cache") == fetched


def test_another_version_is_reported_and_used(registry, tmp_path):
  (registry / "words").write_bytes(_archive("1.1.0", {}))
  fetched = packages.fetch(packages.Package("npm", "words", "1.0.0", "0" * 64), tmp_path / "cache")
  assert fetched.version == "1.1.0"
  assert "words: wanted 1.0.0, got 1.1.0" in fetched.drift


def test_other_content_under_the_same_version_is_refused(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {}))
  with pytest.raises(InputError, match=r"words 1\.0\.0 has sha256 .* expected 000"):
    packages.fetch(packages.Package("npm", "words", "1.0.0", "0" * 64), tmp_path / "cache")


def test_a_package_that_is_not_there_is_an_input_error_and_leaves_no_cache(registry, tmp_path):
  del registry
  with pytest.raises(InputError, match=r"npm package words 1\.0\.0 cannot be fetched: .*check"):
    packages.fetch(packages.Package("npm", "words", "1.0.0"), tmp_path / "cache")
  assert list((tmp_path / "cache").iterdir()) == []


def test_an_archive_that_leads_outside_is_refused(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {"../../../../outside": "x"}))
  with pytest.raises(tarfile.OutsideDestinationError):
    packages.fetch(packages.Package("npm", "words", "1.0.0"), tmp_path / "cache")
  assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(("kind", "tool"), [("pypi", "pip"), ("npm", "npm"), ("debian", "apt-get")])
def test_a_missing_client_is_named_with_its_remedy(kind, tool, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match=f"{tool} is not installed and .* words needs it; install"):
    packages.fetch(packages.Package(kind, "words", "1.0.0"), tmp_path / "cache")


def test_an_unknown_registry_is_named(tmp_path):
  with pytest.raises(InputError, match=r"'cran'; use one of \['debian', 'npm', 'pypi'\]"):
    packages.fetch(packages.Package("cran", "words", "1.0.0"), tmp_path)


def test_files_leave_out_links_and_complain_when_nothing_matches(tmp_path):
  fetched = packages.Fetched(packages.Package("npm", "words", "1.0.0"), "1.0.0", "", tmp_path)
  (tmp_path / "link.txt").symlink_to(__file__)
  with pytest.raises(InputError, match=r"words 1\.0\.0 has no file '\*\.txt'"):
    packages.files(fetched, "*.txt")
  (tmp_path / "real.txt").write_text("x")
  assert [p.name for p in packages.files(fetched, "*.txt")] == ["real.txt"]


@pytest.mark.parametrize(
  ("kind", "archive", "version"),
  [
    ("pypi", "some_words-1.2.0.tar.gz", "1.2.0"),
    ("pypi", "some_words-1.2.0-py3-none-any.whl", "1.2.0"),
    ("debian", "words-base_1%3a3.0-37_all.deb", "1:3.0-37"),
  ],
)
def test_version_of_an_archive(kind, archive, version):
  assert packages._VERSION_OF[kind](Path(archive), Path()) == version
