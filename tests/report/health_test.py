"""Figures over meta-steps: fresh inner models, bands, gaps, data that is missing."""

import math

import numpy as np
import pytest

from datarater.report import health, style

NAN = math.nan


def dots(figure):
  """x and y of the points drawn with a round marker."""
  lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
  return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_a_fresh_inner_model_begins_a_new_line():
  age = [[0, 2], [1, 0], [2, 1], [0, 2]]
  loss = [[5.0, 3.0], [4.0, 5.5], [3.0, 4.5], [5.2, 3.5]]
  figure = health.loss_by_member([0, 1, 2, 3], loss, age)
  assert sorted(dots(figure)) == [(1.0, 5.5), (3.0, 5.2)]
  assert len(figure.axes[0].lines) == 4 + 2  # two lives a member, and two dots


def test_a_band_spans_the_members_and_the_line_is_their_mean():
  figure = health.over_steps([0, 1], {"norm": [[1.0, 3.0], [2.0, None]]}, ylabel="norm")
  (line,) = figure.axes[0].lines
  np.testing.assert_allclose(line.get_ydata(), [2.0, 2.0])
  assert len(figure.axes[0].collections) == 1


def test_moving_average_skips_gaps():
  np.testing.assert_allclose(health._moving_average(np.array([1.0, NAN, 3.0]), 3), [1.0, 2.0, 3.0])


EMPTY_OR_BROKEN = {
  "no loss": lambda: health.loss_by_member([], []),
  "loss of None": lambda: health.loss_by_member([0, 1], [[None], [None]], [[0], [1]]),
  "ages of another shape": lambda: health.loss_by_member([0, 1], [[1.0], [2.0]], [[0]]),
  "steps of another length": lambda: health.over_steps([0], {"a": [1.0, 2.0]}, ylabel=""),
  "no series": lambda: health.over_steps(None, {}, ylabel="", reference=("n", NAN)),
  "nothing positive on a log scale": lambda: health.over_steps(
    [0, 1], {"a": [0.0, -1.0]}, ylabel="", log=True
  ),
}


@pytest.mark.parametrize("name", EMPTY_OR_BROKEN)
@pytest.mark.filterwarnings("error")
def test_missing_data_draws_a_figure_all_the_same(name):
  assert style.to_svg(EMPTY_OR_BROKEN[name]()).endswith("</svg>")
