"""Candidates: read from side files in parts, the same as if they were at hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from side_files import write_ratings

from datarater.curation.candidates import (
  UNKNOWN,
  Candidates,
  IdsInFiles,
  load_candidates,
  open_side,
  resolve_rating,
  rows_of,
)
from datarater.curation.counts import NO_DOMAIN
from datarater.curation.ratings import side_path
from datarater.errors import InputError
from datarater.scorers.random import uniform_hash


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Three shards of several row groups, one of them empty."""
  folder = tmp_path_factory.mktemp("ratings")
  shards = {
    "a": [
      {"rating": float(i), "tokens": None if i % 4 == 1 else i, "domain": f"d{i % 3}"}
      for i in range(13)
    ],
    "b/empty": [],
    "c": [{"rating": np.nan if i == 2 else -float(i), "tokens": 7} for i in range(6)],
  }
  write_ratings(folder, shards)
  return [side_path(folder, name) for name in shards]


def test_columns_come_as_arrays(files):
  read = []
  candidates, bounds = load_candidates(files, "rating", read.append, [13, 0, 6])
  assert bounds.tolist() == [0, 13, 13, 19]
  assert sum(read) == len(candidates) == 19
  expected = [*range(13), 0, -1, np.nan, -3, -4, -5]
  np.testing.assert_array_equal(candidates.ratings, np.array(expected, np.float32))
  tokens = [UNKNOWN if i % 4 == 1 else i for i in range(13)] + [7] * 6
  assert candidates.tokens.tolist() == tokens
  names = [candidates.domains[code] for code in candidates.domain]
  assert names == [f"d{i % 3}" for i in range(13)] + [NO_DOMAIN] * 6
  other, _ = load_candidates(files, "rating_other")
  np.testing.assert_array_equal(other.ratings, -candidates.ratings)


@settings(deadline=None)
@given(st.sets(st.integers(0, 18)), st.integers(0, 3))
def test_draws_read_from_files_are_those_of_the_ids(files, chosen, seed):
  candidates, _ = load_candidates(files, "rating")
  ids = [f"a {i}" for i in range(13)] + [f"c {i}" for i in range(6)]
  at = np.array(sorted(chosen), np.int64)
  expected = uniform_hash([ids[i] for i in at], seed, "purpose")
  np.testing.assert_array_equal(candidates.draws(seed, "purpose")(at), expected)
  at_hand = Candidates.of(candidates.ratings, ids)
  np.testing.assert_array_equal(at_hand.draws(seed, "purpose")(at), expected)


def test_only_the_row_groups_concerned_are_read(files, monkeypatch):
  groups = []
  with open_side(files[0]) as file:
    assert file.num_row_groups == 3
    read = type(file).read_row_group
  monkeypatch.setattr(
    type(file), "read_row_group", lambda *a, **kw: groups.append(a[1]) or read(*a, **kw)
  )
  IdsInFiles(tuple(files), np.array([0, 13, 13, 19]))(np.array([6, 12]), 0, "")
  assert groups == [1, 2]


def test_some_of_them_are_all_but_the_others(files):
  candidates, _ = load_candidates(files, "rating")
  eligible = np.arange(19) % 2 == 0
  some = candidates.only(eligible)
  assert np.isnan(some.ratings[~eligible]).all()
  np.testing.assert_array_equal(some.ratings[eligible], candidates.ratings[eligible])
  assert not np.isnan(candidates.ratings[~eligible]).all()


def test_the_scorer_is_found_by_name():
  names = ["id", "rating", "rating_short", "ratings"]
  assert resolve_rating(names, "rating") == "rating"
  assert resolve_rating(names, "short") == resolve_rating(names, "rating_short") == "rating_short"
  with pytest.raises(InputError, match=r"ratings by 'long' are not .* there are: rating, short"):
    resolve_rating(names, "long")


def test_what_is_no_side_file_is_named(tmp_path):
  (tmp_path / "x.parquet").write_bytes(b"PAR1")
  for name in ("x.parquet", "y.parquet"):
    with pytest.raises(InputError, match=f"side file '.*{name}' cannot be read"):
      rows_of(tmp_path / name)
