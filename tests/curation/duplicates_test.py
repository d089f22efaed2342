"""Copies: against brute force over all pairs, whatever the order, and what is said of bad files."""

import itertools

import datasketch
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarater.curation import candidates, duplicates
from datarater.curation.duplicates import duplicate_reasons
from datarater.data.fingerprints import PERMUTATIONS, digests, minhashes
from datarater.errors import InputError
from datarater.scorers.random import uniform_hash

NAN = np.float32(np.nan)


@pytest.fixture(autouse=True, scope="module")
def _small_batches():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(candidates, "BATCH_ROWS", 4)
    yield


def write(path, ids, *, digest=None, minhash=None, group_rows=None):
  columns = {"id": pa.array(ids, pa.string()), "domain": pa.nulls(len(ids), pa.string())}
  if digest is not None:
    columns["digest"] = pa.array(list(digest), pa.binary(16))
  if minhash is not None:
    rows = [row.astype("<u4").tobytes() for row in minhash]
    columns["minhash"] = pa.array(rows, pa.binary(4 * PERMUTATIONS))
  pq.write_table(pa.table(columns), path, row_group_size=group_rows)
  return path


def files_of(folder, texts, cuts=()):
  """Side files of texts whose ids are their positions, cut at these positions."""
  ids = [f"d{i}" for i in range(len(texts))]
  bounds = [0, *cuts, len(texts)]
  return [
    write(
      folder / f"{n}.parquet",
      ids[a:b],
      digest=digests(texts[a:b]),
      minhash=minhashes(texts[a:b]),
      group_rows=3,
    )
    for n, (a, b) in enumerate(itertools.pairwise(bounds))
  ]


def best_first(ids, ratings, seed):
  hashes = uniform_hash(ids, seed, "copies")
  return sorted(
    range(len(ids)), key=lambda i: (np.isnan(ratings[i]), -np.nan_to_num(ratings[i]), hashes[i])
  )


RATINGS = st.sampled_from([np.float32(0), np.float32(0.5), np.float32(-1), np.float32(1), NAN])
DOCUMENT = st.tuples(st.integers(0, 4), RATINGS, st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(DOCUMENT, max_size=24), st.integers(0, 24), st.integers(0, 3))
def test_exact_copies_are_those_of_brute_force(tmp_path_factory, documents, cut, seed):
  kinds, ratings, eligible = (
    (list(x) for x in zip(*documents, strict=True)) if documents else ([],) * 3
  )
  # Digests that share one half or the other: both count.
  halves = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
  digest = [np.array(halves[kind], "<u8").tobytes() for kind in kinds]
  ids = [f"d{i}" for i in range(len(kinds))]
  folder, cut = tmp_path_factory.mktemp("exact"), min(cut, len(ids))
  files = [
    write(folder / "a.parquet", ids[:cut], digest=digest[:cut], group_rows=3),
    write(folder / "b.parquet", ids[cut:], digest=digest[cut:], group_rows=4),
  ]
  got = duplicate_reasons(
    files, np.array(ratings, np.float32), np.array(eligible, bool), "exact", seed=seed
  )
  expected, seen = np.zeros(len(ids), bool), set()
  for i in best_first(ids, ratings, seed):
    if eligible[i]:
      expected[i] = kinds[i] in seen
      seen.add(kinds[i])
  np.testing.assert_array_equal(got, expected)


def brute_force(signatures, ids, ratings, eligible, similarity, seed):
  """From the best down, each against all kept before with which it shares a band."""
  bands = datasketch.MinHashLSH(
    min(similarity, 0.99), PERMUTATIONS, weights=duplicates._WEIGHTS
  ).hashranges
  copies, kept = np.zeros(len(ids), bool), []
  for i in best_first(ids, ratings, seed):
    if eligible[i]:
      equal = [signatures[i] == signatures[k] for k in kept]
      copies[i] = any(
        np.mean(same) >= similarity and any(same[a:b].all() for a, b in bands) for same in equal
      )
      kept += [] if copies[i] else [i]
  return copies


@settings(max_examples=40, deadline=None)
@given(
  st.integers(0, 2**32 - 1),
  st.integers(0, 30),
  st.sampled_from([0.25, 0.5, 0.75, 0.8, 0.95, 1.0]),
  st.integers(0, 3),
)
def test_near_copies_are_those_of_brute_force(tmp_path_factory, source, n, similarity, seed):
  rng = np.random.default_rng(source)
  # Chains: each signature takes a random part of another's values, sometimes all of them.
  signatures = rng.integers(0, 2**32, (n, PERMUTATIONS)).astype(np.uint32)
  for i in range(1, n):
    share = rng.choice([0.0, similarity - 0.05, similarity, similarity + 0.05, 1.0])
    keep = np.arange(PERMUTATIONS) < round(share * PERMUTATIONS)
    keep = keep if rng.random() < 0.5 else rng.permutation(keep)
    signatures[i, keep] = signatures[rng.integers(i), keep]
  ratings = rng.choice(np.array([0, 0.5, 1, np.nan], np.float32), n)
  eligible, cut = rng.random(n) < 0.85, int(rng.integers(0, n + 1))
  ids, folder = [f"d{i}" for i in range(n)], tmp_path_factory.mktemp("near")
  files = [
    write(folder / "a.parquet", ids[:cut], minhash=signatures[:cut], group_rows=5),
    write(folder / "b.parquet", ids[cut:], minhash=signatures[cut:], group_rows=4),
  ]
  got = duplicate_reasons(files, ratings, eligible, "minhash", similarity, seed)
  expected = brute_force(signatures, ids, ratings, eligible, similarity, seed)
  np.testing.assert_array_equal(got, expected)


