"""The look: numbers and words first, then SVG and PNG."""

import math
import re

import matplotlib
import numpy as np
import pytest

from datarater.report import curves, style

NAN = math.nan
LINE = [{"curve": [[1, 3.0], [2, 2.0]]}]


def test_interval_of_three_values_in_closed_form():
  # t(0.975, 2) = 4.30265, standard deviation 1.
  mean, half_width = style.interval([1.0, 2.0, 3.0])
  assert mean == pytest.approx(2.0)
  assert half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_interval_leaves_out_gaps_and_needs_two_values():
  assert style.interval([1.0, None, 3.0])[0] == 2.0
  mean, half_width = style.interval([1.0, NAN])
  assert mean == 1.0
  assert math.isnan(half_width)
  assert all(math.isnan(value) for value in style.interval([]))


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
  assert style.scientific(value) == text


def test_numbers_turns_gaps_to_nan_and_ragged_lists_to_nothing():
  np.testing.assert_array_equal(style.numbers([1, None, math.inf]), [1.0, NAN, NAN])
  assert style.numbers([[1], [1, 2]]).size == 0
  assert style.numbers("no").size == 0
  assert math.isnan(style.number(None))


def test_labels_keep_their_distance_and_order():
  placed = style._apart([10.0, 11.0, 12.0, 95.0, 99.0], gap=15.0, height=100.0)
  assert np.all(np.diff(placed) >= 15.0 - 1e-9)
  assert max(placed) <= 100.0
  assert style._apart([10.0, 50.0], gap=15.0, height=100.0) == [10.0, 50.0]


def test_svg_is_the_same_each_time_with_its_own_ids():
  first, again = (style.to_svg(curves.learning_curves({"rater": LINE}), name="x") for _ in "ab")
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
  figure = curves.learning_curves({"rater": LINE})
  rater = style.PALETTE["rater"]
  assert f"stroke: var(--rater, {rater})" in style.to_svg(figure, themed=True)
  assert "var(" not in style.to_svg(figure)


def test_every_role_has_a_colour_of_its_own_in_both_modes():
  assert style.PALETTE.keys() == style.PALETTE_DARK.keys()
  for palette in (style.PALETTE, style.PALETTE_DARK):
    assert len(set(palette.values())) == len(palette)


def test_drawing_leaves_the_settings_of_matplotlib_alone():
  with matplotlib.rc_context():
    matplotlib.rcdefaults()
    before = dict(matplotlib.rcParams)
    style.to_svg(curves.learning_curves({"rater": LINE}))
    assert dict(matplotlib.rcParams) == before


def test_png_has_two_pixels_a_css_pixel(tmp_path):
  path = tmp_path / "new" / "figure.png"
  style.save_png(curves.learning_curves({"rater": LINE}, size=(300, 200)), path)
  data = path.read_bytes()
  assert data.startswith(b"\x89PNG")
  assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [600, 400]
