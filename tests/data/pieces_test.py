"""Cutting, dealing and dropping pieces, on made-up text."""

import collections
import dataclasses
import random
import string

import pytest

from datarater.data.builders.pieces import (
  NAVIGATION_PAGES,
  PIECE_CHARACTERS,
  Piece,
  assign,
  blocks,
  blocks_within,
  cut,
  drop_shared,
  exact_copies,
  gathered,
  spread,
  thinned,
)

SPLITS = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}


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
  pieces = cut(text)
  assert "".join(text.split()) == "".join("".join(pieces).split())
  assert all(2000 <= len(piece) <= 5000 for piece in pieces[:-1])
  assert all(text[text.index(p) + len(p) :].startswith("\n\n") for p in pieces[:-1])


@pytest.mark.parametrize(
  ("unit", "ends_with"),
  [("some words\n", "words"), ("some words. ", "words."), ("word ", "word"), ("x", "x")],
)
def test_cut_falls_back_to_lines_sentences_words_anything(unit, ends_with):
  pieces = cut(unit * (20_000 // len(unit)))
  assert len(pieces) > 3
  assert all(len(piece) <= 5000 and piece.endswith(ends_with) for piece in pieces)


def test_spread_takes_from_all_over():
  assert spread(range(100), 4) == [12, 37, 62, 87]
  assert spread("abc", 5) == ["a", "b", "c"]


def test_blocks_keep_a_gap():
  text = _prose(1, 200_000)
  pieces = blocks("d", "book", text, count=5, each=2)
  spans = [(text.index(p.text), text.index(p.text) + len(p.text)) for p in pieces]
  assert len({p.source for p in pieces}) == 5
  for (_, end), (begin, _) in zip(spans[1::2], spans[2::2], strict=False):
    assert begin - end >= PIECE_CHARACTERS


def test_blocks_without_room_for_a_gap_are_refused():
  with pytest.raises(ValueError, match="leave no gap"):
    blocks("d", "book", _prose(1, 200_000), count=20, each=2)


def test_assign_deals_every_stratum_in_proportion():
  rng = random.Random(3)
  texts = ["x" * rng.randrange(2000, 6000) for _ in range(400)]
  pieces = [Piece("d", f"s{k}", 0, text, "ab"[k % 2]) for k, text in enumerate(texts)]
  splits = assign(pieces, "seed")
  for stratum in "ab":
    sizes = collections.Counter()
    for piece in pieces:
      if piece.stratum == stratum:
        sizes[splits[piece.domain, piece.source]] += piece.size
    for split, share in SPLITS.items():
      assert sizes[split] / sizes.total() == pytest.approx(share, abs=0.01)


def _piece(source: str, text: str, domain: str = "d") -> Piece:
  return Piece(domain, source, 0, text)


def test_drop_shared_keeps_one_of_two_sources_with_a_sentence_in_common():
  sentence = "a sentence that is clearly longer than fifty characters in both of them "
  pieces = [_piece(f"s{k}", _prose(k, 900) + sentence + _prose(k + 9, 900)) for k in (0, 1)]
  other = _piece("c", _prose(77, 900))
  kept, dropped = drop_shared([*pieces, other], "seed")
  assert len(dropped) == 1
  assert other in kept
  within = [dataclasses.replace(piece, source="one") for piece in pieces]
  assert drop_shared(within, "seed")[1] == []


def test_drop_shared_lets_pages_share_navigation_but_nothing_rarer():
  bar = "<a href='x'>a bar with many entries that</a> <b>every page of the whole site repeats</b> "
  rare = "a passage which only two of all these pages have in common, and not the others "
  pages = [
    _piece(f"page-{k}", bar + (rare if k < 2 else "") + _prose(k, 900), "raw_html")
    for k in range(NAVIGATION_PAGES)
  ]
  dropped = drop_shared(pages, "seed", markup=("raw_html",))[1]
  assert [p.source for p in dropped] in (["page-0"], ["page-1"])
  assert len(drop_shared(pages[1:], "seed", markup=("raw_html",))[1]) == NAVIGATION_PAGES - 2


def test_exact_copies_ignore_case_and_space_and_name_the_first():
  text = _prose(5, 700)
  pieces = [_piece("a", text), _piece("b", text.upper()), _piece("c", text + "more")]
  assert exact_copies([*pieces, _piece("d", " " + text)]) == {"b#000": "a#000", "d#000": "a#000"}


def test_gathered_joins_short_texts_and_loses_none():
  texts = [_prose(k, 700).strip() for k in range(40)]
  pieces = gathered("d", "many", texts)
  assert "\n\n".join(p.text for p in pieces) == "\n\n".join(texts)
  assert len({p.source for p in pieces}) == len(pieces) == 8
  assert all(p.size <= PIECE_CHARACTERS + 20 and p.stratum == "many" for p in pieces)
  assert gathered("d", "many", []) == []


def test_thinned_keeps_about_so_many_bytes_from_all_over():
  pieces = [_piece(f"s{k}", "x" * (1000 + k)) for k in range(100)]
  kept = thinned(pieces, 25_000)
  assert sum(p.size for p in kept) == pytest.approx(25_000, rel=0.05)
  assert {int(p.source[1:]) // 25 for p in kept} == {0, 1, 2, 3}
  assert thinned(pieces, 10**9) == pieces


def test_blocks_within_take_the_size_wanted_or_what_leaves_gaps():
  text = _prose(2, 400_000)
  wanted = blocks_within("d", "book", text, 100_000, each=5)
  assert sum(p.size for p in wanted) == pytest.approx(100_000, rel=0.15)
  everything = blocks_within("d", "book", text, 10**9, each=5)
  assert len({p.source for p in everything}) == 400_000 // (7 * PIECE_CHARACTERS)
  assert blocks_within("d", "book", text[:20_000], 10**9, each=5) == []
