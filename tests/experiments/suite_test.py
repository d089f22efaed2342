"""The suite at toy size: from nothing to RESULTS.md and a page, then again without work."""

import dataclasses
import json

import numpy as np
import pytest
from planted import plant

from datarater.config import MetaConfig
from datarater.data.suite import Item, write_suite
from datarater.data_config import DataConfig
from datarater.errors import InputError
from experiments import (
  arms,
  clean_corpus,
  compare_selectors,
  fig1_compute_gain,
  fig4_discard_sweep,
  fig5_curves,
  fig6_grid,
  fig9_inner_scale,
  fig10_perplexity,
  learning_rates,
  own_domain,
  packing_control,
  selector_claims,
  suite,
  table2_tasks,
  weighting,
)
from experiments.ablations import EXPERIMENTS as ABLATIONS
from experiments.claims import claims
from experiments.experiment import FIGURE, RESULTS, Place
from experiments.jobs import RaterJob, digest
from experiments.queue import TimeUpError
from experiments.report import found_results, write_page, write_results
from experiments.scale import HELDOUT, SCALES, LanguageModel
from experiments.suite import EXPERIMENTS, run_suite

CHOSEN = [
  *(
    module.EXPERIMENT
    for module in (
      learning_rates,
      fig4_discard_sweep,
      fig6_grid,
      fig1_compute_gain,
      fig5_curves,
      fig9_inner_scale,
      fig10_perplexity,
      own_domain,
      clean_corpus,
      packing_control,
      weighting,
      table2_tasks,
      compare_selectors,
      selector_claims,
    )
  ),
  ABLATIONS["population"],
]

