"""Each recipe of docs/recipes.md runs as it is written, on a small selection."""

import json
import re
from pathlib import Path

import pytest
import zstandard

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
NUMBER = 20


def blocks():
  """(title, code) of each Python block."""
  sections = re.split(r"^## ", RECIPES.read_text(), flags=re.MULTILINE)[1:]
  return [
    (section.split("\n", 1)[0], code)
    for section in sections
    for code in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
  ]


@pytest.fixture
def curated(tmp_path, monkeypatch):
  """`curated` in the working directory, as `select` leaves it."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("DATARATER_CACHE", str(tmp_path / "cache"))
  monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
  monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
  rows = [{"text": f"text {i}", "id": f"i{i}", "domain": "d", "n": i} for i in range(NUMBER)]
  for name, part in (("a", rows[:12]), ("deep/b", rows[12:])):
    path = tmp_path / "curated" / "kept" / f"{name}.jsonl.zst"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(json.dumps(row).encode() + b"\n" for row in part)
    path.write_bytes(zstandard.compress(content))
  (tmp_path / "curated" / "run.json").write_text('{"kind": "selection"}')
  (tmp_path / "curated" / "stats.json").write_text("{}")
  return {row["text"] for row in rows}


def run(title):
  """The names that a recipe leaves."""
  names = {}
  exec(dict(blocks())[title], names)
  return names


def test_every_recipe_has_a_test_here():
  assert [title for title, _ in blocks()] == [
    "DataRater",
    "Grain",
    "PyTorch",
    "Hugging Face `datasets`",
    "A plain stream",
  ]


def test_datarater(curated, capsys):
  documents = run("DataRater")["documents"]
  assert len(documents) == 18
  assert {documents[i].text for i in range(18)} < curated
  assert capsys.readouterr().out.startswith("18 d text ")


def test_grain(curated):
  names = run("Grain")
  assert len(set(names["batch"])) == 8
  assert set(names["batch"]) < curated
  assert set(names["loader"]) == curated


def test_pytorch(curated):
  pytest.importorskip("torch")
  names = run("PyTorch")
  assert len(set(names["texts"])) == 8
  assert {d["text"].decode() for batch in names["loader"] for d in batch} == curated


def test_hugging_face(curated):
  pytest.importorskip("datasets")
  names = run("Hugging Face `datasets`")
  assert len(names["texts"]) == 8
  assert {row["text"] for row in names["documents"]} == curated
  assert {row["n"] for row in names["documents"]} == set(range(NUMBER))


def test_a_plain_stream(curated, capsys):
  run("A plain stream")
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "i0 d 6 ['domain', 'id', 'n', 'text']"
  assert len(lines) == len(curated)
