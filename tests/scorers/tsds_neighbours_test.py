"""Neighbours of TSDS: against all distances in float64, whatever the scale, blocks and threads."""

import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from datarater.errors import InputError
from datarater.scorers.tsds import neighbours
from datarater.scorers.tsds.inverted_lists import InvertedLists
from datarater.scorers.tsds.neighbours import ExactSearch
from datarater.scorers.tsds.screening import Screen


def clustered(seed, number, width=8, clusters=10, dtype=np.float32):
  centres = np.random.default_rng(100).normal(size=(clusters, width))
  random = np.random.default_rng(seed)
  places = random.integers(0, clusters, number)
  return (centres[places] + 0.3 * random.normal(size=(number, width))).astype(dtype)


def all_squared(queries, points):
  gaps = queries[:, None, :].astype(np.float64) - points.astype(np.float64)
  return (gaps**2).sum(axis=-1)


def wanted(queries, points, number):
  squared = all_squared(queries, points)
  ids = np.argsort(squared, axis=1, kind="stable")[:, :number]
  return ids, np.sqrt(np.take_along_axis(squared, ids, axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("points", "number"), [(1, 1), (7, 7), (300, 1), (300, 40), (300, 300)])
def test_the_nearest_are_found(points, number, dtype):
  values, queries = clustered(0, points, dtype=dtype), clustered(1, 13, dtype=dtype)
  ids, distances = ExactSearch(values).nearest(queries, number)
  expected_ids, expected = wanted(queries, values, number)
  np.testing.assert_array_equal(ids, expected_ids)
  np.testing.assert_allclose(distances, expected, rtol=1e-14)


def test_at_equal_distances_the_first_point_is_first():
  points = np.zeros((6, 2), np.float32)
  points[3] = 1.0
  ids, distances = ExactSearch(points).nearest(np.zeros((2, 2), np.float32), 4)
  assert ids.tolist() == [[0, 1, 2, 4]] * 2
  assert not distances.any()


# What float32 alone gets wrong: tiny gaps far from the mean, an outlier, sizes beyond its range.
@pytest.mark.parametrize(
  "spoil",
  [
    lambda points: points * 1e-7 + 1.0,
    lambda points: np.concatenate([points, np.full((1, points.shape[1]), 1e6)]),
    lambda points: points * 1e30,
    lambda points: np.concatenate([points, np.full((1, points.shape[1]), 1e25)]),
    lambda points: points * 1e-30,
  ],
)
def test_distances_that_float32_cannot_tell_apart_are_told(spoil):
  points = spoil(clustered(2, 200, dtype=np.float64))
  queries = points[:5] * (1 + 1e-9)
  ids, distances = ExactSearch(points).nearest(queries, 20)
  expected_ids, expected = wanted(queries, points, 20)
  np.testing.assert_array_equal(ids, expected_ids)
  np.testing.assert_allclose(distances, expected, rtol=1e-14)
  radius = float(expected[:, 10].max()) * 1.0001
  pairs = ExactSearch(points).within(queries, radius, 200)
  rows, columns = np.nonzero(all_squared(queries, points) < radius**2)
  np.testing.assert_array_equal(pairs.rows, rows)
  np.testing.assert_array_equal(pairs.columns, columns)


@pytest.mark.parametrize("size", [1e30, 1e39, 1e42])
def test_a_query_out_of_float32s_range_rules_nothing_out(size):
  points = clustered(2, 50, dtype=np.float64)
  queries = np.full((1, 8), size)
  queries[0, 0] = -size
  ids, distances = ExactSearch(points).nearest(queries, 5)
  np.testing.assert_array_equal(ids, wanted(queries, points, 5)[0])
  pairs = ExactSearch(points).within(queries, 1.1 * distances.max(), 50)
  np.testing.assert_array_equal(pairs.columns, np.arange(50))


def test_what_all_points_have_in_common_does_not_blunt_the_screen():
  points, queries = clustered(5, 2000), clustered(6, 10)
  screen = Screen(points + np.float32(1000))
  maybe = screen.maybe_nearest(screen.queries(queries + np.float32(1000)), 20)
  assert maybe.sum() < 10 * 25


@pytest.mark.parametrize("number", [1000, 12, 1])
def test_points_within_a_radius(number):
  points, queries, radius = clustered(3, 400), clustered(4, 700), 1.0
  pairs = ExactSearch(points).within(queries, radius, number)
  squared = all_squared(queries, points)
  near = squared < radius**2
  assert near.sum(axis=1).max() > 12
  least = np.sort(squared, axis=1)[:, min(number, 400) - 1]
  rows, columns = np.nonzero(near & (squared <= least[:, None]))
  np.testing.assert_array_equal(pairs.rows, rows)
  np.testing.assert_array_equal(pairs.columns, columns)
  np.testing.assert_allclose(pairs.squared, squared[rows, columns], rtol=1e-14)


def test_columns_count_within_the_points_among_which_was_searched():
  points, queries = clustered(3, 400), clustered(4, 50)
  ids = np.arange(0, 400, 3)
  for search in (ExactSearch(points), InvertedLists(points, probes=100, seed=0)):
    pairs = search.among(ids).within(queries, 1.0, 1000)
    rows, columns = np.nonzero(all_squared(queries, points[ids]) < 1.0)
    np.testing.assert_array_equal(pairs.rows, rows)
    np.testing.assert_array_equal(pairs.columns, columns)


def test_looking_at_all_lists_is_exact():
  points, queries = clustered(5, 2000), clustered(6, 300)
  exact, lists = ExactSearch(points), InvertedLists(points, probes=1000, seed=0)
  assert len(np.unique(lists.lists())) > 10
  for one, other in zip(exact.nearest(queries, 50), lists.nearest(queries, 50), strict=True):
    np.testing.assert_array_equal(one, other)
  for number in (10_000, 5):
    one, other = exact.within(queries, 1.0, number), lists.within(queries, 1.0, number)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.columns, other.columns)
    np.testing.assert_array_equal(one.squared, other.squared)


