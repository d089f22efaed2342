"""Tables for the terminal."""

import math

import pytest
from rich.console import Console

from datarater.report import tables


def printed(table):
  console = Console(width=120, color_system=None)
  with console.capture() as capture:
    console.print(table)
  return [line.rstrip() for line in capture.get().splitlines()]


def body(table):
  """Lines from the header on: a long title may take several."""
  lines = printed(table)
  return lines[next(i for i, line in enumerate(lines) if line.startswith(" task")) :]


def run(final, flops=2e12):
  return {"bits_per_byte": final, "flops": flops, "training_flops": 1e12}


ARMS = {"rater": [run(1.0), run(2.0), run(3.0)], "own": [run(4.0)], "unfiltered": [run(5.0)] * 2}


def test_arms_come_in_the_order_of_the_argument_with_their_intervals():
  summaries = tables.summaries({"arms": ARMS | {"random": []}})
  assert [arm.name for arm in summaries] == ["unfiltered", "rater", "own"]
  rater = summaries[1]
  assert rater.finals == (1.0, 2.0, 3.0)
  assert rater.mean == 2.0
  assert rater.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
  assert (rater.flops, rater.training_flops) == (2e12, 1e12)


def test_the_table_of_arms():
  lines = printed(tables.arms({"arms": ARMS}))
  assert any(line.split()[:4] == ["rater", "2.000", "±", "2.484"] for line in lines)
  assert any(
    line.split()[:3] == ["own", "4.000", "4.000"] for line in lines
  )  # one seed, no interval


def test_the_table_of_ratings_starts_at_the_highest_and_marks_the_target():
  results = {
    "target": "b",
    "rating_by_domain": {
      "a": {"mean": -1.0, "std": 0.5, "n": 1200},
      "b": {"mean": 1.0},
      "c": {"mean": None},
    },
    "mixture": {"before": {"a": 0.25}, "after": {"a": 0.125}},
  }
  rows = [line.split() for line in printed(tables.ratings(results))[2:]]
  assert rows == [
    ["b", "(target)", "+1.00", "–", "–", "–", "–"],
    ["a", "-1.00", "0.50", "1,200", "25.0%", "12.5%"],
    ["c", "–", "–", "–", "–", "–"],
  ]


def test_the_tables_of_tasks():
  share = {"value": 0.5, "low": 0.25, "high": 0.75}
  bits = {"value": 2.0, "low": None, "high": None}
  row = {"items": 1200, "chance": 0.25, "answers": 200, "contexts_cut": 30, "bits_per_byte": bits}
  row |= {"continuations_split": 1, "accuracy": share | {"value": 0.3}}
  picked = row | {"accuracy_normalised": share}
  runs = {name: {"tasks": {"pick": picked, "end": row}} for name in ("runs/a", "runs/[b]")}
  accuracy, per_byte, too_long = (body(table) for table in tables.tasks({"runs": runs}))
  assert accuracy[0].split() == ["task", "items", "chance", "a", "[b]"]
  normalised, plain = ["50.0%", "(25.0%–75.0%)"], ["30.0%", "(25.0%–75.0%)"]
  assert accuracy[1].split() == ["pick", "1,200", "25.0%", *normalised * 2]
  assert accuracy[2].split() == ["end", "1,200", "25.0%", *plain * 2]  # a completion
  assert per_byte[1].split() == ["pick", "1,200", *["2.000"] * 2]
  assert too_long[1].split() == ["pick", "1,200", *["15.0%", "0.5%"] * 2]
  alike = {f"{folder}/a": runs["runs/a"] for folder in "xy"}
  assert body(tables.tasks({"runs": alike})[1])[0].split()[-2:] == ["x/a", "y/a"]


def test_names_from_data_are_no_markup():
  results = {"rating_by_domain": {"[red]x[/]": {"mean": 0.0}}, "arms": {"[/b]": [run(1.0)]}}
  assert any("[red]x[/]" in line for line in printed(tables.ratings(results)))
  assert any("[/b]" in line for line in printed(tables.arms(results)))


def test_nothing_makes_an_empty_table():
  assert tables.arms({}).row_count == tables.ratings({}).row_count == 0
