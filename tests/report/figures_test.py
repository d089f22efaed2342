"""Figures: numbers first, then what is drawn, then data that is missing or hostile."""

import math
import re

import matplotlib
import numpy as np
import pytest

from datarater.report import figures

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


def test_interval_of_three_values_in_closed_form():
  # t(0.975, 2) = 4.30265, standard deviation 1.
  mean, half_width = figures.interval([1.0, 2.0, 3.0])
  assert mean == pytest.approx(2.0)
  assert half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_interval_leaves_out_gaps_and_needs_two_values():
  assert figures.interval([1.0, None, 3.0])[0] == 2.0
  mean, half_width = figures.interval([1.0, NAN])
  assert mean == 1.0
  assert math.isnan(half_width)
  assert all(math.isnan(value) for value in figures.interval([]))


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (1.9e12, "1.90 × 10¹²"),
    (0, "0"),
    (12, "12"),
    (1234, "1,234"),
    (2e-5, "2.00 × 10⁻⁵"),
    (NAN, "–"),
  ],
)
def test_scientific(value, text):
  assert figures.scientific(value) == text


def test_numbers_turns_gaps_to_nan_and_ragged_lists_to_nothing():
  np.testing.assert_array_equal(figures.numbers([1, None, math.inf]), [1.0, NAN, NAN])
  assert figures.numbers([[1], [1, 2]]).size == 0
  assert figures.numbers("no").size == 0
  assert math.isnan(figures.number(None))


def test_labels_keep_their_distance_and_order():
  placed = figures._apart([10.0, 11.0, 12.0, 95.0, 99.0], gap=15.0, height=100.0)
  assert np.all(np.diff(placed) >= 15.0 - 1e-9)
  assert max(placed) <= 100.0
  assert figures._apart([10.0, 50.0], gap=15.0, height=100.0) == [10.0, 50.0]


def test_the_ring_stands_where_the_arm_reaches_the_baseline():
  # The baseline ends at 2.0; the arm falls from 3.5 at 2 FLOPs to 1.5 at 4: there at 3.5, once.
  runs = {
    "unfiltered": [{"curve": [[1, 3.0], [2, 2.0]]}],
    "rater": [{"curve": [[2, 3.5], [4, 1.5], [6, 1.0]]}],
  }
  assert marked(figures.learning_curves(runs)) == [(pytest.approx(3.5), pytest.approx(2.0))]


def test_no_ring_where_the_baseline_is_never_reached():
  assert marked(figures.learning_curves({"unfiltered": arm(1.0), "rater": arm(2.0)})) == []


def test_curves_measured_at_other_flops_are_interpolated_where_all_exist():
  x, y = figures._over_seeds(
    [{"curve": [[0, 4.0], [2, 2.0]]}, {"curve": [[1, 1.0], [3, 3.0]]}], domain=""
  )
  np.testing.assert_allclose(x, [1, 2])
  np.testing.assert_allclose(y, [[3.0, 2.0], [1.0, 2.0]])


def test_a_gap_in_a_domains_curve_is_left_out():
  x, y = figures._points(arm(2.0)[0], "b")
  np.testing.assert_allclose(x, [1, 3])
  np.testing.assert_allclose(y, [4, 2])


def test_the_target_panel_comes_first():
  figure = figures.learning_curves_by_domain({"rater": arm(2.0)}, target="b", columns=2)
  assert [axes.get_title(loc="left") for axes in figure.axes] == ["b (target)", "a"]


def test_domains_are_ordered_by_median_or_else_by_mean():
  ratings = {
    "low": {"mean": -1.0},
    "high": {"mean": -9.0, "quantiles": [0.0, 2.0, 9.0]},
    "none": {},
  }
  assert figures.rating_order(ratings) == ["high", "low", "none"]


def test_rating_limits_cut_a_far_tail():
  tail = [-1000.0, *np.linspace(-1, 1, 20)]
  low, high = figures._rating_limits({"a": {"quantiles": tail}})
  assert -5 < low < -1 < 1 <= high < 2


def test_mixture_bars_have_the_shares_as_widths():
  figure = figures.mixture({"a": 0.75, "b": 0.25}, {"a": 0.5, "b": 0.5}, order=["b", "a"])
  widths = {round(bar.get_width(), 3) for bar in figure.axes[0].patches}
  assert widths == {0.75, 0.25, 0.5}
  assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_fresh_inner_model_begins_a_new_line():
  age = [[0, 2], [1, 0], [2, 1], [0, 2]]
  loss = [[5.0, 3.0], [4.0, 5.5], [3.0, 4.5], [5.2, 3.5]]
  figure = figures.loss_by_member([0, 1, 2, 3], loss, age)
  assert sorted(marked(figure)) == [(1.0, 5.5), (3.0, 5.2)]
  assert len(figure.axes[0].lines) == 4 + 2  # two lives a member, and two dots


