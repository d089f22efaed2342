"""Claims are marked as the numbers say, seed by seed."""

import pytest

from datarater.evaluation.compare import paired_difference
from experiments.claims import claims
from experiments.scale import HELDOUT

BASE = [3.0, 3.1, 3.2]


def cell(loss, share, net=None):
  return {
    "loss": loss,
    "baseline": BASE,
    "random": BASE,
    "flops_share": share,
    "flops_share_net": net or share,
    "against_unfiltered": paired_difference(loss, BASE),
    "against_random": paired_difference(loss, BASE),
  }


def marks(name, results):
  return [claim.met for claim in claims({name: {"preset": "cpu", **results}})]


GOOD, BAD = [2.0, 2.01, 2.02], [3.0, 3.2, 3.1]


@pytest.mark.parametrize(
  ("found", "expected"),
  [
    (cell(GOOD, [0.4, 0.45, 0.5], [0.5, 0.55, 0.6]), [True, True, True]),
    (cell(GOOD, [0.5, 0.55, 0.6], [0.6, 0.65, 0.7]), [False, False, True]),
    (cell(BAD, [0.4, 0.4, None]), [False, False, False]),
  ],
)
def test_compute_and_random_drop(found, expected):
  results = {
    "scale": {"targets": ["encyclopedia"]},
    "cells": {"encyclopedia": {"big": found}, HELDOUT: {"big": found}},
  }
  assert marks("fig1_compute_gain", results) == [*expected, None]


def test_a_seed_that_never_gets_there_is_told():
  found = cell(BAD, [0.4, None, None])
  results = {
    "scale": {"targets": ["t"]},
    "cells": {"t": {"big": found}, HELDOUT: {"big": found}},
  }
  results["preset"] = "cpu"
  assert "never, in 2 of 3 seeds" in claims({"fig1_compute_gain": results})[0].found


def fault(losses):
  return {"small": cell(losses, [None] * 3)}


@pytest.mark.parametrize(
  ("shuffled", "inverted", "untrained", "expected"),
  [
    (BASE, [4.0, 4.1, 4.2], BASE, [True, True, True]),
    (GOOD, BASE, GOOD, [False, False, False]),
    ([4.0, 4.1, 4.2], GOOD, BASE, [True, False, True]),
  ],
)
def test_faults(shuffled, inverted, untrained, expected):
  faults = {
    "shuffled": fault(shuffled),
    "inverted": fault(inverted),
    "zero meta-steps": fault(untrained),
  }
  assert marks("fig6_grid", {"faults": faults}) == expected


@pytest.mark.parametrize(
  ("rater", "model", "expected"),
  [(480.0, 3000.0, [True, True, True]), (481.0, 30_000.0, [False, False, False])],
)
def test_time_is_that_of_each_job_once_and_shared_by_the_workers(rater, model, expected):
  jobs = {"raters/a": rater, "models/b": model}
  of = {"preset": "cpu", "workers": 2, "experiment": "x", "seconds_by_job": jobs}
  other = {**of, "experiment": "y", "seconds_by_job": {**jobs, "models/c": 500.0}}
  found = claims({"x": of, "y": other})
  assert [claim.met for claim in found] == expected
  assert claims({"x": {**of, "preset": "gpu"}}) == []


def agreement(mean, half_width):
  return {"by_seed": [], "mean": mean, "half_width": half_width}


@pytest.mark.parametrize(
  ("mean", "between", "expected"),
  [
    (0.8, agreement(0.5, 0.4), [True, True]),
    (0.6, agreement(0.3, 0.4), [False, False]),
    (None, agreement(None, None), [False, False]),
  ],
)
def test_order_of_domains(mean, between, expected):
  target = {"agreement": agreement(mean, 0.1), "agreement_without_target": agreement(mean, 0.1)}
  results = {
    "criterion": 0.7,
    "targets": {"t": target},
    "between_targets": {"agreement": between, "agreement_of_others": between},
  }
  assert marks("domain_order", results) == expected


@pytest.mark.parametrize(("tied", "met"), [(4, True), (3, False)])
def test_the_rater_among_all_selectors(tied, met):
  ranks = {"first": 1, "cells": 5, "mean_rank": 2.0}
  results = {
    "ranks": {n: {**ranks, "tied": tied} for n in ("rater", "longer rater", "dsdm")},
    "compute_multipliers": {"1m": {"dsdm": 1.5}, "2m": {"dsdm": None}},
    "hoped_share": 0.8,
  }
  assert marks("compare_selectors", results) == [met, met, None]


@pytest.mark.parametrize(
  ("gap", "few", "ratio", "expected"),
  [(0.1, GOOD, 1.1, [True, True, True]), (0.05, BAD, 1.3, [False, False, False])],
)
def test_what_others_claim(gap, few, ratio, expected):
  results = {
    "lds": {"DsDm": {"mean": 0.3}, "gradient products": {"mean": 0.2}},
    "lds_chosen": "DsDm",
    "lds_differences": {"gradient products": {"mean": gap, "half_width": 0.07}},
    "few": {"tsds": cell(few, [None] * 3)},
    "copies": {"100": {"KNN-KDE": {"ratio": ratio}, "KNN-Uniform": {"ratio": 9.0}}},
    "most_mass": 1.2,
  }
  assert marks("selector_claims", results) == expected
