"""The command line: exit codes, and one clear line for each kind of bad input."""

import dataclasses
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from datarater import cli
from datarater.config import ModelConfig
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.models.rater import init_rater
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "configs" / "tiny.py")
LM_TINY = str(ROOT / "configs" / "lm_tiny.py")
MODEL = ModelConfig(width=8, layers=1, heads=2, mlp_width=16)


@pytest.fixture
def rater(tmp_path) -> Path:
  """The folder of an untrained rater for bytes."""
  tokenizer = load_tokenizer(TokenizerConfig())
  config = artifact.RaterConfig(
    model=MODEL,
    tokenizer=TokenizerConfig(),
    tokenizer_fingerprint=tokenizer.fingerprint,
    vocab_size=tokenizer.vocab_size,
    datapoint="document",
    length=32,
    steps=0,
    seed=0,
  )
  eta = init_rater(MODEL, tokenizer.vocab_size, jax.random.key(0), 32)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (8, 1))
  folder = tmp_path / "rater"
  artifact.write_rater(folder, config, eta, RatingsCdf((0.0, 1.0), 2), "card", tokenizer.save)
  return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
  """A shard of 40 documents and two bad records."""
  path = tmp_path / "corpus" / "part.jsonl"
  path.parent.mkdir()
  lines = [json.dumps({"id": f"d{i}", "text": f"document {i} " * (i + 1)}) for i in range(40)]
  path.write_text("\n".join([*lines, '{"id": "broken', '{"id": "no text"}']) + "\n")
  return path


def refused(capsys, *arguments) -> str:
  """Runs the command line, expects exit code 2 and one line; returns it."""
  assert cli.main([str(a) for a in arguments]) == cli.BAD_INPUT
  err = capsys.readouterr().err.strip()
  assert "Traceback" not in err
  assert err.startswith("datarater: "), err
  assert len(err.splitlines()) == 1, err
  return err


@pytest.mark.parametrize(
  ("overrides", "named"),
  [
    (["--meta.unroll-length", "0"], ["unroll_length", "0", "at least 1"]),
    (["--inner.attention", "cudnn"], ["inner.attention", "cudnn", "xla"]),
    (["--rater.attention", "cudnn"], ["rater.attention", "cudnn"]),
    (["--meta.objective", "heldout"], ["meta.objective", "speeches"]),
    (["--data.target-domain", "poetry"], ["target_domain", "poetry", "speeches"]),
    (["--data.inner", "inner[:0]"], ["inner[:0]"]),
    (["--data.inner", "nowhere"], ["nowhere"]),
    (["--data.outer", "inner[:50%]"], ["inner", "outer", "share"]),
    (["--data.text-key", "body"], ["body", "text"]),
    (["--data.dataset", "/does/not/exist"], ["/does/not/exist"]),
    (["--data.tokenizer.kind", "huggingface"], ["path", "huggingface"]),
    (["--rater.width", "7"], ["width", "7"]),
  ],
)
def test_bad_settings_are_refused_before_work_starts(capsys, tmp_path, overrides, named):
  line = refused(capsys, "meta-train", TINY, "--run-dir", tmp_path / "run", *overrides)
  for word in named:
    assert word in line
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_config_files_that_cannot_be_used(capsys, tmp_path):
  assert "gone.py" in refused(capsys, "meta-train", tmp_path / "gone.py", "--run-dir", tmp_path)
  bad = tmp_path / "bad.py"
  bad.write_text(
    "from datarater.config import MetaTrainConfig\n"
    "def config():\n  return MetaTrainConfig(nmae='x')\n"
  )
  assert "nmae" in refused(capsys, "meta-train", bad, "--run-dir", tmp_path)
  bad.write_text("def config(): return 3\n")
  assert "MetaTrainConfig" in refused(capsys, "meta-train", bad, "--run-dir", tmp_path)
  bad.write_text("x = 1\n")
  assert "config()" in refused(capsys, "meta-train", bad, "--run-dir", tmp_path)
  bad.write_text("syntax error\n")
  assert "SyntaxError" in refused(capsys, "meta-train", bad, "--run-dir", tmp_path)


def test_unknown_option_exits_with_2(tmp_path):
  with pytest.raises(SystemExit) as stop:
    cli.main(["meta-train", TINY, "--run-dir", str(tmp_path), "--meta.step", "3"])
  assert stop.value.code == cli.BAD_INPUT