def test_a_band_spans_the_members_and_the_line_is_their_mean():
  figure = figures.over_steps([0, 1], {"norm": [[1.0, 3.0], [2.0, None]]}, ylabel="norm")
  (line,) = figure.axes[0].lines
  np.testing.assert_allclose(line.get_ydata(), [2.0, 2.0])
  assert len(figure.axes[0].collections) == 1


def test_moving_average_skips_gaps():
  np.testing.assert_allclose(figures._moving_average(np.array([1.0, NAN, 3.0]), 3), [1.0, 2.0, 3.0])


EMPTY_OR_BROKEN = {
  "no arms": lambda: figures.learning_curves({}),
  "arms without runs": lambda: figures.learning_curves({"rater": [], "unfiltered": [{}]}),
  "curve of NaN": lambda: figures.learning_curves({"rater": [{"curve": [[1, NAN], [2, None]]}]}),
  "one point": lambda: figures.learning_curves({"rater": [{"curve": [[1, 2.0]]}]}, band="interval"),
  "no domains": lambda: figures.learning_curves_by_domain({"rater": [{"curve": [[1, 2.0]]}]}),
  "domains with gaps": lambda: figures.learning_curves_by_domain({"rater": arm(2.0)}),
  "no ratings": lambda: figures.rating_distribution({}),
  "ratings without numbers": lambda: figures.rating_distribution({"a": {}, "b": {"mean": NAN}}),
  "equal ratings": lambda: figures.rating_distribution({"a": {"quantiles": [0.0] * 21}}),
  "no quantiles": lambda: figures.rating_distribution({"a": {"mean": 1.0, "std": None}}),
  "no mixture": lambda: figures.mixture({}, {}),
  "mixture of NaN": lambda: figures.mixture({"a": NAN}, {"b": None}),
  "no loss": lambda: figures.loss_by_member([], []),
  "loss of None": lambda: figures.loss_by_member([0, 1], [[None], [None]], [[0], [1]]),
  "ages of another shape": lambda: figures.loss_by_member([0, 1], [[1.0], [2.0]], [[0]]),
  "steps of another length": lambda: figures.over_steps([0], {"a": [1.0, 2.0]}, ylabel=""),
  "no series": lambda: figures.over_steps(None, {}, ylabel="", reference=("n", NAN)),
  "nothing positive on a log scale": lambda: figures.over_steps(
    [0, 1], {"a": [0.0, -1.0]}, ylabel="", log=True
  ),
}


@pytest.mark.parametrize("name", EMPTY_OR_BROKEN)
@pytest.mark.filterwarnings("error")
def test_missing_data_draws_a_figure_all_the_same(name):
  assert figures.to_svg(EMPTY_OR_BROKEN[name]()).endswith("</svg>")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
  "name", ["<script>alert(1)</script>", "--><script>", "cost $x_{$", "a\nb\0", ""]
)
def test_names_from_data_are_only_text(name):
  svg = figures.to_svg(figures.rating_distribution({name: {"mean": 1.0}}, target=name))
  assert "<script" not in svg
  assert "\0" not in svg


def test_svg_is_the_same_each_time_with_its_own_ids():
  first, again = (
    figures.to_svg(figures.learning_curves({"rater": arm(2.0)}), name="x") for _ in "ab"
  )
  assert first == again
  assert "http://www.w3.org" in first  # namespaces, which nothing fetches
  assert not re.search(r"<metadata|date>|matplotlib\.org", first)
  ids = re.findall(r' id="([^"]+)"', first)
  assert ids
  assert all(i.startswith("x-") for i in ids)
  references = re.findall(r'(?:url\(|href=")#([^")]+)', first)
  assert references
  assert set(references) <= set(ids)


def test_a_themed_svg_takes_its_colours_from_the_page():
  figure = figures.learning_curves({"rater": arm(2.0)})
  rater = figures.PALETTE["rater"]
  assert f"stroke: var(--rater, {rater})" in figures.to_svg(figure, themed=True)
  assert "var(" not in figures.to_svg(figure)


def test_every_role_has_a_colour_of_its_own_in_both_modes():
  assert figures.PALETTE.keys() == figures.PALETTE_DARK.keys()
  for palette in (figures.PALETTE, figures.PALETTE_DARK):
    assert len(set(palette.values())) == len(palette)


def test_drawing_leaves_the_settings_of_matplotlib_alone():
  with matplotlib.rc_context():
    matplotlib.rcdefaults()
    before = dict(matplotlib.rcParams)
    figures.to_svg(figures.learning_curves({"rater": arm(2.0)}))
    assert dict(matplotlib.rcParams) == before


def test_png_has_two_pixels_a_css_pixel(tmp_path):
  path = tmp_path / "new" / "figure.png"
  figures.save_png(figures.learning_curves({"rater": arm(2.0)}, size=(300, 200)), path)
  data = path.read_bytes()
  assert data.startswith(b"\x89PNG")
  assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [600, 400]
