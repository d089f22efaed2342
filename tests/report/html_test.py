"""The report: what it says, that text stays text, and that parts may be missing."""

import copy
import json
import math
import os
import re

import pytest

from datarater.errors import InputError
from datarater.report import html

NAN = math.nan


def arm(finals, flops=1e12):
  return [
    {
      "seed": seed,
      "bits_per_byte": final,
      "flops": flops,
      "training_flops": 1e12,
      "curve": [[flops / 2, final + 1], [flops, final]],
      "by_domain": {"speeches": [final + 1, final], "tables": [2.0, 1.0]},
    }
    for seed, final in enumerate(finals)
  ]


def compare(mean, half_width):
  return {"differences": [mean] * 3, "mean": mean, "half_width": half_width}


RESULTS = {
  "title": "A run",
  "arms": {
    "unfiltered": arm([2.80, 2.81, 2.79]),
    "random": arm([2.83, 2.84, 2.82]),
    "rater": arm([2.61, 2.62, 2.60], 1.2e12),
  },
  "net_compute_gain": [0.30, 0.34, 0.32],
  "gain_without_rating": [0.40, 0.40, 0.40],
  "comparisons": {
    "rater_vs_unfiltered": compare(-0.19, 0.03),
    "rater_vs_random": compare(-0.22, 0.04),
  },
  "rating_by_domain": {
    "speeches": {"mean": 1.0, "std": 0.5, "n": 9, "quantiles": [0.1 * i for i in range(21)]},
    "tables": {"mean": -1.0, "std": 0.5, "n": 9, "quantiles": [0.1 * i - 2 for i in range(21)]},
  },
  "mixture": {
    "before": {"speeches": 0.3, "tables": 0.7},
    "after": {"speeches": 0.6, "tables": 0.4},
  },
  "discard_fraction": 0.5,
  "target": "speeches",
  "excerpts": {
    "best": [{"rating": 1.2, "domain": "speeches", "id": "s1", "text": "My fellow citizens"}],
    "worst": [{"rating": -3.4, "domain": "tables", "id": "t1", "text": "1\t2\t3\n4\t5\t6\n"}],
  },
  "meta_training": {
    "step": [0, 1, 2],
    "outer_loss": [[5.0, 4.0], [4.0, None], [3.0, 5.0]],
    "age": [[0, 1], [1, 2], [2, 0]],
    "update_norm": [[0.1, 0.1]] * 3,
    "meta_gradient_norm": [[1.0, NAN]] * 3,
    "weight_entropy": [2.0, 1.9, 1.8],
    "effective_sample_size": [7.0, 6.0, 5.0],
    "rating_mean_by_domain": {"speeches": [0.0, 0.5, 1.0], "tables": [0.0, None, -1.0]},
    "skipped": 1,
    "datapoints_per_batch": 8.0,
  },
  "cost": {
    "meta_training_flops": 3e12,
    "rating_flops": 2e11,
    "lm_training_flops": 9e12,
    "seconds": {"meta_training": 100.0, "rating": 5.0, "training": 90.0, "total": 200.0},
    "peak_memory_gb": 2.5,
  },
  "wall_seconds": 200.0,
  "device": "cpu",
  "versions": {"jax": "1.2.3"},
  "config": {"meta_train": {"name": "demo"}},
}


def changed(**parts):
  return copy.deepcopy(RESULTS) | parts


def with_rater(finals, unfiltered, random):
  """RESULTS with another rater arm, and its (mean, half width) against both others."""
  return changed(
    arms=RESULTS["arms"] | {"rater": arm(finals)},
    comparisons={"rater_vs_unfiltered": compare(*unfiltered), "rater_vs_random": compare(*random)},
  )


@pytest.fixture(scope="module")
def page():
  return html.render(RESULTS)


def test_headline_of_a_win():
  found = html.finding(RESULTS)
  assert found.verdict == "win"
  assert found.headline == (
    "The rater's selection ends at 2.61 bits per byte on held-out speeches, unfiltered text at "
    "2.80: better by 0.19 ± 0.03 (95%, 3 seeds)."
  )
  assert found.detail == (
    "Dropping as much at random ends at 2.83: the rater's choice is better than chance by "
    "0.22 ± 0.04."
  )


