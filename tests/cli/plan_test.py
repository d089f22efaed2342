"""The verb `plan`: what it prints and writes, and one line for each kind of bad input."""

import json
from pathlib import Path

import pytest

from datarater import cli
from datarater.models import cost
from datarater.models.presets import preset

ROOT = Path(__file__).parents[2]
TINY, PILE = (str(ROOT / "configs" / name) for name in ("tiny.py", "paper_pile.py"))


def test_plan_prints_and_writes_what_a_run_takes(capsys, tmp_path):
  output = tmp_path / "plan.json"
  small = ["--meta.inner-batch", "2", "--meta.outer-batch", "2", "--data.length", "16"]
  given = ["--flops-per-second", "1e12", "--utilisation", "0.5", "--corpus-tokens", "2e9"]
  command = ["plan", TINY, "--devices", "1", "--output", str(output), *small, *given]
  assert cli.main(command) == cli.DONE
  shown = capsys.readouterr().out
  made = json.loads(output.read_text())
  assert made["devices"] == 1
  assert made["vocab_size"] == 257
  assert made["parameters"]["inner"] == cost.language_model_parameters(preset("0.1m"), 257)
  assert f"{made['parameters']['rater']:,}" in shown
  assert f"{made['meta_step_flops']:.4g}" in shown
  assert f"{made['memory']['sum'] / 1e6:,.1f}" in shown
  assert f"{made['days']['meta_training']:.3g}" in shown
  days = made["flops"]["rating"] / (1e12 * 0.5) / 86_400
  assert made["days"]["rating"] == pytest.approx(days)
  for words in ("rating 2e+09 tokens", "final model 1b, 50% discarded", "XLA's CPU compiler"):
    assert words in shown


@pytest.mark.parametrize(
  ("arguments", "named"),
  [
    ([TINY, "--devices", "0"], ["devices is 0", "at least 1"]),
    ([TINY, "--devices", "64"], ["1 x 1 x 1", "64", "--mesh.data"]),
    ([PILE, "--devices", "32"], ["8 x 8 x 1", "is for 64", "product of 32"]),
    ([TINY, "--mesh.data", "3"], ["mesh.data is 3", "meta.inner_batch 16", "divisor"]),
    ([TINY, "--mesh.member", "4"], ["mesh.member is 4", "meta.population 2"]),
    ([TINY, "--mesh.data", "0"], ["data is 0", "at least 1"]),
    ([TINY, "--utilisation", "2"], ["utilisation is 2"]),
    ([TINY, "--flops-per-second", "0"], ["flops_per_second is 0"]),
    ([TINY, "--corpus-tokens", "-5"], ["corpus_tokens is -5"]),
    ([TINY, "--discard-fraction", "1"], ["discard_fraction is 1"]),
    (["gone.py"], ["gone.py", "does not exist"]),
    ([str(ROOT / "configs" / "lm_tiny.py")], ["TrainConfig", "MetaTrainConfig"]),
  ],
)
def test_bad_input_is_refused(capsys, arguments, named):
  assert cli.main(["plan", *arguments]) == cli.BAD_INPUT
  line = capsys.readouterr().err.strip()
  assert line.startswith("datarater: ")
  assert len(line.splitlines()) == 1, line
  for words in named:
    assert words in line
