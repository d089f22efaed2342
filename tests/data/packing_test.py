"""No token is lost or doubled on the way from documents to rows, and bytes add up."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.packing import Chunk, Rows, assemble, chunks_of, cut, first_fit

SEPARATOR = 9
tokens = st.lists(st.integers(0, 8), max_size=60)


def pieces(chunks: list[Chunk]) -> list[int]:
  return [t for chunk in chunks for t in chunk.tokens[1:].tolist()]


@pytest.mark.parametrize(
  ("number", "expected"),
  [
    (0, []),
    (2, [[9, 0, 1, 9]]),
    (3, [[9, 0, 1, 2]]),  # full: no room for the separator at the end
    (4, [[9, 0, 1, 2], [9, 3, 9]]),
  ],
)
def test_chunks_by_hand(number, expected):
  chunks = cut(np.arange(number), SEPARATOR, 4, size=number)
  assert [chunk.tokens.tolist() for chunk in chunks] == expected


@given(tokens, st.integers(2, 20), st.integers(0, 500))
def test_no_token_is_lost_or_doubled_and_bytes_add_up(text, length, size):
  chunks = cut(np.array(text, np.int32), SEPARATOR, length, size, document=3, domain=1)
  assert [t for t in pieces(chunks) if t != SEPARATOR] == text
  assert sum(chunk.bytes for chunk in chunks) == (size if text else 0)
  for i, chunk in enumerate(chunks):
    assert chunk.tokens.dtype == np.int32
    assert chunk[1:3] == (3, 1)
    assert chunk.bytes >= 0
    assert 2 <= len(chunk.tokens) <= length
    assert chunk.tokens[0] == SEPARATOR
    last = i == len(chunks) - 1
    assert len(chunk.tokens) == length or last
    assert (chunk.tokens[1:] == SEPARATOR).sum() == (last and len(text) % (length - 1) != 0)


def test_bytes_of_a_byte_tokenizer_are_exact_in_every_chunk():
  for chunk in cut(np.zeros(1000, np.int32), SEPARATOR, 7, 1000):
    assert chunk.bytes == (chunk.tokens != SEPARATOR).sum()


documents = st.lists(tokens, max_size=12)


@given(documents, st.integers(2, 16), st.integers(1, 4), st.integers(1, 5))
def test_packing_keeps_every_chunk_within_the_limits(texts, length, rows, segments):
  chunks = [
    chunk
    for i, text in enumerate(texts)
    for chunk in cut(np.array(text, np.int32), SEPARATOR, length, 2 * len(text), i, i % 3)
  ]
  packs = list(first_fit(chunks, rows, length, segments))
  found = []
  for packed in packs:
    batch = assemble(packed, rows, length, segments)
    check_batch(batch, rows, length, segments)
    again = chunks_of(batch)
    assert [list(map(as_tuple, row)) for row in again] == [
      list(map(as_tuple, row)) for row in packed
    ]
    found += [as_tuple(chunk) for row in again for chunk in row]
  assert sorted(found) == sorted(map(as_tuple, chunks))


def as_tuple(chunk: Chunk) -> tuple:
  return chunk.document, chunk.domain, chunk.bytes, tuple(chunk.tokens.tolist())


def check_batch(batch, rows, length, segments):
  """What every Batch promises: exact shapes, segments numbered in order, positions that restart."""
  for field in dataclasses.fields(batch):
    leaf = getattr(batch, field.name)
    assert leaf.dtype == np.int32
    assert leaf.shape == (rows, length if field.name.endswith("BxL") else segments)
  for row in range(rows):
    ids = batch.segment_ids_BxL[row]
    number = ids.max(initial=0)
    assert (np.diff(ids[ids > 0]) >= 0).all()
    assert set(ids[ids > 0].tolist()) == set(range(1, number + 1))
    assert (ids[(ids > 0).sum() :] == 0).all(), "padding stands at the end"
    assert ((batch.document_ids_BxS[row] >= 0) == (np.arange(segments) < number)).all()
    assert ((batch.domain_BxS[row] >= 0) == (np.arange(segments) < number)).all()
    assert (batch.bytes_BxS[row, number:] == 0).all()
    for k in range(1, number + 1):
      assert batch.positions_BxL[row, ids == k].tolist() == list(range((ids == k).sum()))
      assert batch.tokens_BxL[row, ids == k][0] == SEPARATOR
    assert (batch.tokens_BxL[row, ids == 0] == 0).all()
  assert (batch.loss_mask_BxL == ((batch.segment_ids_BxL > 0) & (batch.positions_BxL > 0))).all()


def test_first_fit_uses_the_first_row_with_room():
  rows = Rows(2, length=10, segments=2)
  sizes = [6, 6, 4, 3, 2]
  assert [rows.add(Chunk(np.zeros(s, np.int32), 0, 0, 0)) for s in sizes] == [True] * 4 + [False]
  assert [[len(chunk.tokens) for chunk in row] for row in rows.packed] == [[6, 4], [6, 3]]


def test_impossible_packing_is_refused():
  chunk = Chunk(np.zeros(5, np.int32), 0, 0, 0)
  with pytest.raises(ValueError, match="longer than a row of 4"):
    list(first_fit([chunk], 1, 4, 1))
  with pytest.raises(ValueError, match="2 rows are packed"):
    assemble([[chunk], [chunk]], 1, 8, 1)
  with pytest.raises(ValueError, match="at most 1 fit"):
    assemble([[chunk, chunk]], 1, 16, 1)
  with pytest.raises(ValueError, match="at most 8 fit"):
    assemble([[chunk, chunk]], 1, 8, 2)
  with pytest.raises(ValueError, match="length is 1"):
    cut(np.zeros(3, np.int32), 9, 1, 3)
