"""A tokenizer learned from a dataset: its merges, what it read, the same bytes, and refusals."""

import builtins
import json
import os
import subprocess
import sys

import pytest

from datarater import cli
from datarater.data.builders.text import prepare_dataset
from datarater.data.builders.tokenizer import train_tokenizer
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import SPLITS, TokenizerConfig
from datarater.errors import InputError

TEXTS = {
  "inner": "abab abab cdcd é漢\n",
  **{split: "qxqx qxqx zwzw\n" for split in SPLITS if split != "inner"},
}
"""Only `inner` has the pairs ab and cd; only the others qx and zw."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
  """Twenty documents a split; every other one of domain `digits`, with pairs of its own."""
  folder = tmp_path_factory.mktemp("datasets") / "letters"

  def documents(split: str):
    for i in range(20):
      text = "0101 0101\n" if i % 2 else TEXTS[split]
      domain = "digits" if i % 2 else "letters"
      yield {"text": text, "id": f"{split}/{i}", "domain": domain, "source": "s"}

  splits = {split: lambda split=split: documents(split) for split in SPLITS}
  prepare_dataset(splits, folder, "letters")
  return str(folder)


def vocabulary(file) -> set[str]:
  return set(json.loads(file.read_text())["model"]["vocab"])


def test_most_frequent_pair_is_merged_first(dataset, tmp_path):
  about = train_tokenizer(dataset, tmp_path, vocab_size=258, domains=("digits",), progress=False)
  tokens = vocabulary(tmp_path / "tokenizer.json")
  assert len(tokens) == 257
  assert {t for t in tokens if len(t) > 1} == {"01"}
  # "0101 0101\n" is 10 bytes and, with 01 merged, 01 01 _ 01 01 \n.
  assert about["bytes_per_token"] == pytest.approx(10 / 6)
  assert about["bytes_per_token_by_domain"] == {"digits": pytest.approx(10 / 6)}
  assert (about["documents"], about["bytes"], about["sampled"]) == (10, 100, 10)


def test_config_reads_it_and_text_comes_back(dataset, tmp_path):
  about = train_tokenizer(dataset, tmp_path, vocab_size=300, progress=False)
  tokenizer = load_tokenizer(TokenizerConfig("huggingface", str(tmp_path / "tokenizer.json")))
  assert tokenizer.vocab_size == about["vocab_size"] < 300, "few pairs occur twice"
  for text in (TEXTS["inner"], "new text, naïve 漢字 🙂\n\t  end"):
    assert tokenizer.decode(tokenizer.encode(text)) == text
  assert len(tokenizer.encode("abab")) == 1


def test_vocabulary_is_as_large_as_asked_with_the_separator(dataset, tmp_path):
  assert train_tokenizer(dataset, tmp_path, vocab_size=260, progress=False)["vocab_size"] == 260


def test_reads_inner_alone(dataset, tmp_path):
  train_tokenizer(dataset, tmp_path, vocab_size=400, progress=False)
  tokens = vocabulary(tmp_path / "tokenizer.json")
  assert "abab" in tokens
  assert not {"qx", "zw"} & tokens


def test_same_bytes_in_another_process_and_none_written_again(dataset, tmp_path, capsys):
  files = [tmp_path / name / "bpe.json" for name in ("a", "b")]
  command = ["data", "tokenizer", "--dataset", dataset, "--vocab-size", "280", "--quiet"]
  assert cli.main([*command, "--out", str(files[0])]) == cli.DONE
  first = json.loads(capsys.readouterr().out)
  code = f"import sys; from datarater import cli; sys.exit(cli.main({[*command, '--out']!r}"
  environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
  subprocess.run(
    [sys.executable, "-c", f"{code} + [{str(files[1])!r}]))"],
    check=True,
    env=environment,
    capture_output=True,
  )
  assert files[0].read_bytes() == files[1].read_bytes()
  assert sorted(p.name for p in files[0].parent.iterdir()) == ["bpe.about.json", "bpe.json"]
  before = files[0].stat().st_mtime_ns
  assert cli.main([*command, "--out", str(files[0])]) == cli.DONE
  assert json.loads(capsys.readouterr().out) == first
  assert files[0].stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    (["--split", "nowhere"], ["split", "nowhere", "inner"]),
    (["--split", "inner[:0]"], ["inner[:0]", "empty"]),
    (["--vocab-size", "257"], ["vocab_size", "257", "258"]),
    (["--domains", "poetry"], ["poetry", "digits", "letters"]),
    (["--dataset", "no/such/folder"], ["no/such/folder"]),
  ],
)
def test_bad_input_is_one_line_and_leaves_nothing(dataset, changes, named, tmp_path, capsys):
  out = tmp_path / "out"
  command = ["data", "tokenizer", "--out", str(out), "--dataset", dataset, *changes]
  assert cli.main(command) == cli.BAD_INPUT
  err = capsys.readouterr().err.strip()
  assert err.startswith("datarater: ")
  assert len(err.splitlines()) == 1, err
  for word in named:
    assert word in err
  assert not out.exists()


def test_what_is_there_and_made_otherwise_is_refused(dataset, tmp_path):
  file = tmp_path / "tokenizer.json"

  def again(**changes):
    return train_tokenizer(dataset, tmp_path, **{"vocab_size": 270, "progress": False, **changes})

  file.write_text("{}")
  with pytest.raises(InputError, match="not of this command"):
    again()
  file.unlink()
  again()
  with pytest.raises(InputError, match="asked_vocab_size: 270 -> 271"):
    again(vocab_size=271)
  with pytest.raises(InputError, match="split"):
    again(split="lm")
  file.write_text(file.read_text() + " ")
  with pytest.raises(InputError, match="content"):
    again()
  with pytest.raises(InputError, match="is a file"):
    train_tokenizer(dataset, _a_file(tmp_path), progress=False)


def _a_file(folder):
  path = folder / "taken"
  path.write_text("")
  return path


def test_killed_between_its_two_files_it_starts_again(dataset, tmp_path):
  about = train_tokenizer(dataset, tmp_path, vocab_size=270, progress=False)
  (tmp_path / "tokenizer.json").unlink()
  assert train_tokenizer(dataset, tmp_path, vocab_size=270, progress=False) == about
  assert (tmp_path / "tokenizer.json").is_file()


def test_missing_package_names_the_extra(dataset, tmp_path, monkeypatch):
  importing = builtins.__import__

  def without(name, *args, **kwargs):
    if name == "tokenizers":
      raise ImportError(name)
    return importing(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(InputError, match=r"pip install 'datarater\[tokenizers\]'"):
    train_tokenizer(dataset, tmp_path, progress=False)
