"""The figure of a selection: rows and shares, cuts of every kind; any part may be missing."""

import math

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from datarater.report import style
from datarater.report.selection import (
  MOST_DOMAINS,
  draw_histogram,
  mixture_rows,
  selection_figure,
  selection_page,
  write_selection_figure,
  write_selection_page,
)


def side(**documents):
  return {
    "documents": sum(documents.values()),
    "domains": {name: {"documents": n, "bytes": n * 10} for name, n in documents.items()},
  }


def stats(before, after, cut: object = 0.5, bins=60):
  return {
    "histogram": {
      "edges": np.linspace(0, 1, bins + 1).tolist(),
      "before": [2] * bins,
      "after": [0] * (bins // 2) + [2] * (bins - bins // 2),
    },
    "cut": cut,
    "before": before,
    "after": after,
  }


def svg(values) -> str:
  return style.to_svg(selection_figure(values))


def test_shares_are_of_all_before_and_of_what_is_left():
  measure, rows = mixture_rows(stats(side(web=75, code=25), side(web=10, code=30)))
  assert measure == "bytes"
  assert rows == [("web", 0.75, 0.25), ("code", 0.25, 0.75)]


def test_tokens_count_where_every_domain_has_them_and_documents_where_nothing_else():
  values = stats(side(web=1, code=1), side(web=1))
  for part in (values["before"], values["after"]):
    for name, amounts in part["domains"].items():
      amounts["tokens"] = 30 if name == "web" else 10
  assert mixture_rows(values) == ("tokens", [("web", 0.75, 1.0), ("code", 0.25, 0.0)])
  values["before"]["domains"]["code"]["tokens"] = None
  assert mixture_rows(values)[0] == "bytes"
  del values["after"]["domains"]["web"]["bytes"]
  assert mixture_rows(values)[0] == "documents"


def test_small_domains_are_summed_into_one_row():
  many = {f"d{i:02}": 100 - i for i in range(40)}
  _, rows = mixture_rows(stats(side(**many), side(**many)))
  assert len(rows) == MOST_DOMAINS + 1
  assert [name for name, *_ in rows[:2]] == ["d00", "d01"]
  assert rows[-1][0] == "20 others"
  assert sum(row[1] for row in rows) == pytest.approx(1)
  assert rows[-1][1] == pytest.approx(sum(range(61, 81)) / sum(many.values()))
  one_more = {f"d{i:02}": 1 for i in range(MOST_DOMAINS + 1)}
  assert "others" not in mixture_rows(stats(side(**one_more), side()))[1][-1][0]


def test_nothing_kept_is_zero_not_an_error():
  values = stats(side(web=3), {"documents": 0, "domains": {}})
  assert mixture_rows(values)[1] == [("web", 1.0, 0.0)]
  assert "0.0%" in svg(values)


def test_the_legend_says_how_many_and_which_part():
  page = svg(stats(side(web=2000), side(web=500)))
  assert "before: 2,000 documents" in page
  assert "after: 500 documents (25.0%)" in page


@pytest.mark.parametrize(
  ("cut", "said"),
  [
    (0.25, "cut 0.25"),
    (-7.0, "cut −7"),
    ({"web": 0.1, "code": 0.7}, "code 0.7"),
    ({f"g{i}": i / 10 for i in range(9)}, "cuts of 9 groups, 0 to 0.8"),
  ],
)
def test_cuts_are_named(cut, said):
  assert said in svg(stats(side(web=2), side(web=1), cut))


@pytest.mark.parametrize("cut", [None, {}, math.nan, {"web": None}])
def test_rules_without_a_cut_draw_none(cut):
  assert "cut" not in svg(stats(side(web=2), side(web=1), cut))


def test_the_histogram_lies_where_its_counts_are():
  _, axes = style.panel((300, 200))
  drawn = draw_histogram(axes, [0, 1, 2], {"context": [3, 5], "rater": [0, 5]})
  assert drawn
  steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
  assert [list(step.get_data()[0]) for step in steps] == [[3, 5], [0, 5]]
  assert axes.get_xlim() == (0, 2)


@pytest.mark.parametrize(
  "histogram",
  [
    None,
    {},
    {"edges": [0, 1], "before": [0], "after": [0]},
    {"edges": [1, 1], "before": [5], "after": [5]},
    {"edges": [0, 1, 2], "before": [5], "after": [5]},
  ],
)
def test_without_ratings_the_figure_says_so(histogram):
  values = stats(side(web=1), side(web=1)) | {"histogram": histogram}
  assert "no ratings" in svg(values)


def test_any_part_may_be_missing():
  assert "no ratings" in svg({})


def test_long_names_keep_both_ends_and_hostile_ones_stay_text():
  names = {"a" * 40 + ".example.org": 2, "x\x1b[31m$y$<b>": 1}
  page = svg(stats(side(**names), side(**names)))
  assert f"{'a' * 17}…xample.org" in page
  assert "\x1b" not in page
  assert "&lt;b&gt;" in page


def test_the_png_is_the_same_each_time(tmp_path):
  for name in ("a.png", "b.png"):
    write_selection_figure(stats(side(web=3), side(web=1)), tmp_path / name)
  content = (tmp_path / "a.png").read_bytes()
  assert content.startswith(b"\x89PNG")
  assert content == (tmp_path / "b.png").read_bytes()


def test_the_page_has_the_figure_and_the_reasons_the_most_common_first(tmp_path):
  reasons = {"copy": 300, "below <threshold>": 1200, "never": 0}
  values = stats(side(web=2000), side(web=500)) | {"rejected": reasons}
  write_selection_page(values, tmp_path / "page.html")
  page = (tmp_path / "page.html").read_text()
  assert "500 of 2,000 documents kept (25.0%)" in page
  assert page.count("<svg") == 1
  assert "var(--rater" in page
  assert page.index("below &lt;threshold&gt;</td><td>1,200</td><td>80.0%") < page.index("copy</td>")
  assert "never" not in page
  assert "0 of 0 documents kept" in selection_page({})