def test_headline_of_a_tie():
  found = html.finding(with_rater([2.79, 2.80, 2.78], (-0.01, 0.03), (-0.04, 0.05)))
  assert found.verdict == "tie"
  assert found.headline == (
    "Filtering did not help here: the rater's selection ends at 2.79 bits per byte on held-out "
    "speeches, unfiltered text at 2.80. The difference, 0.01 ± 0.03 (95%, 3 seeds), cannot be told "
    "from zero."
  )
  assert "cannot be told from chance" in found.detail


def test_headline_of_a_loss():
  found = html.finding(with_rater([2.90, 2.91, 2.89], (0.10, 0.03), (0.07, 0.03)))
  assert found.verdict == "loss"
  assert found.headline.startswith("Filtering hurt here: the rater's selection ends at 2.90")
  assert found.headline.endswith("worse by 0.10 ± 0.03 (95%, 3 seeds).")
  assert "chance does better than the rater, by 0.07" in found.detail


def test_the_sign_comes_from_the_arms_whichever_way_differences_are_written():
  turned = changed(comparisons={"rater_vs_unfiltered": compare(0.19, 0.03)})
  assert "better by 0.19 ± 0.03" in html.finding(turned).headline


def test_a_win_over_unfiltered_text_that_chance_has_too_is_no_win():
  found = html.finding(with_rater([2.61, 2.62, 2.60], (-0.19, 0.03), (-0.01, 0.03)))
  assert found.verdict == "tie"
  assert "cannot be told from chance" in found.detail


def test_without_a_random_arm_the_report_says_so():
  two = {name: runs for name, runs in RESULTS["arms"].items() if name != "random"}
  assert "No random control" in html.finding(changed(arms=two)).detail


def test_one_seed_claims_nothing():
  one = {name: runs[:1] for name, runs in RESULTS["arms"].items()}
  found = html.finding(changed(arms=one, comparisons={}))
  assert found.verdict == "tie"
  assert "better by 0.19 on one seed" in found.headline
  assert "±" not in found.headline


def test_without_recorded_comparisons_differences_are_paired_by_seed():
  # Differences 0.1, 0.2, 0.3: standard deviation 0.1, t(0.975, 2) = 4.30265. The order is shuffled.
  arms = {"unfiltered": arm([1.1, 2.2, 3.3]), "rater": arm([1.0, 2.0, 3.0])[::-1]}
  mean, half_width, seeds = html._gain({"arms": arms}, "unfiltered")
  assert (mean, seeds) == (pytest.approx(0.2), 3)
  assert half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_decimals_show_on_which_side_of_zero_the_interval_lies():
  assert html._digits(0.19, 0.03) == 2
  assert html._digits(0.0042, 0.0040) == 4
  assert html._digits(0.031, 0.027) == 3


@pytest.mark.parametrize(
  ("gains", "words"),
  [
    ([0.30, 0.34, 0.32], "with 32% fewer FLOPs (30% to 34% over 3 seeds). Were ratings free"),
    ([-0.10, -0.12, -0.11], "with 11% more FLOPs"),
    ([0.30, None, None], "with 30% fewer FLOPs, in 1 of 3 seeds; in the rest it never does."),
    ([None, None, None], "never reaches the final loss"),
  ],
)
def test_net_compute_gain_in_words(gains, words):
  assert words in html.compute_gain(changed(net_compute_gain=gains))


def test_no_gain_measured_says_nothing():
  assert html.compute_gain({}) == ""


def test_the_page_has_every_section(page):
  sections = set(re.findall(r'<section id="([^"]+)"', page))
  assert sections == {"curves", "arms", "ratings", "excerpts", "meta-training", "cost"}
  assert page.count("<svg") == 4 + 2 + 4
  for words in ("<details>", "jax 1.2.3", "3 min 20 s", "2.610 ± 0.025", "1 meta-update skipped"):
    assert words in page


def test_the_page_asks_for_nothing_from_elsewhere(page):
  assert not re.search(r"""(?i)\b(src|srcset|href|action|data)\s*=\s*["']?\s*(?!["']?#)\S""", page)
  assert not re.search(r"(?i)<(script|link|iframe|object|embed|img|base)\b|@import", page)
  assert not re.search(r"(?i)url\(\s*(?!#)", page)
  namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
  assert set(re.findall(r"https?://[^\"'\s<]+", page)) <= namespaces


def test_ids_of_a_page_are_unique(page):
  ids = re.findall(r'\sid="([^"]+)"', page)
  assert len(ids) == len(set(ids))


def test_the_same_results_give_the_same_bytes(page):
  assert html.render(copy.deepcopy(RESULTS)) == page


