"""What select kept is trained on as it is, or from the cache; a stream of it needs no memory."""

import concurrent.futures
import glob
import json
import multiprocessing
import shutil

import pytest
import zstandard

from datarater.data.curated import find_selection, read_documents
from datarater.data.datasets import cache_folder, open_dataset
from datarater.data.formats import (
  find_shards,
  finish_folder,
  open_writer,
  output_kind,
  read_records,
  shard_name,
)
from datarater.data.sources import check_splits, open_source
from datarater.data_config import DataConfig
from datarater.errors import InputError

ROWS = {
  "a.jsonl": [{"text": f"a text {i}", "id": "same", "domain": "x", "n": i} for i in range(6)],
  "deep/b.jsonl": [{"text": f"b text {i}"} for i in range(5)],
  "deep/none.jsonl": [],
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("DATARATER_CACHE", str(tmp_path / "cache"))


def make_selection(folder, kind=None, rows=ROWS, **settings):
  """A folder as `select` leaves it."""
  corpus = folder.with_name(f"{folder.name}.corpus")
  for name, content in rows.items():
    path = corpus / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in content))
  shards = find_shards(f"{glob.escape(str(corpus))}/**/*.jsonl")
  kind = output_kind(shards, kind)
  keys = {"text_key": "text", "id_key": "id", "domain_key": "domain", **settings}
  for index, shard in enumerate(shards):
    name = shard_name(shard, kind, index, len(shards))
    with open_writer(folder / "kept" / name, shard.path, kind=kind) as writer:
      for record in read_records(shard.path, *keys.values()):
        writer.write(record)
  finish_folder(folder / "kept", kind, shards)
  (folder / "run.json").write_text(json.dumps({"kind": "selection", "settings": keys}))
  (folder / "stats.json").write_text(json.dumps({"kept": sum(map(len, rows.values()))}))
  return folder


TEXTS = {row["text"] for rows in ROWS.values() for row in rows}


@pytest.mark.parametrize("kind", [None, "jsonl.gz", "parquet", "array_record"])
def test_a_selection_in_any_format_is_trained_on(tmp_path, kind, capsys):
  folder = make_selection(tmp_path / "curated", kind)
  for name in (folder, folder / "kept"):
    config = DataConfig(dataset=str(name), inner="train[:40%]", outer="train[40%:]", lm="train")
    source = open_source(config, "lm")
    assert {source[i].text for i in range(len(source))} == TEXTS
    assert {source[i].domain for i in range(len(source))} == {"x", "b"}
    assert source.domains == ("b", "x")
    check_splits(config, ("inner", "outer"))
    with pytest.raises(InputError, match="share"):
      check_splits(config, ("inner", "lm"))
  said = capsys.readouterr().err.count("preparing the selection")
  assert said == (0 if kind == "array_record" else 1)
  assert cache_folder().exists() == (kind != "array_record")


def test_the_cache_goes_by_what_was_selected(tmp_path):
  folder = make_selection(tmp_path / "one")
  first = open_dataset(str(folder)).data_path
  shutil.copytree(folder, tmp_path / "moved")
  assert open_dataset(str(tmp_path / "moved")).data_path == first
  (tmp_path / "moved" / "stats.json").write_text('{"kept": 1}')
  assert open_dataset(str(tmp_path / "moved")).data_path != first


def test_documents_stream_with_all_their_fields(tmp_path):
  for kind in (None, "array_record"):
    folder = make_selection(tmp_path / f"curated {kind}", kind)
    documents = list(read_documents(folder))
    assert [d.text for d in documents] == [row["text"] for rows in ROWS.values() for row in rows]
    assert [d.id for d in documents][:6] == ["same"] * 6
    assert [d.domain for d in documents] == ["x"] * 6 + ["b"] * 5
    fields = documents[2].fields
    assert fields.get("n", fields.get("fields", {}).get("n")) == 2
    steps = []
    list(read_documents(folder / "kept", progress=steps.append))
    assert sum(steps) == sum(s.size for s in find_selection(folder).shards())


def test_keys_of_the_scored_corpus_are_remembered(tmp_path):
  rows = {"a.jsonl": [{"doc": {"body": f"t{i}", "site": "s"}, "key": i} for i in range(3)]}
  keys = {"text_key": "doc.body", "id_key": "key", "domain_key": "doc.site"}
  for kind in (None, "parquet", "array_record"):
    folder = make_selection(tmp_path / f"curated {kind}", kind, rows, **keys)
    found = [(d.id, d.text, d.domain) for d in read_documents(folder)]
    assert found == [(str(i), f"t{i}", "s") for i in range(3)]
    source = open_source(DataConfig(dataset=str(folder), lm="train"), "lm")
    assert sorted(source[i].text for i in range(3)) == ["t0", "t1", "t2"]


def test_what_cannot_be_served_says_why(tmp_path):
  folder = make_selection(tmp_path / "[curated]")
  assert {d.text for d in read_documents(folder)} == TEXTS
  damaged = make_selection(tmp_path / "damaged")
  (damaged / "kept" / "a.jsonl").write_bytes(b'{"text": "x"}\n{"te')
  with pytest.raises(InputError, match=r"a.jsonl' is damaged at row 1: broken JSON; select again"):
    list(read_documents(damaged))
  (folder / "stats.json").unlink()
  with pytest.raises(InputError, match=r"is not complete; finish it by the same select command"):
    open_dataset(str(folder))
  (damaged / "kept").rename(tmp_path / "kept")
  with pytest.raises(InputError, match=r"has decisions and no documents"):
    open_dataset(str(damaged))
  with pytest.raises(InputError, match=r"kept' holds no selection; name the output of `select`"):
    read_documents(tmp_path / "kept")
  with pytest.raises(InputError, match=r"kept' has no dataset_info.json"):
    open_dataset(str(tmp_path / "kept"))
  empty = make_selection(tmp_path / "empty", rows={"a.jsonl": []})
  with pytest.raises(InputError, match=r"keeps no documents; select with another rule"):
    open_dataset(str(empty))


def test_a_selection_at_a_url_is_served_from_the_cache(tmp_path):
  from datarater.runtime.places import place

  for kind in (None, "array_record"):
    folder = make_selection(tmp_path / f"c{kind}", kind)
    for path in folder.rglob("*"):
      if path.is_file():
        target = place(f"memory://served/{kind}/{path.relative_to(folder)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    source = open_source(DataConfig(dataset=f"memory://served/{kind}", lm="train"), "lm")
    assert {source[i].text for i in range(len(source))} == TEXTS


def _open(name):
  return str(open_dataset(name).data_path)


def test_two_processes_may_prepare_it_at_once(tmp_path):
  folder = make_selection(tmp_path / "curated")
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
    first, second = pool.map(_open, [str(folder)] * 2)
  assert first == second
  assert [path.name for path in cache_folder().iterdir()] == [first.rsplit("/", 1)[1]]
  assert len(open_dataset(str(folder)).as_data_source("train")) == len(TEXTS)


def test_long_documents_that_were_kept_are_read(tmp_path):
  folder = make_selection(tmp_path / "curated")
  long = json.dumps({"text": "x" * (33 << 20)}).encode()
  (folder / "kept" / "long.jsonl.zst").write_bytes(zstandard.compress(long))
  assert max(len(d.text) for d in read_documents(folder)) == 33 << 20
