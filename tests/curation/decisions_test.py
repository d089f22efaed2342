"""Decisions: one row a document, whole or absent."""

import errno

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from side_files import write_ratings

from datarater.curation.decisions import SCHEMA, DecisionWriter, decision_path
from datarater.curation.ratings import side_path
from datarater.errors import InputError

RATINGS = [1.0, np.nan, -2.0, 0.5, 4.0, 5.0, 6.0]


@pytest.fixture
def side_file(tmp_path):
  write_ratings(tmp_path / "r", {"x/a": [{"rating": rating} for rating in RATINGS]}, group_rows=3)
  return side_path(tmp_path / "r", "x/a")


def test_every_document_has_its_row_and_reason(tmp_path, side_file):
  codes = np.array([0, 1, 2, 0, 2, 0, 0], np.int16)
  seen = []

  def decide(table, rows):
    seen.append((table.schema.names, rows))
    return codes[rows]

  writer = DecisionWriter(tmp_path, ("", "no number", "bad"), "rating", ("tokens",))
  writer.write("x/a", side_file, decide)
  table = pq.read_table(decision_path(tmp_path, "x/a"))
  assert table.schema.equals(SCHEMA)
  assert table["id"].to_pylist() == [f"x/a {i}" for i in range(7)]
  assert table["shard"].to_pylist() == ["x/a"] * 7
  assert table["row"].to_pylist() == list(range(7))
  np.testing.assert_array_equal(table["rating"].to_numpy(), np.array(RATINGS, np.float32))
  assert table["kept"].to_pylist() == (codes == 0).tolist()
  reasons = ["", "no number", "bad", "", "bad", "", ""]
  assert table["reason"].to_pylist() == reasons
  assert all(names == ["id", "row", "rating", "tokens"] for names, _ in seen)
  assert [i for _, rows in seen for i in range(rows.start, rows.stop)] == list(range(7))


def test_other_ratings_are_written_where_they_were_judged(tmp_path, side_file):
  DecisionWriter(tmp_path, ("",), "rating_other").write(
    "x/a", side_file, lambda table, rows: np.zeros(len(table), np.int16)
  )
  table = pq.read_table(decision_path(tmp_path, "x/a"))
  np.testing.assert_array_equal(table["rating"].to_numpy(), -np.array(RATINGS, np.float32))


def test_half_a_file_never_appears(tmp_path, side_file, monkeypatch):
  writer = DecisionWriter(tmp_path, ("",), "rating")

  def fail(table, rows):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    writer.write("x/a", side_file, fail)
  full = OSError(errno.ENOSPC, "No space left on device")
  monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda *_: (_ for _ in ()).throw(full))
  with pytest.raises(InputError, match="No space left on device; free space"):
    writer.write("x/a", side_file, lambda table, rows: np.zeros(len(table), np.int16))
  assert not [path for path in (tmp_path / "decisions").rglob("*") if path.is_file()]


def test_the_same_decisions_are_the_same_bytes(tmp_path, side_file):
  for folder in ("one", "two"):
    DecisionWriter(tmp_path / folder, ("", "bad"), "rating").write(
      "x/a", side_file, lambda table, rows: np.arange(len(table)).astype(np.int16) % 2
    )
  one, two = (decision_path(tmp_path / name, "x/a").read_bytes() for name in ("one", "two"))
  assert one == two
  assert isinstance(pq.read_table(decision_path(tmp_path / "one", "x/a")), pa.Table)
