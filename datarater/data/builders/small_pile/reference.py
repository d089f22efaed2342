"""Domains of the small Pile to look things up in, to run, or of no use: documentation, code, junk.

A recipe takes the shelf and the bytes wanted, and gives that much or more where there is more.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from datarater.data.builders.pieces import (
  Piece,
  blocks_within,
  documents,
  rank,
  thinned,
)
from datarater.data.builders.shelf import Shelf
from datarater.data.builders.small_pile.prose import articles, fortunes, named

_ENTRY = re.compile(r"(?<=\n\n)(?=\S)")
_PAGES = "pages-1"
"""Seed by which a page of documentation is given to techdocs or to raw_html."""

_MOST_OF_A_PAGE = 6
"""Pieces of one page of HTML, so that many pages come in."""

_DOCUMENTATION = {
  "linuxdoc": "usr/share/doc/linux-doc-6.1/html/",
  "pythondoc": "usr/share/doc/python3.11/html/",
}
_MANPAGES = {"de": "de", "fr": "fr", "ja": "ja", "pl": "pl", "ru": "ru", "zh": "zh_CN"}
# Comments, and requests that lay out: those of roff are lower-case, of the macros these.
_ROFF_LAYOUT = re.compile(
  r"^['.][ \t]*(?:\\|[a-z]|(?:AD|HP|LP|P|PD|PP|RE|RS|SP|TP|UE|UR)\b|$).*\n?", re.MULTILINE
)
_ROFF_MACRO = re.compile(r"^['.][ \t]*[A-Z]\w*[ \t]*", re.MULTILINE)
_ROFF_FONT = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\[&/,:%|^]|\\s[-+]?\d")


def dictionary(shelf: Shelf, size: int) -> list[Piece]:
  """GCIDE, FOLDOC and the Jargon File, in blocks of entries."""
  pieces = []
  for key, share in (("gcide", 0.7), ("foldoc", 0.2), ("jargon", 0.1)):
    (text,) = shelf.texts(key, f"usr/share/dictd/{key}.dict.dz").values()
    wanted = int(share * size)
    pieces += blocks_within("dictionary", key, text, wanted, each=5, start=_ENTRY)
  return pieces


def lexdb(shelf: Shelf, size: int) -> list[Piece]:
  """WordNet's files of synsets, in blocks of lines; the licence at their head is left out."""
  pieces = []
  for kind, share in (("adj", 0.15), ("adv", 0.02), ("noun", 0.7), ("verb", 0.13)):
    (text,) = shelf.texts("wordnet", f"usr/share/wordnet/data.{kind}").values()
    lines = "".join(line for line in text.splitlines(True) if not line.startswith("  "))
    wanted = int(share * size)
    pieces += blocks_within("lexdb", f"wordnet/data.{kind}", lines, wanted, each=4)
  return pieces


def techdocs(shelf: Shelf, size: int) -> list[Piece]:
  """Documentation of Linux and Python as reStructuredText."""
  texts = {}
  for key, base in _DOCUMENTATION.items():
    folder = base + "_sources/"
    found = shelf.texts(key, folder + "**/*.rst.txt", _of_domain(folder, ".rst.txt", "techdocs"))
    texts |= {f"{key}-rst/{_stem(n, folder, '.rst.txt')}": t for n, t in found.items()}
  return thinned(documents("techdocs", texts), size)


def raw_html(shelf: Shelf, size: int) -> list[Piece]:
  """Other pages of the same documentation as HTML, tags and navigation kept."""
  texts = {}
  for key, base in _DOCUMENTATION.items():
    found = shelf.texts(key, base + "**/*.html", _of_domain(base, ".html", "raw_html"))
    texts |= {f"{key}-html/{_stem(n, base, '.html')}": t for n, t in found.items()}
  return thinned(documents("raw_html", texts, most=_MOST_OF_A_PAGE), size)


def _of_domain(base: str, suffix: str, domain: str) -> Callable[[str], bool]:
  """Gives each page to one of the two domains: the same text is never in both."""

  def chosen(name: str) -> bool:
    stem = _stem(name, base, suffix)
    in_techdocs = int(rank(stem, _PAGES)[:8], 16) % 2 == 0
    return "translations/" not in stem and in_techdocs == (domain == "techdocs")

  return chosen


