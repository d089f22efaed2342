"""Filters: their grammar, what they let pass, and what they say of mistakes."""

import operator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarater.curation.filters import Filter, parse_filter, parse_filters
from datarater.errors import InputError

TABLE = pa.table(
  {
    "id": ["a", "b", "c", "d"],
    "tokens": pa.array([1, 50, None, 99], pa.int32()),
    "domain": pa.array(["code", None, "web", "5"]).dictionary_encode(),
    "flags": [[], [], [], []],
    "signal_words": pa.array([49.0, 50.0, np.nan, None], pa.float32()),
    "signal_share": pa.array([0.7, 0.69, 0.71, -0.0], pa.float32()),
  }
)
OPERATORS = {
  "<": operator.lt,
  "<=": operator.le,
  ">": operator.gt,
  ">=": operator.ge,
  "==": operator.eq,
  "!=": operator.ne,
}


def passing(condition):
  (each,) = parse_filters([condition], TABLE.schema)
  return "".join(np.array(list("abcd"))[each.passes(TABLE)])


@pytest.mark.parametrize(
  ("condition", "passed"),
  [
    ("signal_words >= 50", "b"),
    ("words>=50", "b"),
    ("words != 50", "a"),  # neither NaN nor null
    ("words < 1e3", "ab"),
    ("share >= 0.7", "ac"),  # 0.7 as float32, which is less than 0.7
    ("share == 0", "d"),
    ("share > -.5", "abcd"),
    ("tokens > 49.5", "bd"),
    ("tokens == 50.0", "b"),
    ("tokens != 50", "ad"),
    ("domain == code", "a"),
    ("domain == 'code'", "a"),
    ('domain != "code"', "cd"),
    ("domain == 5", "d"),
    ("id >= c", "cd"),
    ("domain == a b", ""),
  ],
)
def test_what_passes(condition, passed):
  assert passing(condition) == passed


@given(
  st.lists(st.none() | st.floats(width=32) | st.sampled_from([0.0, 1.0]), max_size=9),
  st.sampled_from(sorted(OPERATORS)),
  st.sampled_from([0.0, 1.0, -2.5]) | st.floats(-9, 9, width=32),
)
def test_comparisons_are_those_of_python(values, sign, number):
  table = pa.table({"signal_x": pa.array(values, pa.float32())})
  (each,) = parse_filters([f"x {sign} {number!r}"], table.schema)
  expected = [v is not None and v == v and OPERATORS[sign](v, number) for v in values]
  assert each.passes(table).tolist() == expected


def test_the_reason_names_the_condition_without_its_prefix():
  assert parse_filter("signal_words >= 50").reason == "filtered: words >= 50"
  assert parse_filter(" words>=50 ").resolved(TABLE.schema) == Filter("signal_words", ">=", "50")
  assert parse_filter("words >= 50").resolved(TABLE.schema).reason == "filtered: words >= 50"


@pytest.mark.parametrize(
  ("condition", "message"),
  [
    ("words", r"filter 'words' is no condition; give COLUMN OPERATOR VALUE"),
    ("words = 5", "is no condition"),
    ("words > = 5", "is no condition"),
    ("words >= ", "is no condition"),
    ("__import__('os') == 1", "is no condition"),
    ("wrds >= 5", r"column 'wrds'; there are: id, tokens, domain, signal_words, signal_share$"),
    ("words >= many", r"column 'words' holds numbers, 'many' is none; give a number"),
    ("words >= 5 and tokens > 3", "'5 and tokens > 3' is none"),
    ("words >= nan", "'nan' is none"),
    ("flags == x", r"column 'flags' holds list<.*>; filter by numbers or strings"),
  ],
)
def test_mistakes_are_named(condition, message):
  with pytest.raises(InputError, match=message):
    parse_filters([condition], TABLE.schema)


def test_without_signals_the_remedy_is_said():
  schema = pa.schema([("id", pa.string())])
  with pytest.raises(InputError, match=r"there are: id; .* score with --signals"):
    parse_filters(["words >= 5"], schema)
