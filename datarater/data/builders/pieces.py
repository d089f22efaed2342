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
import itertools
import re
import sys
from collections.abc import Collection, Iterable, Sequence

SHARES = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
PIECE_CHARACTERS = 4000
SHORTEST_CHARACTERS = 600
SHINGLE_CHARACTERS = 50
# Visible text that this many pages of markup share is navigation, as pages of one site have it.
NAVIGATION_PAGES = 8

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


def rank(name: str, seed: str) -> str:
  """A fixed pseudo-random order of names."""
  return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


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
  domain: str,
  texts: dict[str, str],
  count: int = sys.maxsize,
  most: int = sys.maxsize,
  strata: dict[str, str] | None = None,
) -> list[Piece]:
  """`count` pieces spread over many sources, at most `most` of one source; else all.

  `texts`: name of the source → its text. `strata`: name → stratum, else all are in one.
  """
  pieces = []
  for name, text in texts.items():
    stratum = (strata or {}).get(name, domain)
    whole = [Piece(domain, name, k, part, stratum) for k, part in enumerate(cut(text))]
    pieces += spread(whole, most)
  return spread(pieces, count)


def gathered(domain: str, name: str, texts: Iterable[str]) -> list[Piece]:
  """Short texts of one collection, several in a piece of about `PIECE_CHARACTERS`.

  A piece is a source of its own, since its texts stand each for itself; longer texts are cut.
  """
  pieces: list[Piece] = []
  waiting: list[str] = []
  for text in itertools.chain(texts, [None]):
    if waiting and (text is None or sum(map(len, waiting)) + len(text) > PIECE_CHARACTERS):
      source = f"{name}/{len(pieces):04d}"
      parts = cut("\n\n".join(waiting))
      pieces += [Piece(domain, source, k, part, name) for k, part in enumerate(parts)]
      waiting = []
    if text is not None:
      waiting.append(text)
  return pieces


def thinned(pieces: Sequence[Piece], size: int) -> list[Piece]:
  """About `size` bytes of the pieces, at even distances; all where there are fewer."""
  have = sum(p.size for p in pieces)
  return spread(pieces, round(len(pieces) * size / have)) if have > size else list(pieces)


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


def blocks_within(
  domain: str, name: str, text: str, size: int, each: int, start: re.Pattern = _LINE_START
) -> list[Piece]:
  """`blocks`, as many as make up about `size` characters or leave a gap; none of a short text."""
  room = len(text) // ((each + 2) * PIECE_CHARACTERS)
  count = min(room, -(-size // (each * PIECE_CHARACTERS)))
  return blocks(domain, name, text, count, each, start) if count else []


def exact_copies(pieces: Iterable[Piece]) -> dict[str, str]:
  """Key → key of the earlier piece with the same normalised text."""
  first: dict[str, str] = {}
  copies = {}
  for piece in pieces:
    before = first.setdefault(normalised(piece.text), piece.key)
    if before != piece.key:
      copies[piece.key] = before
  return copies


def assign(pieces: Iterable[Piece], seed: str) -> dict[tuple[str, str], str]:
  """(domain, source) → split, so that every domain's bytes fall into `SHARES`.

  Sources come in seeded order within their stratum, and each goes to the split that is furthest
  behind its share: any run of them, so every stratum too, is dealt in proportion, up to about one
  source.
  """
  sizes: dict[tuple[str, str, str], int] = collections.Counter()
  for p in pieces:
    sizes[p.domain, p.stratum, p.source] += p.size
  order = sorted(sizes, key=lambda key: (key[0], key[1], rank(key[2], seed)))
  have: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  splits = {}
  for domain, stratum, source in order:
    size = sizes[domain, stratum, source]
    total = have[domain].total() + size
    split = max(SHARES, key=lambda s: SHARES[s] * total - have[domain][s])
    have[domain][split] += size
    splits[domain, source] = split
  return splits


def shingles(text: str) -> set[int]:
  """Hashes of the runs of `SHINGLE_CHARACTERS` that begin at a word, ruled lines left out."""
  text = normalised(_RULE.sub(r"\1", text))
  starts = [0, *(m.end() for m in re.finditer(" ", text))]
  runs = (text[s : s + SHINGLE_CHARACTERS].encode() for s in starts)
  return {
    int.from_bytes(hashlib.blake2b(run, digest_size=8).digest(), "big")
    for run in runs
    if len(run) >= SHINGLE_CHARACTERS
  }


def navigation(pieces: Sequence[Piece], of: Sequence[set[int]]) -> set[int]:
  """Shingles that at least `NAVIGATION_PAGES` sources share."""
  pages: dict[int, set[str]] = collections.defaultdict(set)
  for piece, own in zip(pieces, of, strict=True):
    for shingle in own:
      pages[shingle].add(piece.source)
  return {shingle for shingle, sources in pages.items() if len(sources) >= NAVIGATION_PAGES}


def drop_shared(
  pieces: Sequence[Piece], seed: str, markup: Collection[str] = ()
) -> tuple[list[Piece], list[Piece]]:
  """(kept, dropped): of two pieces of different sources that share a shingle, one goes.

  Across sources rather than splits: it holds for whatever split they are dealt into afterwards.
  markup: domains whose tags are no text, and whose pages may share navigation.
  """
  is_markup = [p.domain in markup for p in pieces]
  own = [
    shingles(_TAG.sub(" ", p.text) if tags else p.text)
    for p, tags in zip(pieces, is_markup, strict=True)
  ]
  pages = [i for i, tags in enumerate(is_markup) if tags]
  allowed = navigation([pieces[i] for i in pages], [own[i] for i in pages])
  home: dict[int, str] = {}
  kept = set()
  for i in sorted(range(len(pieces)), key=lambda i: rank(pieces[i].key, seed)):
    source = pieces[i].source
    mine = own[i] - allowed if is_markup[i] else own[i]
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