HOSTILE = """</pre></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}"""


def test_text_from_data_is_never_markup():
  card = {"rating": 1.0, "domain": HOSTILE, "id": HOSTILE, "text": HOSTILE}
  page = html.render(
    {
      "title": HOSTILE,
      "target": HOSTILE,
      "device": HOSTILE,
      "versions": {HOSTILE: HOSTILE},
      "config": {HOSTILE: HOSTILE},
      "excerpts": {"best": [card], "worst": [card]},
      "rating_by_domain": {HOSTILE: {"mean": 1.0}},
      "mixture": {"before": {HOSTILE: 1.0}, "after": {HOSTILE: 1.0}},
      "arms": {HOSTILE: arm([2.0, 2.0])},
    }
  )
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
  assert "{{ 7 * 7 }}" in page
  assert not re.search(r"(?i)<script|<img|<[^>]*\sonerror", page.replace("&quot;", '"'))
  assert page.count("</style>") == page.count("<style")


@pytest.mark.parametrize("part", sorted(RESULTS))
def test_any_part_may_be_missing_or_null_or_alone(part, monkeypatch):
  monkeypatch.setattr(html.style, "to_svg", lambda figure, **_: "<svg></svg>")  # slow, tested above
  without = {key: value for key, value in RESULTS.items() if key != part}
  assert "</html>" in html.render(without)
  assert html.render(without | {part: None}) == html.render(without)
  assert "</html>" in html.render({part: RESULTS[part]})


def test_nothing_at_all_still_makes_a_page():
  page = html.render({})
  assert "<h1>DataRater run</h1>" in page
  assert "<section" not in page


def test_meta_training_alone_has_no_arms():
  page = html.render({"title": "Only meta", "meta_training": RESULTS["meta_training"]})
  assert "<h1>Only meta</h1>" in page
  assert re.findall(r'<section id="([^"]+)"', page) == ["meta-training"]


@pytest.mark.filterwarnings("error")
def test_nothing_but_nan_makes_a_page():
  def hollow(value):
    if isinstance(value, dict):
      return {key: hollow(v) for key, v in value.items()}
    if isinstance(value, list):
      return [hollow(v) for v in value]
    return NAN if isinstance(value, float) else value

  assert "</html>" in html.render(hollow(RESULTS))


def test_write_report_makes_one_file(tmp_path):
  path = tmp_path / "run" / "report.html"
  results = json.loads(json.dumps({"title": "Ä, half a pair \ud800"}))
  html.write_report(results, path)
  assert list(path.parent.iterdir()) == [path]
  assert "Ä" in path.read_text(encoding="utf-8")


def test_a_write_that_fails_leaves_the_old_report_and_no_other_file(tmp_path, monkeypatch):
  path = tmp_path / "report.html"
  path.write_text("old")

  def full(_):
    raise OSError("no space left")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises((InputError, OSError)):
    html.write_report({}, path)
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def shown(text):
  pieces, cut = html.excerpt(text)
  return "".join(piece for kind, piece in pieces if kind == "text"), cut


def test_an_excerpt_is_cut_by_characters_and_by_lines():
  assert shown("short") == ("short", False)
  assert shown("x" * 401) == ("x" * 400, True)
  assert shown("\n" * 50) == ("\n" * 13, True)


def test_whitespace_and_control_characters_are_marked():
  assert html.excerpt("a\tb\n")[0] == [
    ("text", "a"),
    ("mark", "⇥"),
    ("text", "\tb"),
    ("mark", "↵"),
    ("text", "\n"),
  ]
  assert html.excerpt("\0\u202e\x85")[0] == [("mark", "␀"), ("mark", "�"), ("mark", "�")]


@pytest.mark.parametrize(
  ("text", "code"),
  [
    ("Dear Sir,\n\nI have the honour (in 1812) to write; and to remain: yours!", False),
    ("def f(x): return {x[0]: x & 1}", True),
    ("0.12 14.1 99 100 4.5", True),
    ("name\tvalue", True),
    ("", False),
  ],
)
def test_code_is_set_in_a_monospaced_face(text, code):
  assert html.is_code(text) == code


@pytest.mark.parametrize(
  ("seconds", "words"),
  [(8.44, "8.4 s"), (59.97, "1 min 00 s"), (291, "4 min 51 s"), (7500, "2 h 05 min"), (None, "–")],
)
def test_duration(seconds, words):
  assert html.duration(seconds) == words
