"""Which tokens of an example have a loss, and what each weighs."""

import numpy as np
import pytest

from datarater.data.tokenizers import ByteTokenizer
from datarater.scorers.dsdm.rows import OneARow, SeveralARow, pieces_of, weighted_batches
from datarater.scorers.target import Example

TOKENIZER, LENGTH, SEP = ByteTokenizer(), 8, 256


def pieces(*examples, rows=8):
  return pieces_of(examples, TOKENIZER, LENGTH, rows)


def text_of(piece):
  return bytes(t for t in piece.tokens.tolist() if t != SEP).decode()


def test_documents_are_cut_as_in_training():
  found = pieces(Example("abcdefghij"), Example(""), Example("k"))
  assert [text_of(p) for p in found] == ["abcdefg", "hij", "k"]
  assert [p.tokens.tolist()[-1] == SEP for p in found] == [False, True, True]
  assert [p.example for p in found] == [0, 0, 2]
  assert {p.start for p in found} == {1}


def test_of_long_documents_some_rows_count_evenly_spaced():
  text = "".join(letter * 7 for letter in "abcdefghi")
  assert [text_of(p)[0] for p in pieces(Example(text), rows=3)] == ["a", "e", "i"]
  assert [text_of(p)[0] for p in pieces(Example(text), rows=1)] == ["a"]
  assert len(pieces(Example(text), rows=9)) == 9


def test_after_a_context_only_the_text_counts():
  (found,) = pieces(Example("cd", context="ab"))
  assert found.tokens.tolist() == [SEP, *b"abcd"]
  assert found.start == 3
  (spaced,) = pieces(Example("cd", context="ab "))
  assert spaced.start == 3  # the space is the text's
  (blank,) = pieces(Example("cd", context=" "))
  assert (blank.start, blank.tokens.tolist()[-1]) == (1, SEP)


def test_a_context_is_cut_from_the_left():
  (found,) = pieces(Example("xyz", context="abcdefg"))
  assert text_of(found) == "defgxyz"
  assert found.start == 5
  (full,) = pieces(Example("tuvwxyz", context="abc"))
  assert (text_of(full), full.start) == ("tuvwxyz", 1)
  assert [text_of(p) for p in pieces(Example("stuvwxyz", context="abc"))] == ["stuvwxy", "z"]


@pytest.mark.parametrize("shapes", [SeveralARow(64, 256), OneARow(64, 256), SeveralARow(256, 512)])
def test_an_examples_weights_add_to_one_and_lie_on_its_text(shapes):
  random = np.random.default_rng(0)
  examples = [
    Example("x" * random.integers(1, 200), "c" * random.integers(0, 30)) for _ in range(20)
  ]
  found = pieces_of(examples, TOKENIZER, shapes.length, 3)
  total, segments = np.zeros(20), 0
  for batch, weights_BxL, example_BxS in weighted_batches(found, shapes):
    of_BxL = np.take_along_axis(example_BxS, np.maximum(batch.segment_ids_BxL - 1, 0), axis=1)
    counts = weights_BxL > 0
    assert (batch.tokens_BxL[counts] != ord("c")).all()
    assert batch.loss_mask_BxL[counts].all()
    assert example_BxS.shape[1] == shapes.segments(batch.tokens_BxL.shape[1])
    np.add.at(total, of_BxL[counts], weights_BxL[counts])
    segments += np.count_nonzero(example_BxS >= 0)
  np.testing.assert_allclose(total, 1.0, rtol=1e-5)
  assert segments == len(found)
