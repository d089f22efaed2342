"""Ratings and mixture by domain: order, limits, data that is missing or hostile."""

import math

import numpy as np
import pytest

from datarater.report import distributions, style

NAN = math.nan


def test_domains_are_ordered_by_median_or_else_by_mean():
  ratings = {
    "low": {"mean": -1.0},
    "high": {"mean": -9.0, "quantiles": [0.0, 2.0, 9.0]},
    "none": {},
  }
  assert distributions.rating_order(ratings) == ["high", "low", "none"]


def test_rating_limits_cut_a_far_tail():
  tail = [-1000.0, *np.linspace(-1, 1, 20)]
  low, high = distributions._rating_limits({"a": {"quantiles": tail}})
  assert -5 < low < -1 < 1 <= high < 2


def test_mixture_bars_have_the_shares_as_widths():
  figure = distributions.mixture({"a": 0.75, "b": 0.25}, {"a": 0.5, "b": 0.5}, order=["b", "a"])
  widths = {round(bar.get_width(), 3) for bar in figure.axes[0].patches}
  assert widths == {0.75, 0.25, 0.5}
  assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b"]


EMPTY_OR_BROKEN = {
  "no ratings": lambda: distributions.rating_distribution({}),
  "ratings without numbers": lambda: distributions.rating_distribution(
    {"a": {}, "b": {"mean": NAN}}
  ),
  "equal ratings": lambda: distributions.rating_distribution({"a": {"quantiles": [0.0] * 21}}),
  "no quantiles": lambda: distributions.rating_distribution({"a": {"mean": 1.0, "std": None}}),
  "no mixture": lambda: distributions.mixture({}, {}),
  "mixture of NaN": lambda: distributions.mixture({"a": NAN}, {"b": None}),
}


@pytest.mark.parametrize("name", EMPTY_OR_BROKEN)
@pytest.mark.filterwarnings("error")
def test_missing_data_draws_a_figure_all_the_same(name):
  assert style.to_svg(EMPTY_OR_BROKEN[name]()).endswith("</svg>")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
  "name", ["<script>alert(1)</script>", "--><script>", "cost $x_{$", "a\nb\0", ""]
)
def test_names_from_data_are_only_text(name):
  svg = style.to_svg(distributions.rating_distribution({name: {"mean": 1.0}}, target=name))
  assert "<script" not in svg
  assert "\0" not in svg
