"""The online filter keeps what is rated best, whole, and resumes with its inner iterator."""

import itertools

import jax
import numpy as np
import pytest

from datarater.data.loader import train_loader
from datarater.data.online import OnlineFilter, keep_rows, keep_segments, oversampled_rows
from datarater.data.packing import Chunk, assemble, chunks_of
from datarater.data.sources import Record, source_of
from datarater.data.tokenizers import ByteTokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError


def chunk(document: int, size: int) -> Chunk:
  tokens = np.full(size, document, np.int32)
  tokens[0] = 256
  return Chunk(tokens, document, document % 2, size - 1)


def documents(batch) -> list[list[int]]:
  return [[c.document for c in row] for row in chunks_of(batch)]


@pytest.mark.parametrize(
  ("rows", "fraction", "expected"),
  [(32, 0.5, 64), (32, 0.9, 320), (32, 0.0, 32), (3, 0.7, 10), (8, 0.3, 12), (1, 0.999, 1000)],
)
def test_oversampled_rows(rows, fraction, expected):
  assert oversampled_rows(rows, fraction) == expected


def test_bad_fraction_is_refused():
  with pytest.raises(InputError, match=r"discard_fraction is 1\.0"):
    oversampled_rows(4, 1.0)


def test_rows_rated_best_are_kept_in_their_order():
  batch = assemble([[chunk(i, 4)] for i in range(5)], 6, 8, 2)  # the sixth row is empty
  ratings = np.array([[0.1], [3.0], [np.nan], [2.0], [3.0], [99.0]], np.float32)
  assert documents(keep_rows(batch, ratings, 3)) == [[1], [3], [4]]
  assert documents(keep_rows(batch, ratings, 2)) == [[1], [4]]
  assert documents(keep_rows(batch, ratings, 5)) == [[0], [1], [2], [3], [4]]
  equal = np.zeros((6, 1), np.float32)
  assert documents(keep_rows(batch, equal, 2)) == [[0], [1]]


def test_segments_rated_best_are_kept_whole_and_packed_anew():
  rows = [[chunk(0, 4), chunk(1, 4)], [chunk(2, 8)], [chunk(3, 3), chunk(4, 2)], []]
  batch = assemble(rows, 4, 8, 3)
  ratings = np.full((4, 3), 50.0, np.float32)  # what is not there must not count
  ratings[0, :2], ratings[1, 0], ratings[2, :2] = (1.0, 5.0), 3.0, (4.0, 2.0)
  kept = keep_segments(batch, ratings, 2)
  # 1 (4 tokens), 3 (3), 2 (8: second row), then 4 (2) and 0 (4) find no room.
  assert documents(kept) == [[1, 3], [2]]
  expected = assemble([[chunk(1, 4), chunk(3, 3)], [chunk(2, 8)]], 2, 8, 3)
  assert all(map(np.array_equal, jax.tree.leaves(kept), jax.tree.leaves(expected)))


def test_segment_cap_holds_and_a_short_one_fills_a_gap():
  batch = assemble([[chunk(0, 3), chunk(1, 3)], [chunk(2, 7)], [chunk(3, 2)]], 3, 8, 2)
  ratings = np.array([[4, 3], [2, 0], [1, 0]], np.float32)
  assert documents(keep_segments(batch, ratings, 1)) == [[0, 1]], "two segments a row at most"
  ratings = np.array([[4, -9], [2, 0], [1, 0]], np.float32)
  assert documents(keep_segments(batch, ratings, 1)) == [[0, 3]], "7 tokens do not fit, 2 do"


def test_wrong_shapes_are_refused():
  batch = assemble([[chunk(0, 3)]], 2, 8, 2)
  with pytest.raises(ValueError, match=r"shape \(2, 2\), the batch needs \(2, 1\)"):
    keep_rows(batch, np.zeros((2, 2)), 1)
  with pytest.raises(ValueError, match=r"shape \(2, 1\), the batch needs \(2, 2\)"):
    keep_segments(batch, np.zeros((2, 1)), 1)
  with pytest.raises(ValueError, match="2 rows, fewer"):
    keep_rows(batch, np.zeros((2, 1)), 3)


SOURCE = source_of([Record(c * (5 + 7 * i), c, "x") for i, c in enumerate("abcdefghij")])


def filtered(datapoint: str) -> OnlineFilter:
  """Prefers documents late in the alphabet."""
  config = DataConfig(length=16, segments=3, shuffle_window=8)
  inner = train_loader(SOURCE, ByteTokenizer(), config, oversampled_rows(3, 0.5), seed=0)

  def rate(batch):
    last = batch.document_ids_BxS.astype(np.float32)
    return last if datapoint == "document" else last.max(axis=1, keepdims=True)

  return OnlineFilter(inner, rate, datapoint, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("datapoint", ["sequence", "document"])
def test_filter_over_the_loader_prefers_and_resumes(datapoint):
  stream = filtered(datapoint)
  batches = list(itertools.islice(stream, 4))
  state = stream.get_state()
  following = list(itertools.islice(stream, 4))
  stream.close()
  again = filtered(datapoint)
  again.set_state(state)
  for expected in following:
    batch = next(again)
    assert batch.tokens_BxL.shape == (3, 16)
    assert all(map(np.array_equal, jax.tree.leaves(batch), jax.tree.leaves(expected)))
  again.close()
  config = DataConfig(length=16, segments=3, shuffle_window=8)
  plain = train_loader(SOURCE, ByteTokenizer(), config, 3, seed=0)
  everything = list(itertools.islice(plain, 16))
  plain.close()
  # The same 48 drawn rows, of which the filter keeps 24.
  assert mean_document(batches + following) > mean_document(everything) + 1


def mean_document(batches) -> float:
  return float(np.mean([d for batch in batches for row in documents(batch) for d in row]))
