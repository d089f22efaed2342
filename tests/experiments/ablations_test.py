"""Every variant of every ablation is a valid config at every preset, and differs in effect."""

from pathlib import Path

import numpy as np
import pytest

from datarater.meta.population import is_reset_step
from experiments.ablations import ABLATIONS, base
from experiments.experiment import Place
from experiments.jobs import RaterJob, digest
from experiments.scale import SCALES


@pytest.fixture(params=sorted(SCALES))
def place(request):
  return Place(SCALES[request.param], Path("runs"), Path("results"))


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_variants_are_valid_and_differ(place, name):
  variants = ABLATIONS[name][0](place)
  assert len(variants) > 1
  assert len({digest(RaterJob(config)) for config in variants.values()}) == len(variants)
  assert any(digest(RaterJob(c)) == digest(RaterJob(base(place))) for c in variants.values())


def test_lifetimes_differ_in_how_often_inner_models_start_anew(place):
  def starts(config):
    steps = np.arange(config.meta.steps)
    members = range(config.meta.population)
    return sum(int(is_reset_step(config.meta, m, steps).sum()) for m in members)

  variants = ABLATIONS["lifetime"][0](place)
  counts = [starts(config) for config in variants.values()]
  assert counts == sorted(set(counts), reverse=True)
  assert counts[-1] == 0