def texts_with_near_copies():
  """Texts of 200 words; the last five are the first five with three words changed."""
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(5000)]
  texts = [list(rng.choice(words, 200)) for _ in range(20)]
  for text in texts[:5]:
    copy = list(text)
    copy[199] = copy[100] = copy[0] = "changed"
    texts.append(copy)
  return [" ".join(text) for text in texts]


def test_near_copies_of_texts_are_found_and_the_better_one_stays(tmp_path):
  texts = texts_with_near_copies()
  ratings = np.linspace(0, 1, 25, dtype=np.float32)  # the changed ones are better
  ratings[[0, 20]] = [0.99, 0.01]
  files, everyone = files_of(tmp_path, texts, (7, 7, 22)), np.ones(25, bool)
  got = duplicate_reasons(files, ratings, everyone, "minhash", 0.8)
  assert np.flatnonzero(got).tolist() == [1, 2, 3, 4, 20]
  assert not duplicate_reasons(files, ratings, everyone, "exact").any()
  assert not duplicate_reasons(files, ratings, everyone, "minhash", 1.0).any()


def test_what_is_not_eligible_neither_is_a_copy_nor_makes_one(tmp_path):
  files = files_of(tmp_path, ["one two"] * 3)
  ratings = np.array([3, 2, 1], np.float32)
  for kind in ("exact", "minhash"):
    got = duplicate_reasons(files, ratings, np.array([False, True, True]), kind)
    assert got.tolist() == [False, False, True]
    assert not duplicate_reasons(files, ratings, np.zeros(3, bool), kind).any()


def test_a_copy_of_a_copy_that_is_gone_stays(tmp_path):
  signatures = np.zeros((3, PERMUTATIONS), np.uint32)
  signatures[1, :20] = 1  # like the first by 108/128
  signatures[2, :20] = 1
  signatures[2, 108:] = 2  # like the second by 108/128, like the first by 88/128
  path = write(tmp_path / "a.parquet", ["a", "b", "c"], minhash=signatures)
  ratings = np.array([3, 2, 1], np.float32)
  got = duplicate_reasons([path], ratings, np.ones(3, bool), "minhash", 0.8)
  assert got.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["exact", "minhash"])
def test_neither_order_nor_cuts_of_files_matter(tmp_path, kind):
  rng = np.random.default_rng(3)
  texts = [f"the same {i % 7} words again and again" for i in range(40)]
  ids = np.array([f"d{i}" for i in range(40)])
  ratings = rng.choice(np.array([0, 1, np.nan], np.float32), 40)

  def copies(order, cuts):
    bounds = [0, *cuts, 40]
    files = []
    for n, (a, b) in enumerate(itertools.pairwise(bounds)):
      some = [texts[i] for i in order[a:b]]
      path = tmp_path / f"{len(cuts)}-{n}.parquet"
      files.append(write(path, ids[order[a:b]], digest=digests(some), minhash=minhashes(some)))
    got = duplicate_reasons(files, ratings[order], np.ones(40, bool), kind, 0.9)
    return sorted(ids[order][got])

  plain = copies(np.arange(40), ())
  assert len(plain) == 33
  assert copies(rng.permutation(40), (5, 5, 31)) == plain


def test_the_seed_decides_among_equals(tmp_path):
  files = files_of(tmp_path, ["the same text"] * 6)
  equal, everyone = np.zeros(6, np.float32), np.ones(6, bool)
  kept = {
    int(np.flatnonzero(~duplicate_reasons(files, equal, everyone, "exact", seed=seed))[0])
    for seed in range(20)
  }
  assert len(kept) > 2


@pytest.mark.parametrize("kind", ["exact", "minhash"])
def test_side_files_without_fingerprints_say_how_to_get_them(tmp_path, kind):
  path = write(tmp_path / "a.parquet", ["a"])
  with pytest.raises(InputError, match=r"a\.parquet' is missing; score .* --fingerprints"):
    duplicate_reasons([path], np.zeros(1, np.float32), np.ones(1, bool), kind)


def test_fingerprints_of_another_size_are_refused(tmp_path):
  path = tmp_path / "a.parquet"
  short = pa.array([b"12345678"], pa.binary(8))
  pq.write_table(pa.table({"id": ["a"], "domain": ["d"], "minhash": short, "digest": short}), path)
  for kind in ("exact", "minhash"):
    with pytest.raises(InputError, match=r"fixed_size_binary\[8\]; score"):
      duplicate_reasons([path], np.zeros(1, np.float32), np.ones(1, bool), kind)


def test_gaps_in_the_column_are_refused(tmp_path):
  path = write(tmp_path / "a.parquet", ["a", "b"], digest=[None, digests(["x"])[0]])
  with pytest.raises(InputError, match="1 documents have no fingerprint"):
    duplicate_reasons([path], np.zeros(2, np.float32), np.ones(2, bool), "exact")


@pytest.mark.parametrize("similarity", [0.0, 1.1, float("nan")])
def test_similarity_outside_its_range_is_refused(similarity):
  with pytest.raises(InputError, match="similarity is"):
    duplicate_reasons([], np.zeros(0, np.float32), np.zeros(0, bool), "minhash", similarity)


def test_no_files_no_copies():
  none = np.zeros(0, np.float32)
  for kind in ("exact", "minhash"):
    assert len(duplicate_reasons([], none, np.zeros(0, bool), kind)) == 0


def test_a_part_of_a_column_is_read_where_it_lies():
  column = pa.array([bytes([i] * 8) for i in range(5)], pa.binary(8)).slice(2, 2)
  got = duplicates._as_numbers(column, np.uint8, 8)
  assert got.tolist() == [[2] * 8, [3] * 8]
