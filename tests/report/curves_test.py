"""Learning curves: where arms meet, gaps and unequal points, data that is missing."""

import math

import numpy as np
import pytest

from datarater.report import curves, style

NAN = math.nan


def arm(level, scale=1.0, seeds=3):
  """Runs whose curves fall to `level`, a little apart, at FLOPs of 1, 2, 3, 4 times `scale`."""
  return [
    {
      "seed": seed,
      "bits_per_byte": level + 0.01 * seed,
      "curve": [[scale * x, level + 0.01 * seed + 4 - x] for x in (1, 2, 3, 4)],
      "by_domain": {"a": [5.0, 4.0, 3.0, 2.0], "b": [4.0, None, 2.0, NAN]},
    }
    for seed in range(seeds)
  ]


def marked(figure):
  """The points drawn with a round marker."""
  return [
    tuple(float(v) for v in (line.get_xdata()[0], line.get_ydata()[0]))
    for axes in figure.axes
    for line in axes.lines
    if line.get_marker() == "o"
  ]


def test_the_ring_stands_where_the_arm_reaches_the_baseline():
  # The baseline ends at 2.0; the arm falls from 3.5 at 2 FLOPs to 1.5 at 4: there at 3.5, once.
  runs = {
    "unfiltered": [{"curve": [[1, 3.0], [2, 2.0]]}],
    "rater": [{"curve": [[2, 3.5], [4, 1.5], [6, 1.0]]}],
  }
  assert marked(curves.learning_curves(runs)) == [(pytest.approx(3.5), pytest.approx(2.0))]


def test_no_ring_where_the_baseline_is_never_reached():
  assert marked(curves.learning_curves({"unfiltered": arm(1.0), "rater": arm(2.0)})) == []


def test_curves_measured_at_other_flops_are_interpolated_where_all_exist():
  x, y = curves._over_seeds(
    [{"curve": [[0, 4.0], [2, 2.0]]}, {"curve": [[1, 1.0], [3, 3.0]]}], domain=""
  )
  np.testing.assert_allclose(x, [1, 2])
  np.testing.assert_allclose(y, [[3.0, 2.0], [1.0, 2.0]])


def test_a_gap_in_a_domains_curve_is_left_out():
  x, y = curves._points(arm(2.0)[0], "b")
  np.testing.assert_allclose(x, [1, 3])
  np.testing.assert_allclose(y, [4, 2])


def test_the_target_panel_comes_first():
  figure = curves.learning_curves_by_domain({"rater": arm(2.0)}, target="b", columns=2)
  assert [axes.get_title(loc="left") for axes in figure.axes] == ["b (target)", "a"]


EMPTY_OR_BROKEN = {
  "no arms": lambda: curves.learning_curves({}),
  "arms without runs": lambda: curves.learning_curves({"rater": [], "unfiltered": [{}]}),
  "curve of NaN": lambda: curves.learning_curves({"rater": [{"curve": [[1, NAN], [2, None]]}]}),
  "one point": lambda: curves.learning_curves({"rater": [{"curve": [[1, 2.0]]}]}, band="interval"),
  "no domains": lambda: curves.learning_curves_by_domain({"rater": [{"curve": [[1, 2.0]]}]}),
  "domains with gaps": lambda: curves.learning_curves_by_domain({"rater": arm(2.0)}),
}


@pytest.mark.parametrize("name", EMPTY_OR_BROKEN)
@pytest.mark.filterwarnings("error")
def test_missing_data_draws_a_figure_all_the_same(name):
  assert style.to_svg(EMPTY_OR_BROKEN[name]()).endswith("</svg>")