def test_run_folder_with_another_config(capsys, tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({"name": "other", "seed": 1}))
  line = refused(capsys, "meta-train", TINY, "--run-dir", tmp_path)
  assert "name: 'other' -> 'tiny'" in line
  (tmp_path / "config.json").write_text("{")
  assert "not JSON" in refused(capsys, "meta-train", TINY, "--run-dir", tmp_path)


def test_score_and_select(capsys, tmp_path, rater, corpus):
  ratings, output = tmp_path / "ratings", tmp_path / "curated"
  arguments = ["--input", str(corpus.parent / "*.jsonl"), "--output"]
  assert cli.main(["score", "--rater", str(rater), *arguments, str(ratings)]) == cli.DONE
  select = ["select", "--ratings", str(ratings), *arguments]
  assert cli.main([*select, str(output), "--discard-fraction", "0.5"]) == cli.DONE
  kept = (output / "kept" / "part.jsonl").read_text().splitlines()
  rejected = (output / "rejected" / "part.jsonl").read_text().splitlines()
  assert len(kept) == 20
  assert len(rejected) == 22
  assert set(kept) < set(corpus.read_text().splitlines())
  pointwise = ["--pointwise", "--discard-fraction", "0.5", "--batch-size", "8"]
  assert cli.main([*select, str(tmp_path / "drawn"), *pointwise]) == cli.DONE
  cdf = ["--rater-cdf", str(rater)]
  assert cli.main([*select, str(tmp_path / "drawn2"), *pointwise, *cdf]) == cli.DONE
  assert cli.main([*select, str(tmp_path / "high"), "--threshold", "1e9"]) == cli.DONE
  assert (tmp_path / "high" / "kept" / "part.jsonl").read_text() == ""
  capsys.readouterr()
  assert "threshold" in refused(capsys, *select, tmp_path / "none")
  assert "pointwise" in refused(
    capsys, *select, tmp_path / "n", "--discard-fraction", 0.5, "--batch-size", 4
  )
  assert "discard fraction is 1.5" in refused(
    capsys, *select, tmp_path / "n", "--discard-fraction", 1.5
  )
  assert "begun otherwise" in refused(capsys, *select, output, "--discard-fraction", 0.4)


def test_scoring_input_that_cannot_be_used(capsys, tmp_path, rater, corpus):
  score = ["score", "--rater", rater, "--output", tmp_path / "out", "--input"]
  assert "nothing.jsonl" in refused(capsys, *score, tmp_path / "nothing.jsonl")
  other = tmp_path / "notes.docx"
  other.write_text("x")
  assert ".docx" in refused(capsys, *score, other)
  assert "body" in refused(capsys, *score, corpus, "--text-key", "body")
  pattern = corpus.parent / "*.jsonl"
  inside = ["score", "--rater", rater, "--input", pattern, "--output", corpus.parent / "out"]
  assert "input" in refused(capsys, *inside)


