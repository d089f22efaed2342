"""Texts read out of packages: clean, and accounted for. No network: the cache has the package."""

import gzip
import hashlib

import pytest

from datarater.data.builders.packages import Fetched, Package
from datarater.data.builders.shelf import Shelf, clean


def test_clean_leaves_one_kind_of_line_end_and_no_control_characters():
  assert clean("\ufeffa\r\nb\rc\x00\x85d\te\x0cf\u2028") == "a\nb\nc\nd\te\x0cf\n"


def test_a_shelf_gives_clean_texts_in_order_and_accounts_for_what_it_read(tmp_path, monkeypatch):
  package = Package("npm", "words", "1.0.0")
  contents = {"a.txt": b"A\r\n", "b.txt.dz": gzip.compress(b"B", mtime=0), "unread.bin": b"C"}
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
  fetched = Fetched(package, "1.0.1", "f" * 64, tmp_path, "words: wanted 1.0.0, got 1.0.1")
  monkeypatch.setattr(
    "datarater.data.builders.packages.fetch", lambda wanted, cache, tolerant: fetched
  )
  shelf = Shelf({"words": package})
  assert shelf.account() == []
  assert list(shelf.texts("words", "*.txt*").items()) == [("a.txt", "A\n"), ("b.txt.dz", "B")]
  assert shelf.drift() == [fetched.drift]
  digests = (f"{hashlib.sha256(contents[n]).hexdigest()}  {n}\n" for n in ("a.txt", "b.txt.dz"))
  assert shelf.account() == [
    {
      "registry": "npm",
      "name": "words",
      "version": "1.0.1",
      "archive_sha256": None,  # differs by processor: the recipe does not pin it
      "files_read": 2,
      "files_sha256": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }
  ]


def test_a_shelf_reads_only_what_is_asked_for_and_latin_1_where_it_is_tolerant(
  tmp_path, monkeypatch
):
  contents = {"a.txt": "é".encode("latin-1"), "b.txt.gz": gzip.compress(b"B"), "c.txt": b"C"}
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
  package = Package("npm", "words", "1.0.0")
  fetched = Fetched(package, "1.0.0", "f" * 64, tmp_path)
  monkeypatch.setattr(
    "datarater.data.builders.packages.fetch", lambda wanted, cache, tolerant: fetched
  )
  shelf = Shelf({"words": package}, tolerant=True)
  texts = shelf.texts("words", "*.txt*", only=lambda name: name != "c.txt")
  assert texts == {"a.txt": "é", "b.txt.gz": "B"}
  assert shelf.account()[0]["files_read"] == 2
  with pytest.raises(UnicodeDecodeError):
    Shelf({"words": package}).texts("words", "a.txt")
