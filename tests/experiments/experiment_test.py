"""What an experiment asks for before it begins."""

from pathlib import Path

import jax
import pytest

from datarater.errors import InputError
from experiments.experiment import make_place

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
  place = make_place("cpu", *HERE, dataset=str(tmp_path), workers=3)
  assert place.scale.data.dataset == str(tmp_path)
  assert place.root == Path("runs/cpu")
  assert place.workers == 3
