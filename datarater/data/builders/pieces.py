"""Pieces: the documents of a corpus to be, from long texts to records with splits.

Texts are cut into pieces, pieces that repeat or share text are dropped, and sources are dealt out
to splits.

A *source* is what a split keeps whole: a speech, a play, a page, a module; of a text that comes as
one single file, a block, with dropped text between blocks. Every split holds every domain, in the
shares of `SHARES`. Nothing here is random: the same texts give the same records.
"""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence

SEED = "bundled-1"
SHARES = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
PIECE_CHARACTERS = 4000
SHORTEST_CHARACTERS = 600
SHINGLE_CHARACTERS = 50
# Visible text that this many pages of raw_html share is navigation, as pages of one site have it.
NAVIGATION_PAGES = 8

# Names of package registries do not belong in a corpus that is committed.
_REGISTRY = re.compile(r"pypi|pythonhosted|npmjs|debian", re.IGNORECASE)
_RULE = re.compile(r"([^\w\s])\1{3,}")  # ===== under a heading
_TAG = re.compile(r"<[^>]*>")
_LINE_START = re.compile(r"(?<=\n)(?=\S)")


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