def test_broken_gzip_and_invalid_utf8_are_set_aside(capsys, tmp_path, rater):
  folder = tmp_path / "in"
  folder.mkdir()
  whole = gzip.compress(b'{"text": "one"}\n' * 500, mtime=0)
  (folder / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
  (folder / "b.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "\xff"}\n{"text": ""}\n')
  out = tmp_path / "out"
  score = ["score", "--rater", rater, "--input", folder / "*", "--output", out, "--quiet"]
  assert cli.main([str(a) for a in score]) == cli.DONE
  stats = json.loads((out / "stats.json").read_text())
  assert sum(stats["rejected"].values()) == 3
  assert stats["records"] == stats["documents"] + 3


def test_rater_folders_that_cannot_be_used(capsys, tmp_path, rater, corpus):
  def line():
    output = tmp_path / "out"
    return refused(capsys, "score", "--rater", rater, "--input", corpus, "--output", output)

  config = json.loads((rater / "config.json").read_text())
  (rater / "config.json").write_text(json.dumps(config | {"format_version": 99}))
  assert "99" in line()
  (rater / "config.json").write_text(json.dumps(config))
  model = (rater / "model.safetensors").read_bytes()
  (rater / "model.safetensors").write_bytes(model[:-8])
  assert "damaged" in line()
  (rater / "model.safetensors").unlink()
  assert "model.safetensors" in line()
  (rater / "config.json").unlink()
  assert "half written" in line()


def test_vocabulary_of_rater_and_data_must_match(capsys, tmp_path, rater):
  tokenizers = pytest.importorskip("tokenizers")
  tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  line = refused(
    capsys, "train", LM_TINY, "--run-dir", tmp_path / "run",
    "--selection.kind", "rater", "--selection.mode", "online", "--selection.rater", rater,
    "--data.tokenizer.kind", "huggingface", "--data.tokenizer.path", tmp_path / "tokenizer.json",
  )  # fmt: skip
  assert "tokenizer" in line
  assert "257" in line


def test_train_online_and_evaluate(capsys, tmp_path, rater):
  small = [
    "--quiet", "--steps", "4", "--batch", "4", "--evaluations", "2", "--evaluation-rows", "2",
    "--model.width", "8", "--model.layers", "1", "--model.heads", "2", "--data.test", "test[:4%]",
    "--data.length", "32",
  ]  # fmt: skip
  selection = ["--selection.kind", "rater", "--selection.rater", str(rater)]
  arms = {"plain": [], "offline": selection, "online": [*selection, "--selection.mode", "online"]}
  for name, options in arms.items():
    folder = str(tmp_path / name)
    assert cli.main(["train", LM_TINY, "--run-dir", folder, *small, *options]) == cli.DONE
  results = {n: json.loads((tmp_path / n / "result.json").read_text()) for n in arms}
  assert results["plain"]["rating_flops"] == 0
  assert results["online"]["rating_flops"] > 0
  assert results["offline"]["flops"] > results["offline"]["training_flops"]
  output = tmp_path / "comparison.json"
  evaluate = ["evaluate", "--arm", tmp_path / "online", "--baseline", tmp_path / "plain"]
  assert cli.main([str(a) for a in [*evaluate, "--output", output]]) == cli.DONE
  assert set(json.loads(output.read_text())) == {
    "net_compute_gain", "gain_without_rating", "difference"
  }  # fmt: skip
  capsys.readouterr()
  assert "result.json" in refused(capsys, "evaluate", "--arm", tmp_path, "--baseline", tmp_path)


def test_data_prepare_then_meta_train(capsys, tmp_path):
  lines = [json.dumps({"text": f"word {i} " * 40, "domain": "ab"[i % 2]}) for i in range(120)]
  (tmp_path / "in.jsonl").write_text("\n".join([*lines, "broken"]) + "\n")
  prepare = ["data", "prepare", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "data"]
  assert cli.main([str(a) for a in prepare]) == cli.DONE
  assert (tmp_path / "data" / "rejected.jsonl").read_text().count("\n") == 1
  run = [
    "meta-train", TINY, "--run-dir", tmp_path / "run", "--quiet", "--data.dataset",
    tmp_path / "data", "--data.target-domain", "a", "--meta.steps", 2, "--meta.inner-batch", 2,
    "--meta.outer-batch", 2, "--inner.width", 8, "--rater.width", 8,
  ]  # fmt: skip
  assert cli.main([str(a) for a in run]) == cli.DONE
  assert (tmp_path / "run" / "report.html").exists()
  assert (tmp_path / "run" / "rater" / "card.md").exists()
  assert cli.main(["report", str(tmp_path / "run")]) == cli.DONE
  capsys.readouterr()
  assert "config.json" in refused(capsys, "report", tmp_path)
  empty = ["data", "prepare", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "other"]
  assert "body" in refused(capsys, *empty, "--text-key", "body")


@pytest.mark.parametrize(
  "verb", [[], *([v] for v in ("demo", "plan", "meta-train", "score", "select"))]
)
def test_help_reads_without_loading_jax(verb):
  code = (
    "import sys; from datarater.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "except SystemExit as stop: assert stop.code == 0\n"
    "assert 'jax' not in sys.modules\n"
  )
  command = [sys.executable, "-c", code, *verb, "--help"]
  done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
  assert done.returncode == 0, done.stderr
  assert "usage: datarater" in done.stdout


def test_config_defaults_are_valid():
  for cls, _ in cli.CONFIGURED.values():
    assert dataclasses.is_dataclass(cls())
