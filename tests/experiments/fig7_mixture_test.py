"""Tails by closed form; shares of a small pool add up to one and follow the ratings."""

import numpy as np
import pytest

from datarater.data.sources import open_source
from datarater.evaluation.results import mixture
from experiments import fig7_mixture
from experiments.fig7_mixture import tails_of


def test_tails():
  values = np.array([-9.0, *np.linspace(-1, 1, 99)])
  left, right = tails_of(values), tails_of(-values)
  assert left["skewness"] == pytest.approx(-right["skewness"])
  assert left["skewness"] < -3
  assert (left["left"], left["right"]) == (0.01, 0.0)
  assert (right["left"], right["right"]) == (0.0, 0.01)
  assert tails_of(np.array([-1.0, 0.0, 1.0, np.nan]))["skewness"] == pytest.approx(0.0)


@pytest.mark.filterwarnings("error")
def test_equal_ratings_have_no_tails():
  assert set(tails_of(np.zeros(5)).values()) == {None}


def test_a_small_pool(place):
  results = fig7_mixture.EXPERIMENT.run(place)
  assert list(results["objectives"]) == ["speeches", "same distribution"]
  source = open_source(place.scale.data, "lm")
  before = mixture(source, np.arange(len(source)))["before"]
  for found in results["objectives"].values():
    assert len(found["rating_by_domain"]) == 2
    for of in found["share"].values():
      assert sum(share["mean"] for share in of.values()) == pytest.approx(1.0)
    for name, share in found["share"]["0.0"].items():
      assert share["by_seed"] == pytest.approx([before[name]] * 2)
    assert found["share"]["0.5"]["tables"]["mean"] == 0.0
  target, pool = (of["share"]["0.5"]["speeches"]["mean"] for of in results["objectives"].values())
  assert target > before["speeches"] > pool
  assert (place.folder("fig7_mixture") / "figure.png").read_bytes().startswith(b"\x89PNG")
