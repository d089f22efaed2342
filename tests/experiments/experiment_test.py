"""What an experiment asks for before it begins."""

import dataclasses
from pathlib import Path

import jax
import pytest

from datarater.config_io import to_json
from datarater.data.builders.text import SUMMARY
from datarater.errors import InputError
from datarater.runtime.atomic import write_json
from experiments.experiment import OUTPUT, RESULTS, is_of, make_place, require_own_output
from experiments.scale import SCALES

HERE = (Path("runs"), Path("results"))


def test_a_corpus_that_is_not_there_is_named_with_the_command_that_builds_it():
  with pytest.raises(InputError, match="datarater data build small-pile --out data/nowhere"):
    make_place("cpu", *HERE, dataset="data/nowhere")


def test_a_preset_for_accelerators_is_refused_on_cpus():
  with pytest.raises(InputError, match="preset 'gpu' needs an accelerator"):
    make_place("gpu", *HERE)


def test_a_tokenizer_that_is_not_there_is_named_with_the_command_that_trains_it(
  monkeypatch, tmp_path
):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.chdir(tmp_path)
  (tmp_path / "data" / "mine").mkdir(parents=True)
  with pytest.raises(InputError, match="datarater data tokenizer --dataset data/mine"):
    make_place("gpu", *HERE, dataset="data/mine")


def test_the_rest_of_the_preset_stays(tmp_path):
  place = make_place("cpu", tmp_path, tmp_path, dataset=str(tmp_path), workers=3)
  assert place.scale.data.dataset == str(tmp_path)
  assert place.root == tmp_path / "cpu"
  assert place.workers == 3


def test_results_of_other_settings_are_not_read(tmp_path):
  place = make_place("cpu", tmp_path, tmp_path / "results", dataset=str(tmp_path))
  path = place.folder("learning_rates") / RESULTS
  with pytest.raises(InputError, match=r"run `python -m experiments\.learning_rates"):
    place.results("learning_rates")
  write_json(path, {"scale": to_json(place.scale), "chosen": {}})
  assert place.results("learning_rates")["chosen"] == {}
  write_json(path, {"scale": to_json(SCALES["cpu"]), "chosen": {}})  # of another corpus
  with pytest.raises(InputError, match="of other settings"):
    place.results("learning_rates")


def test_results_from_before_there_was_a_setting_are_of_its_default():
  old = to_json(SCALES["cpu"])
  del old["meta"]["schedule"]
  assert is_of({"scale": old}, SCALES["cpu"])
  falling = dataclasses.replace(SCALES["cpu"].meta, schedule="cosine")
  assert not is_of({"scale": old}, dataclasses.replace(SCALES["cpu"], meta=falling))
  assert not is_of({"scale": {**old, "gone": 1}}, SCALES["cpu"])


def test_a_corpus_that_was_built_anew_does_not_meet_old_jobs(tmp_path):
  corpus, runs = tmp_path / "corpus", tmp_path / "runs"
  corpus.mkdir()
  (corpus / SUMMARY).write_text("{}")
  for _ in range(2):
    make_place("cpu", runs, tmp_path, dataset=str(corpus))
  (corpus / SUMMARY).write_text('{"drift": 1}')
  with pytest.raises(InputError, match=r"was built anew.*--run-dir"):
    make_place("cpu", runs, tmp_path, dataset=str(corpus))


def test_ones_own_corpus_does_not_overwrite_the_presets_results(tmp_path):
  with pytest.raises(InputError, match="'data/mine' and --output"):
    require_own_output(OUTPUT, "data/mine")
  require_own_output(tmp_path, "data/mine")
  require_own_output(OUTPUT, "")
