"""Domains of the small Pile that people sent each other: mailing lists, newsgroups, spam.

A recipe takes the shelf and the bytes wanted, and gives that much or more where there is more.
"""

import itertools
import re
from pathlib import Path

from datarater.data.builders.pieces import Piece, cut, documents, thinned
from datarater.data.builders.shelf import Shelf

_SUBJECT = re.compile(r"^Subject:[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE)
_REPLY = re.compile(r"^(?:(?:re|fwd?|aw)(?:\[\d+\])?:\s*|\[[^\]]*\]\s*)+", re.IGNORECASE)


def mailinglist(shelf: Shelf, size: int) -> list[Piece]:
  """Messages that are no spam, headers kept."""
  return _messages(shelf, "mailinglist", ("easy-ham-1", "easy-ham-2"), size)


def spam_html(shelf: Shelf, size: int) -> list[Piece]:
  """Spam, and legitimate messages that look like it; most are HTML."""
  return _messages(shelf, "spam_html", ("hard-ham-1", "spam-1", "spam-2"), size)


def _messages(shelf: Shelf, domain: str, groups: tuple[str, ...], size: int) -> list[Piece]:
  """A source is a thread, named by its first message: replies repeat what they answer."""
  threads: dict[str, dict[str, str]] = {}
  for group in groups:
    found = shelf.texts("datasets", f"package/spam-assassin/data/{group}/*.txt")
    for path, text in found.items():
      name = f"{domain}/{group}/{Path(path).stem}"
      threads.setdefault(_thread(text) or name, {})[name] = text
  pieces = []
  for messages in threads.values():
    parts = itertools.chain.from_iterable(map(cut, messages.values()))
    pieces += [Piece(domain, next(iter(messages)), k, t, domain) for k, t in enumerate(parts)]
  return thinned(pieces, size)


def _thread(text: str) -> str:
  """The subject that a message and its replies share; empty where there is none."""
  subject = _SUBJECT.search(text)
  return _REPLY.sub("", " ".join(subject[1].split())).casefold() if subject else ""


def forum_stripped(shelf: Shelf, size: int) -> list[Piece]:
  """Twenty newsgroups in lower case without punctuation; every group is held out."""
  found = shelf.texts("newsgroups", "orangecontrib/text/datasets/20newsgroups-*.tab")
  texts, groups = {}, {}
  for path, table in found.items():
    # Three lines of header, then a category and a text in each.
    for number, line in enumerate(table.splitlines()[3:]):
      group, _, text = line.partition("\t")
      name = f"{Path(path).stem}/{number:05d}"
      texts[name], groups[name] = text, group
  return thinned(documents("forum_stripped", texts, strata=groups), size)
