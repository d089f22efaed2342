"""lm-evaluation-harness over a run of ours: its numbers are ours. No network: tasks lie here."""

import functools
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval
import numpy as np
import pytest
import yaml
from language_runs import CONFIG, train_tiny
from lm_eval.tasks import TaskManager

from datarater.config import OptimizerConfig
from datarater.data.sources import open_source
from datarater.data.suite import Item, Task, pairs_of
from datarater.errors import InputError
from datarater.evaluation import generation, harness
from datarater.evaluation.downstream import task_result
from datarater.evaluation.likelihood import continuation_likelihoods
from datarater.evaluation.trained import load_trained
from datarater.runtime.atomic import read_json

ITEMS = [
  Item(
    str(i),
    f"Question: what is {i}é?\nAnswer:",
    (f" {i} zwölf", " a dozen", f" {'yes' * i}", f" {'no ' * (i % 5)}é", " 12"),
    i % 5,
  )
  for i in range(1, 25)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
  """Trained until it speaks ASCII."""
  optimizer = OptimizerConfig(name="adam", learning_rate=3e-2)
  return train_tiny(tmp_path_factory.mktemp("runs") / "run", steps=30, optimizer=optimizer)


def task_folder(folder: Path, rows: list[dict], **settings) -> Path:
  """A task `mine` of the harness: a YAML file beside its JSON lines."""
  data = folder / "data.jsonl"
  data.write_text("".join(json.dumps(row) + "\n" for row in rows))
  task = {
    "task": "mine",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
    "test_split": "test",
    "metric_list": [{"metric": name} for name in settings.pop("metrics")],
    **settings,
  }
  (folder / "mine.yaml").write_text(yaml.safe_dump(task))
  return folder


def choices(folder: Path) -> Path:
  rows = [{"q": i.context, "c": [c[1:] for c in i.choices], "g": i.gold} for i in ITEMS]
  return task_folder(
    folder,
    rows,
    output_type="multiple_choice",
    doc_to_text="{{q}}",
    doc_to_choice="{{c}}",
    doc_to_target="{{g}}",
    metrics=["acc", "acc_norm", "acc_bytes"],
  )


def evaluated(run: Path, folder: Path):
  return lm_eval.simple_evaluate(
    "datarater",
    {"run_dir": str(run)},
    tasks=["mine"],
    task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    bootstrap_iters=0,
  )


def test_its_accuracies_are_ours(run, tmp_path):
  theirs = evaluated(run, choices(tmp_path))
  found = continuation_likelihoods(load_trained(run), pairs_of(ITEMS))
  ours = task_result(Task("mine", "choice", Path("mine"), ""), ITEMS, found)
  scores = theirs["results"]["mine"]
  assert scores["acc,none"] == ours["accuracy"]["value"]
  assert scores["acc_bytes,none"] == ours["accuracy_normalised"]["value"]
  assert 0 < ours["accuracy_normalised"]["value"] < 1
  samples = sorted(theirs["samples"]["mine"], key=lambda sample: sample["doc_id"])
  logs = [log for sample in samples for log, _ in sample["filtered_resps"]]
  np.testing.assert_array_equal(np.array(logs, float), found.log)
  # Their other normalisation is by characters; ours, counted so, is the same too.
  by_item = np.split(found.log, len(ITEMS))
  right = [
    np.argmax([log / (len(c) - 1) for log, c in zip(logs, item.choices, strict=True)]) == item.gold
    for logs, item in zip(by_item, ITEMS, strict=True)
  ]
  assert scores["acc_norm,none"] == np.mean(right)


def test_likelihoods_of_one_continuation_are_ours_as_lambada_asks_for_them(run, tmp_path):
  items = [Item(i.id, i.context, (i.choices[i.gold],), 0) for i in ITEMS]
  folder = task_folder(
    tmp_path,
    [{"q": i.context, "a": i.choices[0]} for i in items],
    output_type="loglikelihood",
    doc_to_text="{{q}}",
    doc_to_target="{{a}}",
    metrics=["perplexity", "acc"],
  )
  theirs = evaluated(run, folder)["results"]["mine"]
  found = continuation_likelihoods(load_trained(run), pairs_of(items))
  assert theirs["perplexity,none"] == pytest.approx(np.exp(-found.log.mean()), rel=1e-9)
  assert theirs["acc,none"] == found.greedy.mean()


def test_rolling_likelihood_is_the_held_out_loss(run, tmp_path):
  source = open_source(CONFIG.data, CONFIG.evaluation_split)
  rows = [{"text": source[i].text} for i in range(len(source))]
  folder = task_folder(
    tmp_path,
    rows,
    output_type="loglikelihood_rolling",
    doc_to_text="",
    doc_to_target="{{text}}",
    metrics=["bits_per_byte"],
  )
  theirs = evaluated(run, folder)["results"]["mine"]["bits_per_byte,none"]
  assert theirs == pytest.approx(
    read_json(run / "result.json", "result")["bits_per_byte"], rel=1e-6
  )


def test_generation_is_greedy_and_stops(run, tmp_path):
  folder = task_folder(
    tmp_path,
    [{"q": f"Say {word} " * 5, "a": "x"} for word in ("one", "two", "three")],
    output_type="generate_until",
    doc_to_text="{{q}}",
    doc_to_target="{{a}}",
    generation_kwargs={"until": ["\n"], "do_sample": False, "max_gen_toks": 6},
    metrics=["exact_match"],
  )
  model = load_trained(run)
  for sample in evaluated(run, folder)["samples"]["mine"]:
    context, said = sample["arguments"][0][0], sample["resps"][0][0]
    assert len(said.encode()) <= 6
    assert said.isascii()
    assert said
    assert continuation_likelihoods(model, [(context, said)]).greedy[0]


class Scripted:
  """A model that says `script`, whatever it is asked; of the tokenizer and shapes it is given."""

  def __init__(self, model, script: list[int]):
    self.tokenizer, self.shapes, self.theta = model.tokenizer, model.shapes, None
    self._script, self.seen = script, []

  def likeliest(self, theta, batch, at_B):
    self.seen.append([row[: at + 1] for row, at in zip(batch.tokens_BxL, at_B, strict=True)])
    return np.full(generation.ROWS, self._script[len(self.seen) - 1])


def test_generation_ends_at_stops_the_document_and_the_limit(run):
  model = load_trained(run)
  script = [*"héy, you".encode(), model.tokenizer.separator_id]

  def says(stops, most, contexts=("ab",)):
    scripted = Scripted(model, script)
    return generation.continue_greedily(scripted, contexts, stops, most), scripted.seen

  assert says([], 99)[0] == ["héy, you"]
  assert says([], 4)[0] == ["héy"]
  assert says(["y", ", "], 99)[0] == ["hé"]
  assert says(["y", "éy"], 99)[0] == ["h"]  # both are met at once: the first to begin counts
  assert says([", "], 99, ("ab", "", "x" * 99))[0] == ["héy"] * 3
  assert says([], 0)[0] == [""]
  separator, length = model.tokenizer.separator_id, model.shapes.length
  first, second = says([], 2, ("x" * 98 + "z",))[1]
  assert first[0].tolist() == [separator, *[ord("x")] * (length - 2), ord("z")]
  assert second[0].tolist() == [separator, *first[0][2:], ord("h")]
  with pytest.raises(InputError, match="9 contexts at once"):
    says([], 1, ["a"] * 9)


@pytest.mark.parametrize("settings", [{"do_sample": True}, {"temperature": 0.7}])
def test_sampling_is_refused(settings):
  with pytest.raises(InputError, match="a task asks for sampling"):
    harness._generation(settings)


def test_what_a_request_says_of_stops():
  assert harness._generation({"until": "\n", "temperature": 0.0}) == (("\n",), 256)
  assert harness._generation({"until": ["a", ""], "max_gen_toks": 3}) == (("a",), 3)


def test_its_command_line(run, tmp_path, monkeypatch, capsys):
  folder = choices(tmp_path)
  command = ["lm-eval", "run", "--model", "datarater", "--tasks", "mine"]
  command += ["--include_path", str(folder), "--limit", "4", "--model_args"]
  # Reading its thousands of tasks would take longer than all else here.
  monkeypatch.setattr(
    lm_eval.tasks, "TaskManager", functools.partial(TaskManager, include_defaults=False)
  )
  monkeypatch.setattr(sys, "argv", [*command, f"run_dir={run}"])
  assert harness.main() == 0
  assert "acc_bytes" in capsys.readouterr().out
  monkeypatch.setattr(sys, "argv", [*command, f"run_dir={tmp_path}"])
  assert harness.main() == 2
  assert "has no result.json" in capsys.readouterr().err
