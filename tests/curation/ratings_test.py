"""Side files: what they hold, that they are whole or absent, and ids across shards."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import Length

from datarater.curation import ratings as side
from datarater.curation.score import score
from datarater.errors import InputError
from datarater.scorers.base import describe, rate
from datarater.scorers.random import RandomScorer, uniform_hash


def corpus(tmp_path, **shards):
  folder = tmp_path / "corpus"
  for name, records in shards.items():
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
  return str(folder / "**/*.jsonl")


def test_side_files_have_the_promised_columns(tmp_path):
  inputs = corpus(
    tmp_path,
    a=[{"text": "one two", "id": "x", "domain": "d"}, {"text": 5}, {"text": "nan", "id": "y"}],
    b=[{"text": "longer text here"}],
  )
  score(Length(), inputs, tmp_path / "r", quiet=True)
  table = pq.read_table(tmp_path / "r" / "ratings" / "a.jsonl.parquet")
  assert table.schema.equals(side.SCHEMA)
  first, second = table.to_pylist()
  assert first == {
    "id": "x",
    "shard": "a.jsonl",
    "row": 0,
    "rating": 7.0,
    "tokens": 2,
    "domain": "d",
    "flags": [],
  }
  assert np.isnan(second["rating"])
  assert (second["row"], second["flags"]) == (2, ["rating_not_a_number"])
  aside = (tmp_path / "r" / "rejected" / "a.jsonl.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in aside] == [
    {"row": 1, "reason": "text is not a string", "detail": "", "raw": '{"text": 5}'}
  ]
  assert not (tmp_path / "r" / "rejected" / "b.jsonl.jsonl").exists()
  stats = json.loads((tmp_path / "r" / "stats.json").read_text())
  assert (stats["records"], stats["documents"], stats["tokens"]) == (4, 3, 6)
  assert stats["rejected"] == {"text is not a string": 1}
  assert stats["domains"]["d"] == {"documents": 1, "bytes": 7}


def all_ids(folder):
  paths = [side.side_path(folder, name) for name in side.scored_shards(folder)]
  return [name for path in paths for name in side.read_side_file(path)[0]["id"].to_pylist()]


def test_ids_are_unique_across_shards_and_numbering_again_changes_nothing(tmp_path):
  same = [{"text": "same"}, {"text": "x", "id": "i"}, {"text": "other"}, {"text": "y", "id": "i~1"}]
  inputs = corpus(tmp_path, a=same, b=same, c=same, d=[{"text": "alone"}])
  score(Length(), inputs, tmp_path / "r", quiet=True)
  ids = all_ids(tmp_path / "r")
  assert len(set(ids)) == 13
  assert [name.rsplit("-", 1)[1] for name in ids[0::4]][:3] == ["0", "1", "2"]
  assert ids[1::4][:3] == ["i", "i~2", "i~3"]  # `i~1` is another document's own
  assert ids[3::4][:3] == ["i~1", "i~1~1", "i~1~2"]
  before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*.parquet")}
  side.make_ids_unique(tmp_path / "r", ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"])
  assert all(path.read_bytes() == content for path, content in before.items())
  # A kill between two rewrites: some shards renumbered, others not yet.
  score(Length(), inputs, tmp_path / "again", quiet=True)
  name = "c.jsonl"
  local = tmp_path / "local"
  score(Length(), str(tmp_path / "corpus" / name), local, quiet=True)
  side.side_path(tmp_path / "again", name).write_bytes(side.side_path(local, name).read_bytes())
  side.make_ids_unique(tmp_path / "again", ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"])
  assert all_ids(tmp_path / "again") == ids


def test_a_folder_named_like_a_partition_is_no_column(tmp_path):
  path = tmp_path / "corpus" / "lang=en" / "a.jsonl"
  path.parent.mkdir(parents=True)
  path.write_text('{"text": "a"}\n')
  (tmp_path / "corpus" / "b.jsonl").write_text('{"text": "b"}\n')
  score(Length(), str(tmp_path / "corpus/**/*.jsonl"), tmp_path / "r", quiet=True)
  table = side.read_side_file(side.side_path(tmp_path / "r", "lang=en/a.jsonl"))[0]
  assert table.schema.names == side.SCHEMA.names


def test_folders_that_hold_no_finished_ratings_are_refused(tmp_path):
  inputs = corpus(tmp_path, a=[{"text": "a"}])
  with pytest.raises(InputError, match="does not exist; score the corpus first"):
    side.read_run(tmp_path / "none")
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match="cannot be read: No such file"):
    side.read_run(tmp_path / "empty")
  score(Length(), inputs, tmp_path / "r", quiet=True)
  run = json.loads((tmp_path / "r" / "run.json").read_text())
  for change, message in (
    ({"kind": "selection"}, "holds 'selection', no ratings"),
    ({"schema_version": 99}, "have schema version 99, 2 is read here; install"),
  ):
    (tmp_path / "r" / "run.json").write_text(json.dumps(run | change))
    with pytest.raises(InputError, match=message):
      side.read_run(tmp_path / "r")
  (tmp_path / "r" / "run.json").write_text(json.dumps(run))
  side.side_path(tmp_path / "r", "a.jsonl").write_bytes(b"half")
  with pytest.raises(InputError, match="delete it and run the command that wrote it"):
    side.read_side_file(side.side_path(tmp_path / "r", "a.jsonl"))
  (tmp_path / "r" / "stats.json").unlink()
  with pytest.raises(InputError, match="are not complete; finish them"):
    side.read_run(tmp_path / "r")


def test_the_control_is_uniform_and_a_function_of_the_id():
  ids = [f"id {i}" for i in range(4000)]
  ratings = RandomScorer(3).score_documents(ids, [""] * 4000)
  assert ratings.dtype == np.float32
  assert np.abs(np.sort(ratings) - np.linspace(0, 1, 4000)).max() < 0.03
  np.testing.assert_array_equal(RandomScorer(3).score_documents(ids[::-1], ids), ratings[::-1])
  assert abs(np.corrcoef(ratings, RandomScorer(4).score(ids))[0, 1]) < 0.06
  other = uniform_hash(ids, 3, "another purpose")
  assert abs(np.corrcoef(ratings, other)[0, 1]) < 0.06
  assert uniform_hash([], 0).shape == (0,)


def test_a_scorer_is_known_by_name_and_must_rate_every_text():
  class Bare:
    def score(self, texts):
      return [0.0] * (len(texts) - 1)

  assert describe(Bare()) == {"name": "Bare", "fingerprint": ""}
  assert describe(RandomScorer(5)) == {"name": "random", "fingerprint": "seed 5"}
  with pytest.raises(ValueError, match=r"returned ratings of shape \(1,\) for 2 texts"):
    rate(Bare(), ["a", "b"], ["a", "b"])