def test_few_lists_find_most_and_nothing_wrong():
  points, queries = clustered(5, 2000, clusters=40), clustered(6, 50, clusters=40)
  lists = InvertedLists(points, probes=3, seed=0)
  ids, distances = lists.nearest(queries, 20)
  np.testing.assert_allclose(
    distances**2, all_squared(queries, points)[np.arange(50)[:, None], ids]
  )
  assert (np.diff(distances, axis=1) >= 0).all()
  assert all(len(set(row)) == 20 for row in ids.tolist())
  expected = wanted(queries, points, 20)[0]
  recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(ids, expected, strict=True)])
  assert 0.6 < recall < 1.0
  pairs = lists.within(queries, 1.2, 1000)
  near = all_squared(queries, points) < 1.2**2
  assert near[pairs.rows, pairs.columns].all()
  assert len(pairs.rows) < near.sum()


def test_a_query_whose_lists_are_short_is_searched_exactly():
  points, queries = clustered(5, 2000), clustered(6, 9)
  ids, _ = InvertedLists(points, probes=1, seed=0).nearest(queries, 1000)
  np.testing.assert_array_equal(ids, wanted(queries, points, 1000)[0])


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_bits_depend_neither_on_threads_nor_on_blocks(kind, monkeypatch):
  import faiss

  points, queries = clustered(7, 3000, width=64), clustered(8, 500, width=64)

  def found():
    search = ExactSearch(points) if kind == "exact" else InvertedLists(points, 4, seed=3)
    pairs = search.within(queries, 3.0, 50)
    return [*search.nearest(queries, 30), pairs.rows, pairs.columns, pairs.squared]

  before = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(4)
  many = found()
  faiss.omp_set_num_threads(before)
  with threadpool_limits(1):
    for name, size in (("_ROWS", 37), ("_COLUMNS", 101), ("_PRODUCTS", 9999), ("_PAIR_VALUES", 64)):
      monkeypatch.setattr(neighbours, name, size)
    one = found()
  for a, b in zip(many, one, strict=True):
    np.testing.assert_array_equal(a, b)


def test_training_leaves_the_number_of_threads_as_it_was():
  import faiss

  before = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(3)
  InvertedLists(clustered(7, 500), 4, seed=3)
  after = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(before)
  assert after == 3


def test_without_faiss_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "faiss", None)
  with pytest.raises(InputError, match=r"faiss-cpu.*datarater\[selectors\]"):
    InvertedLists(clustered(7, 50), 4, seed=3)
