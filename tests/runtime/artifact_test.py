"""A rater's folder comes back as it was written, or is refused in one clear line."""

import json
import os
import shutil

import numpy as np
import pytest
from problems import MODEL, assert_same_tree

from datarater.data_config import TokenizerConfig
from datarater.errors import InputError
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf

ETA = {
  "head": {"kernel": np.arange(3, dtype=np.float32)[:, None] / 7},
  "transformer": {"a": np.ones((2, 3), np.float32), "b": {"scale": np.float32([1e-30, -0.0])}},
}
CDF = RatingsCdf.of(np.arange(50) / 3)
CONFIG = artifact.RaterConfig(
  model=MODEL,
  tokenizer=TokenizerConfig("sentencepiece", "tokenizer.model"),
  tokenizer_fingerprint="f",
  vocab_size=99,
  datapoint="document",
  length=12,
  steps=7,
  seed=3,
)


def write(folder, eta=ETA):
  def save_tokenizer(partial):
    (partial / "tokenizer.model").write_bytes(b"tokens")

  artifact.write_rater(folder, CONFIG, eta, CDF, "# card\n", save_tokenizer)


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "rater")
  return tmp_path / "rater"


def test_round_trip(folder):
  files = artifact.read_rater(folder)
  assert files.config == CONFIG
  assert files.cdf == CDF
  assert_same_tree(files.eta, ETA)
  names = ["card.md", "config.json", "model.safetensors", "ratings_cdf.json", "tokenizer.model"]
  assert sorted(os.listdir(folder)) == names
  assert (folder / "card.md").read_text() == "# card\n"


def test_the_same_rater_is_the_same_bytes(folder, tmp_path):
  write(tmp_path / "again")
  for name in os.listdir(folder):
    assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_fingerprint_is_that_of_the_parameters(folder, tmp_path):
  write(tmp_path / "again")
  write(tmp_path / "other", ETA | {"head": {"kernel": ETA["head"]["kernel"] + 1}})
  prints = [
    artifact.read_rater(path).fingerprint
    for path in (folder, tmp_path / "again", tmp_path / "other")
  ]
  assert prints[0] == prints[1] != prints[2]


def test_it_holds_nothing_that_runs_code(folder):
  for path in folder.iterdir():
    assert path.suffix in {".json", ".safetensors", ".md", ".model"}
    assert b"pickle" not in path.read_bytes()


def test_a_failure_while_writing_leaves_the_earlier_rater(folder):
  def fail(partial):
    raise RuntimeError

  with pytest.raises(RuntimeError):
    artifact.write_rater(folder, CONFIG, ETA, CDF, "new", fail)
  assert artifact.read_rater(folder).config == CONFIG
  assert os.listdir(folder.parent) == ["rater"]


def change_config(folder, **changes):
  values = json.loads((folder / "config.json").read_text())
  values.update(changes)
  (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v != "drop"}))


def truncate(path, share=0.5):
  content = path.read_bytes()
  path.write_bytes(content[: int(len(content) * share)])


def flip(path):
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


BROKEN = {
  "absent": (shutil.rmtree, "is not a folder; give the rater/ folder"),
  "empty": (
    lambda f: [p.unlink() for p in f.iterdir()],
    r"has no config\.json: it is half written or not a rater",
  ),
  "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json: it is half written"),
  "no parameters": (
    lambda f: (f / "model.safetensors").unlink(),
    r"lacks model\.safetensors: it is half written; copy it again",
  ),
  "no CDF": (lambda f: (f / "ratings_cdf.json").unlink(), r"lacks ratings_cdf\.json"),
  "no tokenizer": (lambda f: (f / "tokenizer.model").unlink(), r"lacks tokenizer\.model"),
  "no card": (lambda f: (f / "card.md").unlink(), r"lacks card\.md"),
  "config cut off": (lambda f: truncate(f / "config.json"), r"rater config .* is not JSON"),
  "parameters cut off": (
    lambda f: truncate(f / "model.safetensors"),
    r"model\.safetensors' is damaged: its sha256 is not the one in config\.json; copy it again",
  ),
  "a bit of the parameters": (lambda f: flip(f / "model.safetensors"), "is damaged"),
  "a bit of the tokenizer": (lambda f: flip(f / "tokenizer.model"), "is damaged"),
  "newer": (
    lambda f: change_config(f, format_version=2),
    "has format version 2, newer than the 1 that this datarater reads; upgrade datarater",
  ),
  "newer with new fields": (
    lambda f: change_config(f, format_version=2, files="drop", colour="red"),
    "upgrade datarater",
  ),
  "no version": (lambda f: change_config(f, format_version="drop"), "names no format_version"),
  "version of another type": (
    lambda f: change_config(f, format_version="new"),
    "names no format_version",
  ),
  "no files named": (lambda f: change_config(f, files="drop"), "is damaged|half written"),
  "files of another type": (lambda f: change_config(f, files=[]), "lists no files .* is damaged"),
  "unknown field": (lambda f: change_config(f, colour="red"), "colour.*copy it again"),
  "missing field": (lambda f: change_config(f, length="drop"), r"length.*copy it again"),
  "no JSON object": (lambda f: (f / "config.json").write_text("[]"), "names no format_version"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_refused_in_one_line(folder, how):
  damage, message = BROKEN[how]
  damage(folder)
  with pytest.raises(InputError, match=message) as caught:
    artifact.read_rater(folder)
  assert "\n" not in str(caught.value)
  assert "rater" in str(caught.value)


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / "rater").write_text("x")
  with pytest.raises(InputError, match="is not a folder"):
    artifact.read_rater(tmp_path / "rater")