def _stem(name: str, base: str, suffix: str) -> str:
  return name.removeprefix(base).removesuffix(suffix)


def code(shelf: Shelf, size: int) -> list[Piece]:
  """Python's standard library and its tests."""
  base = "usr/lib/python3.11/"
  texts = {}
  for key in ("stdlib", "testsuite"):
    found = shelf.texts(key, base + "**/*.py", lambda name: "/pydoc_data/" not in name)
    texts |= {f"python/{name.removeprefix(base)}": text for name, text in found.items()}
  return thinned(documents("code", texts), size)


def multilingual(shelf: Shelf, size: int) -> list[Piece]:
  """Manual pages, fortune cookies, articles and kernel documentation in eleven languages."""
  cookies = "usr/share/games/fortunes/**/*"
  parts = [fortunes(shelf, f"fortunes-{i}", cookies, "multilingual") for i in ("de", "it", "ru")]
  for key, folder in _MANPAGES.items():
    found = shelf.texts(f"manpages-{key}", f"usr/share/man/{folder}/man*/*.gz")
    pages = {f"manpages-{key}/{Path(name).stem}": plain_roff(text) for name, text in found.items()}
    parts.append(documents("multilingual", pages, strata=dict.fromkeys(pages, f"manpages-{key}")))
  for language in ("es-es", "fr-fr"):
    parts.append(articles(shelf, language, "multilingual", f"wikipedia-{language[:2]}"))
  base = _DOCUMENTATION["linuxdoc"] + "_sources/translations/"
  # The traditional characters are those of zh_CN, converted.
  found = shelf.texts("linuxdoc", base + "**/*.rst.txt", lambda name: "/zh_TW/" not in name)
  pages = {f"linuxdoc-translations/{_stem(n, base, '.rst.txt')}": t for n, t in found.items()}
  parts.append(documents("multilingual", pages, strata=dict.fromkeys(pages, "linuxdoc")))
  return _evenly(parts, size)


def _evenly(parts: list[list[Piece]], size: int) -> list[Piece]:
  """As much of each part; of the small ones everything, and more of the others."""
  pieces = []
  for k, part in enumerate(sorted(parts, key=lambda part: sum(p.size for p in part))):
    pieces += thinned(part, (size - sum(p.size for p in pieces)) // (len(parts) - k))
  return pieces


def plain_roff(text: str) -> str:
  """A manual page without comments, layout, names of macros and changes of font."""
  text = _ROFF_FONT.sub("", _ROFF_MACRO.sub("", _ROFF_LAYOUT.sub("", text)))
  for escape, plain in (("\\-", "-"), ("\\ ", " "), ("\\(aq", "'"), ("\\e", "\\")):
    text = text.replace(escape, plain)
  return text


def minified(shelf: Shelf, size: int) -> list[Piece]:
  """Search indexes of the two documentations, in blocks."""
  pieces = []
  for key, share in (("linuxdoc", 0.8), ("pythondoc", 0.2)):
    (text,) = shelf.texts(key, _DOCUMENTATION[key] + "searchindex.js").values()
    wanted = int(share * size)
    pieces += blocks_within("minified", f"{key}-index", text, wanted, each=8, start=re.compile(" "))
  return pieces


def tables(shelf: Shelf, size: int) -> list[Piece]:
  """Pronunciations, primes and sensors' numbers, in blocks of lines."""
  (words,) = shelf.texts("datasets", "package/cmudict/data/dict.txt").values()
  (primes,) = shelf.texts("datasets", "package/primes-100k/data/data.txt").values()
  motes = shelf.texts("datasets", "package/suthaharan-*/data/*_mote*_data.txt")
  pieces = blocks_within("tables", "cmudict", words, size, each=16)
  pieces += blocks_within("tables", "primes", primes, size, each=8)
  for name, text in named(motes, "sensors/").items():
    parts = blocks_within("tables", name, text, size, each=6)
    pieces += [dataclasses.replace(p, stratum="sensors") for p in parts]
  return pieces