TINY = dataclasses.replace(
  SCALES["cpu"],
  data=DataConfig(datapoint="sequence", length=32, segments=8, lm="lm[:10%]"),
  targets=("speeches",),
  models=(LanguageModel("0.02m", 4 * 8 * 32, 8, (1e-2,)),),
  evaluation_rows=2,
  target_rows=4,
  rater="0.02m",
  inner="0.02m",
  inner_sizes=("0.02m",),
  meta=MetaConfig(
    steps=2, population=1, lifetime=2, inner_batch=4, outer_batch=4, learning_rate=1e-2
  ),
  ablation_steps=2,
  seeds=(0, 1),
  discard_fractions=(0.5,),
  snapshots=1,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Where the suite has run, with planted raters, but for one that is not trained."""
  folder = tmp_path_factory.mktemp("suite")
  items = [Item(str(i), f"{i} is", (" odd", " even"), (i + 1) % 2) for i in range(4)]
  (folder / "tasks").mkdir()
  write_suite(folder / "tasks", {"parity": ("choice", items)}, {})
  scale = dataclasses.replace(TINY, suite=str(folder / "tasks"))
  place = Place(scale, folder / "runs", folder / "results", workers=1)
  train = RaterJob.run

  def run(job, root):
    untrained = job.config.meta.learning_rate == 0
    (train if untrained and job.config.seed == 0 else plant)(job, root)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(RaterJob, "run", run)
    patch.setattr(selector_claims, "SUBSETS", {"cpu": 8})
    patch.setattr(selector_claims, "COPIES", (20,))
    patch.setattr(selector_claims, "FEW", 0.9)
    run_suite(place, CHOSEN)
    yield place


def test_every_experiment_has_a_name_of_its_own_and_its_own_words():
  assert len({e.name for e in EXPERIMENTS}) == len(EXPERIMENTS)
  for experiment in EXPERIMENTS:
    assert experiment.paper.endswith(".")
    assert set(experiment.after) <= {e.name for e in EXPERIMENTS}


@pytest.mark.parametrize("preset", SCALES)
def test_presets_make_valid_configs(preset):
  scale = SCALES[preset]
  for objective in scale.objectives:
    assert scale.rater_config(objective, 1).seed == 1
  for each in scale.models:
    config = scale.train_config(each.size, each.learning_rates[0], 2)
    update = config.batch * config.data.length
    assert each.tokens - update < config.steps * update <= each.tokens


def test_results_hold_what_they_promise(place):
  for experiment in CHOSEN:
    results = json.loads((place.folder(experiment.name) / RESULTS).read_text())
    assert results["finding"], experiment.name
    assert "difference" in results
    assert {"device", "versions", "scale", "seeds", "job_seconds"} <= set(results)
    png = (place.folder(experiment.name) / FIGURE).read_bytes()
    assert png.startswith(b"\x89PNG")


def test_raters_are_shared_and_nothing_is_done_twice(place):
  more_seeds, untrained, without_own, clean, populations, longer = 2, 2, 2, 1, 4, 2 * 2
  raters = list((place.root / "raters").iterdir())
  trained = 2 * 2 + more_seeds + untrained
  assert len(raters) == trained + without_own + clean + populations + longer
  before = {p: p.stat().st_mtime_ns for p in place.root.rglob("*.json")}
  run_suite(place, CHOSEN)
  assert {p: p.stat().st_mtime_ns for p in place.root.rglob("*.json")} == before


def test_shuffled_ratings_are_the_same_ratings_and_inverted_ones_their_negatives(place):
  job = arms.rated_pool(place, arms.rater(place, "speeches", 0))
  usual = job.ratings(place.root).ratings
  shuffled, inverted = (
    arms.rated_pool(place, job.rater, change=change).ratings(place.root).ratings
    for change in ("shuffled", "inverted")
  )
  np.testing.assert_array_equal(inverted, -usual)
  np.testing.assert_array_equal(np.sort(shuffled), np.sort(usual))
  assert (shuffled != usual).any()


def test_a_rater_of_zero_meta_steps_knows_nothing(place):
  job = fig6_grid.untrained(arms.rater(place, "speeches", 0))
  ratings = arms.rated_pool(place, job).ratings(place.root).ratings
  assert (ratings == 0).all()


def test_losses_of_the_same_distribution_weigh_domains_by_their_bytes(place):
  (job, *_) = arms.unfiltered(place, "0.02m")
  seen = arms.view(place, job, HELDOUT)
  shares = arms.domain_shares(place.scale.data)
  assert sum(shares.values()) == pytest.approx(1)
  expected = sum(shares[name] * loss for name, loss in seen["domains"].items())
  assert seen["bits_per_byte"] == pytest.approx(expected)
  own = arms.view(place, job, "speeches")
  assert own["bits_per_byte"] == own["domains"]["speeches"]


def test_arms_of_a_seed_differ_in_their_selection_alone(place):
  jobs = [
    arms.unfiltered(place, "0.02m")[1],
    arms.random_drop(place, "0.02m", 0.5)[1],
    arms.kept(place, "0.02m", 0.5, [arms.rated_pool(place, arms.rater(place, "speeches", 1))])[1],
  ]
  assert len({digest(job) for job in jobs}) == 3
  same = {
    dataclasses.replace(job.config, name="", selection=jobs[0].config.selection) for job in jobs
  }
  assert len(same) == 1


def test_report_tells_claims_and_figures(place, tmp_path):
  results = found_results(CHOSEN, place.output, "cpu")
  told = claims(results)
  assert any("random drop, intervals apart" in claim.text for claim in told)
  assert {claim.met for claim in told} <= {True, False, None}
  write_results(CHOSEN, place.output, tmp_path / "RESULTS.md")
  text = (tmp_path / "RESULTS.md").read_text()
  assert text.count("**The paper.**") == len(CHOSEN)
  write_page(CHOSEN, place.output, "cpu", tmp_path / "page.html")
  page = (tmp_path / "page.html").read_text()
  assert page.count("<svg") == len(CHOSEN)
  assert "://" not in page.replace("http://www.w3.org", "")


def test_what_goes_wrong_in_one_experiment_holds_up_no_other(place, tmp_path):
  def wrong(place):
    raise InputError("its result cannot be read")

  bad = dataclasses.replace(packing_control.EXPERIMENT, name="bad", measure=wrong)
  good = packing_control.EXPERIMENT
  elsewhere = dataclasses.replace(place, output=tmp_path)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(suite, "EXPERIMENTS", (bad, good))
    with pytest.raises(InputError, match=r"^bad: its result cannot be read$"):
      run_suite(elsewhere, [bad, good])
  assert not elsewhere.has_results("bad")
  assert elsewhere.has_results(good.name)


def test_when_time_is_up_no_further_stage_begins(place, tmp_path):
  elsewhere = dataclasses.replace(
    place, output=tmp_path / "results", root=tmp_path / "runs", minutes=1e-9
  )
  with pytest.raises(TimeUpError, match=r"^1 jobs are left"):
    run_suite(elsewhere, [learning_rates.EXPERIMENT, fig4_discard_sweep.EXPERIMENT])


def test_what_an_experiment_lacks_is_said_before_any_work(place, tmp_path):
  scale = dataclasses.replace(place.scale, suite=str(tmp_path / "nowhere"))
  elsewhere = dataclasses.replace(place, scale=scale, output=tmp_path, root=tmp_path / "runs")
  with pytest.raises(InputError, match="datarater data build eval-suite"):
    run_suite(elsewhere, [learning_rates.EXPERIMENT, table2_tasks.EXPERIMENT])
  assert not (tmp_path / "runs").exists()


def test_without_its_choices_an_experiment_says_what_to_run(place, tmp_path):
  elsewhere = dataclasses.replace(place, output=tmp_path)
  with pytest.raises(InputError, match=r"python -m experiments\.learning_rates"):
    arms.learning_rate(elsewhere, "0.02m")
