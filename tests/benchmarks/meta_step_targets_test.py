"""Ratios and targets, on runs whose numbers are made up."""

import pytest
from meta_step_suite.figure import draw
from meta_step_suite.runs import AUTOGRAD, DEFAULT, HALVES, JAX_GRAD, PLAIN, TORCHOPT, Run, Runs
from meta_step_suite.targets import targets

KEEP = "mixed, keep"


def run(T, variant, remat, rounds, temporaries=None, memory=None, difference=None):
  return Run("m", T, variant, remat, rounds, temporaries, memory, gradient_difference=difference)


RUNS = [
  run(1, DEFAULT, False, (2.0,), 500),
  run(2, PLAIN, False, (1.1, 1.0)),
  run(2, PLAIN, True, (1.25, 1.5)),
  run(2, DEFAULT, False, (5.0, 4.8), 1000),
  run(2, HALVES, False, (5.0, 4.8), 1000),
  run(2, KEEP, False, (4.4, 4.6), 1200),
  run(2, DEFAULT, True, (6.0,), 100, memory=110),
  run(2, HALVES, True, (6.0,), 100, memory=110),
  run(2, JAX_GRAD, False, (7.2,), 4000),
  run(2, JAX_GRAD, True, (12.0,), 200),
  run(2, AUTOGRAD, False, (5.0,), memory=1100, difference=1e-6),
  run(2, TORCHOPT, False, (5.5,), memory=1000, difference=2e-4),
  run(4, DEFAULT, False, (10.0,), 1020),
  run(4, DEFAULT, True, (12.0,), 130),
  run(8, DEFAULT, False, (20.0,), 1100),
  run(8, HALVES, False, (20.0,), 1100),
  run(8, DEFAULT, True, (24.0,), 160, memory=500),
  run(8, HALVES, True, (24.0,), 160, memory=500),
  run(8, JAX_GRAD, False, (), 16000),
  run(8, AUTOGRAD, False, (40.0,), memory=8000),
]
FOUND = Runs(RUNS, "m")
TABLE = {(t["name"], t.get("T")): t for t in targets(RUNS, "m", state_bytes=20)}


def test_the_fastest_round_counts_and_the_plain_step_has_the_same_remat():
  assert FOUND.ratio(FOUND.find(2, DEFAULT, False)) == pytest.approx(4.8 / 2)
  assert FOUND.ratio(FOUND.find(2, DEFAULT, True)) == pytest.approx(6 / 2.5)
  assert FOUND.ratio(FOUND.find(4, DEFAULT, True)) is None  # no plain step at this T


def test_growth_is_the_steepest_from_two_steps_on():
  assert FOUND.growth(DEFAULT, False) == 20  # 10 a step, then 20
  assert FOUND.growth(DEFAULT, True) == 15  # the other way round
  assert FOUND.growth(KEEP, False) is None


@pytest.mark.parametrize(
  ("name", "T", "measured", "met"),
  [
    ("meta-step / plain steps, no remat", 2, 2.2, True),
    ("meta-step / plain steps, blocks rematerialised", 2, 2.4, True),
    ("times as fast as jax.grad, no remat", 2, 1.5, False),
    ("times as fast as jax.grad, blocks rematerialised", 2, 2.0, True),
    ("temporaries / those of jax.grad, no remat", 2, 0.25, True),
    ("temporaries / those of jax.grad, blocks rematerialised", 2, 0.5, False),
    ("temporaries / those of jax.grad, no remat", 8, 1100 / 16000, True),
    ("fastest: times as fast as the faster of PyTorch's", 2, 5 / 4.4, True),
    ("fastest: times as fast as the faster of PyTorch's", 8, 2.0, True),
    ("leanest: memory / that of the leaner of PyTorch's", 2, 0.11, True),
    ("leanest: time / that of the faster of PyTorch's", 2, 1.2, True),
    ("leanest: memory / that of the leaner of PyTorch's", 8, 1 / 16, True),
    ("largest relative difference of PyTorch's gradients", None, 2e-4, False),
  ],
)
def test_targets(name, T, measured, met):
  target = TABLE[name, T]
  assert target["measured"] == pytest.approx(measured)
  assert target["met"] is met


def test_growth_target_is_over_the_state():
  name = "temporaries of a further step / (parameters + optimiser state + a gradient), "
  assert TABLE[name + "no remat", None]["measured"] == pytest.approx(1.0)
  assert TABLE[name + "blocks rematerialised", None]["measured"] == pytest.approx(0.75)


def test_what_was_not_measured_is_neither_met_nor_missed():
  rows = targets([run(1, PLAIN, False, (1.0,))], "m", state_bytes=20)
  assert rows
  assert all(row["measured"] is None and row["met"] is None for row in rows)


def test_figure_has_three_panels_a_model_and_draws_what_there_is():
  def row(r):
    ratios = {"seconds": r.seconds, "predicted_ratio": 3.5 if r.variant == DEFAULT else None}
    return vars(r) | ratios

  figure = draw({"models": {"m": {}}, "runs": [row(r) for r in RUNS]})
  time, remat, memory = figure.axes
  ratio = next(line for line in time.lines if line.get_ydata()[1] == pytest.approx(2.4))
  assert ratio.get_color() == "#1261c4"
  assert any(list(line.get_ydata()) == [3.5] * 4 for line in time.lines)  # the prediction
  assert memory.get_yscale() == "log"
  assert "target 2.4" in [text.get_text() for text in time.texts]
  assert "target 3.0" in [text.get_text() for text in remat.texts]
  labels = {text.get_text() for text in memory.texts}
  assert {DEFAULT, JAX_GRAD, AUTOGRAD, TORCHOPT} <= labels
