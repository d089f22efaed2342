"""The steps in real datatrove pipelines, run by its local executor: ratings as `score` gives."""

import gzip
import json
import pickle
import subprocess
import sys

import multiprocess
import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("datatrove")
from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

from benchmarks.faults import write_tiny_rater
from datarater.corpus_config import RatingConfig
from datarater.curation.engines import datatrove as steps
from datarater.curation.engines.datatrove import RatingFilter, RatingTagger
from datarater.curation.rules import Pointwise, Threshold, TopFraction
from datarater.curation.score import score
from datarater.data import blocks
from datarater.errors import InputError
from datarater.runtime.quantiles import RatingsCdf
from datarater.scorers.rater import load_rater

FILES, DOCUMENTS = 3, blocks.BLOCK_DOCUMENTS + 152
"""More than one block in the first file."""


@pytest.fixture(autouse=True, scope="module")
def _no_forks():
  """The executor makes a manager process, by default a fork: of this process, where JAX runs."""
  before = multiprocess.get_start_method()
  multiprocess.set_start_method("spawn", force=True)
  yield
  multiprocess.set_start_method(before, force=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """(folder of the corpus, rater's folder, side-file rows by id); some cannot be rated."""
  folder = tmp_path_factory.mktemp("datatrove")
  write_tiny_rater(folder / "rater")
  (folder / "corpus").mkdir()
  rng = np.random.default_rng(0)
  for name in range(FILES):
    rows = [
      {"id": f"{name}-{i}", "text": "word " * int(rng.integers(1, 30)) + str(rng.integers(1 << 30))}
      for i in range(DOCUMENTS if name == 0 else 50 * name)
    ]
    rows[7]["text"] = "  "
    rows[9]["text"] = "a NUL \0"
    content = b"\n".join(json.dumps(row).encode() for row in rows)
    (folder / "corpus" / f"{name}.jsonl.gz").write_bytes(gzip.compress(content))
  score(
    load_rater(folder / "rater"),
    str(folder / "corpus" / "*.gz"),
    folder / "ratings",
    quiet=True,
  )
  tables = [pq.read_table(path) for path in (folder / "ratings" / "ratings").rglob("*.parquet")]
  rows = [row for table in tables for row in table.to_pylist()]
  return folder / "corpus", folder / "rater", {row["id"]: row for row in rows}


def run(corpus, output, step, **settings):
  """What the pipeline wrote, by id, and its statistics."""
  pipeline = [JsonlReader(str(corpus)), step, JsonlWriter(str(output), compression=None)]
  executor = LocalPipelineExecutor(pipeline, logging_dir=f"{output}_logs", **settings)
  stats = executor.run()
  return written(output), stats.stats[1]


def written(folder):
  rows = [json.loads(line) for path in folder.iterdir() for line in path.open()]
  by_id = {row["id"]: row["metadata"] for row in rows}
  assert len(by_id) == len(rows)
  return by_id


@pytest.mark.parametrize("settings", [{"tasks": 1}, {"tasks": 2, "workers": 2}])
def test_the_tagger_gives_the_very_bits_of_the_side_files(corpus, tmp_path, settings):
  folder, rater, rated = corpus
  found, stats = run(folder, tmp_path / "out", RatingTagger(rater), **settings)
  assert len(found) == len(rated) + 2 * FILES
  for name, row in rated.items():
    assert np.float32(found[name]["rating"]) == np.float32(row["rating"]), name
    assert found[name]["rating_tokens"] == row["tokens"]
  assert all(found[name]["rating"] is None for name in found.keys() - rated.keys())
  assert stats["rated"].total == len(rated)
  assert stats["not_rated"].total == 2 * FILES


def test_blocks_end_where_those_of_score_do(monkeypatch):
  """Where they begin matters for the bits; a file ends one, what cannot be rated does not count."""
  sizes = [5, 0, 5, 5, 5, 0, 5]
  documents = [
    Document("x" * size, str(i), metadata={"file_path": "a" if i < 5 else "b"})
    for i, size in enumerate(sizes)
  ]
  monkeypatch.setattr(steps, "Filling", lambda **options: blocks.Filling(2))
  cut = [[d.id for d, _ in block] for block in steps._blocks(documents, 1 << 20)]
  assert cut == [["0", "1", "2"], ["3", "4"], ["5", "6"]]


def test_a_long_document_is_not_rated(corpus):
  _, rater, _ = corpus
  long, short = Document("x" * 2000, "a"), Document("x", "b")
  tagged = list(RatingTagger(rater, max_document_mib=1000 / (1 << 20)).run([long, short]))
  assert [document.metadata["rating"] is None for document in tagged] == [True, False]
  step = RatingFilter(rater, Threshold(-1e9), max_document_mib=1000 / (1 << 20))
  assert step.filter(long) == (False, "record too long")
  assert step.filter(short) == (True, "")


@pytest.mark.parametrize("settings", [{"tasks": 1}, {"tasks": 3, "workers": 2}])
def test_the_filter_keeps_what_reaches_the_threshold(corpus, tmp_path, settings):
  folder, rater, rated = corpus
  minimum = float(np.median([row["rating"] for row in rated.values()]))
  step = RatingFilter(
    rater,
    Threshold(minimum),
    exclusion_writer=JsonlWriter(str(tmp_path / "no"), compression=None),
  )
  kept, stats = run(folder, tmp_path / "yes", step, **settings)
  expected = {name for name, row in rated.items() if row["rating"] >= np.float32(minimum)}
  assert kept.keys() == expected
  rejected = written(tmp_path / "no")
  assert len(kept) + len(rejected) == len(rated) + 2 * FILES
  assert not kept.keys() & rejected.keys()
  reasons = {name: row["filter_reason"] for name, row in rejected.items()}
  assert (reasons["0-7"], reasons["0-9"]) == ("empty text", "NUL in text")
  assert sorted(set(reasons.values())) == ["NUL in text", "below the threshold", "empty text"]
  assert stats["forwarded"].total == len(kept)
  assert stats["dropped_below the threshold"].total == len(rated) - len(kept)


def test_the_pointwise_rule_takes_the_cdf_of_the_rater(corpus, tmp_path):
  """Which documents are kept is a function of ratings, ids and seed, not of tasks and order."""
  folder, rater, rated = corpus
  values = np.array([row["rating"] for row in rated.values()], np.float32)
  cdf = RatingsCdf.of(values)
  rater = replaced_cdf(rater, tmp_path / "rater", cdf)
  kept, _ = run(folder, tmp_path / "yes", RatingFilter(rater, Pointwise(0.5, 8, seed=3)), tasks=2)
  rule = Pointwise(0.5, 8, 3, np.asarray(cdf.quantiles))
  mask = rule.keep(steps.Candidates.of(values, list(rated)))
  assert kept.keys() == {name for name, keep in zip(rated, mask, strict=True) if keep}
  assert 0.4 < len(kept) / len(rated) < 0.6


def replaced_cdf(rater, copy, cdf):
  from datarater.runtime.artifact import read_rater, write_rater

  files, tokenizer = read_rater(rater), load_rater(rater).tokenizer
  write_rater(copy, files.config, files.eta, cdf, "card", tokenizer.save)
  return copy


def test_a_rule_that_compares_documents_is_refused(corpus):
  with pytest.raises(InputError, match=r"TopFraction, which compares documents.*give Threshold"):
    RatingFilter(corpus[1], TopFraction(0.5))  # type: ignore[arg-type]


def test_a_missing_rater_is_refused_before_anything_starts(tmp_path):
  with pytest.raises(InputError, match=r"rater '.*/none' is not a folder"):
    RatingTagger(tmp_path / "none")


def test_steps_pickle_small_even_after_they_have_run(corpus):
  """As Slurm's executor sends them; the rater itself stays behind."""
  step = RatingTagger(corpus[1], RatingConfig(batch_tokens=1024))
  documents = list(step.run([Document("some text", "a")]))
  assert documents[0].metadata["rating"] is not None
  pickled = pickle.dumps(step)
  assert len(pickled) < 5000
  (again,) = pickle.loads(pickled).run([Document("some text", "a")])
  assert again.metadata == documents[0].metadata


def test_a_rater_is_loaded_once_in_a_process(corpus, monkeypatch):
  steps._load.cache_clear()
  calls = []
  monkeypatch.setattr(
    "datarater.scorers.rater.load_rater", lambda *a: (calls.append(a), load_rater(*a))[1]
  )
  for _ in range(3):
    list(pickle.loads(pickle.dumps(RatingTagger(corpus[1]))).run([Document("text", "a")]))
  assert len(calls) == 1


def test_missing_datatrove_names_the_extra():
  code = "import sys; sys.modules['datatrove'] = None; import datarater.curation.engines.datatrove"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert "InputError" in done.stderr
  assert "pip install 'datarater[datatrove]'" in done.stderr
