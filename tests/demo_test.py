"""The demo, made very small: what it writes, and that it goes on where it was stopped."""

import dataclasses
import json
import math

import pytest

from datarater.config import ModelConfig
from datarater.demo import ARMS, demo, demo_config

MODEL = ModelConfig(width=8, layers=1, heads=1, mlp_width=16)


def small_config():
  config = demo_config()
  data = dataclasses.replace(config.train.data, length=32, lm="lm[:25%]", test="test[:25%]")
  meta = dataclasses.replace(config.meta_train.meta, steps=3, inner_batch=4, outer_batch=4)
  return dataclasses.replace(
    config,
    meta_train=dataclasses.replace(
      config.meta_train, data=data, rater=MODEL, inner=MODEL, meta=meta, cdf_documents=8
    ),
    train=dataclasses.replace(
      config.train, data=data, model=MODEL, steps=4, batch=4, evaluations=2, evaluation_rows=2
    ),
    lm_seeds=(0, 1),
  )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("demo")
  return folder, demo(small_config(), folder, progress=False)


def test_results_have_the_names_that_later_work_relies_on(finished):
  folder, results = finished
  assert json.loads((folder / "results.json").read_text()) == results
  assert (folder / "rater" / "config.json").is_file()
  assert set(results["arms"]) == set(ARMS)
  for runs in results["arms"].values():
    assert len(runs) == 2
    for run in runs:
      assert run["bits_per_byte"] == run["curve"][-1][1]
      assert run["flops"] == run["curve"][-1][0]
  assert len(results["net_compute_gain"]) == 2
  for name in ("speeches", "tables"):
    assert {"mean", "n"} <= set(results["rating_by_domain"][name])
  assert results["wall_seconds"] > 0
  assert results["device"]
  assert results["versions"]["jax"]


def test_arms_pay_for_their_data(finished):
  arms = finished[1]["arms"]
  every = [run["training_flops"] for runs in arms.values() for run in runs]
  assert finished[1]["cost"]["lm_training_flops"] == sum(every)
  assert len(every) == 6
  for plain, thinned, rated in zip(*(arms[name] for name in ARMS), strict=True):
    assert plain["flops"] == thinned["flops"] == plain["training_flops"]
    assert rated["flops"] == plain["flops"] + rated["rating_flops"]
    assert rated["documents_kept"] == thinned["documents_kept"]


def test_mixture_adds_up(finished):
  for shares in finished[1]["mixture"].values():
    assert math.isclose(sum(shares.values()), 1.0)


def test_report_is_written(finished):
  page = (finished[0] / "report.html").read_text()
  assert "bits per byte" in page
  assert "speeches" in page


def test_a_finished_run_is_not_run_again(finished):
  folder, results = finished
  assert demo(small_config(), folder, progress=False) == results
  other = dataclasses.replace(small_config(), lm_seeds=(0, 2))
  again = demo(other, folder, progress=False)
  assert [run["seed"] for run in again["arms"]["rater"]] == [0, 2]
  demo(small_config(), folder, progress=False)


def test_stopped_between_arms_it_goes_on(finished, tmp_path):
  config = small_config()

  class StoppedError(Exception):
    pass

  with pytest.MonkeyPatch.context() as patch:
    from datarater import demo as module

    def stop(train, *rest):
      if train.seed == 1:
        raise StoppedError
      return original(train, *rest)

    original = module.train_lm
    patch.setattr(module, "train_lm", stop)
    with pytest.raises(StoppedError):
      demo(config, tmp_path, progress=False)
  again = demo(config, tmp_path, progress=False)
  assert again["arms"] == finished[1]["arms"]
  assert again["rating_by_domain"] == finished[1]["rating_by_domain"]
