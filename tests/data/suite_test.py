"""Task files: what is written is read, and every kind of damage is named."""

import json

import pytest

from datarater.data import suite
from datarater.data.suite import Item
from datarater.errors import InputError

ITEMS = [
  Item("a", "Ünï\u2028code said", (" “é”", " 字\x85", " x"), 1),
  Item("b", "", (" yes", " no"), 0),
]


@pytest.fixture
def folder(tmp_path):
  """A suite of one task of each kind."""
  last = [Item("c", "The end of the", (" line",), 0)]
  tasks = {"pick": ("choice", ITEMS), "end": ("completion", last)}
  suite.write_suite(tmp_path, tasks, {"notice": "mine", "tasks": {"pick": {"source": "here"}}})
  return tmp_path


def test_what_is_written_is_read(folder):
  tasks = suite.read_suite(folder)
  assert suite.read_items(tasks["pick"]) == ITEMS
  assert [(t.name, t.kind) for t in tasks.values()] == [("pick", "choice"), ("end", "completion")]
  described = json.loads((folder / suite.SUITE).read_text())
  assert described["notice"] == "mine"
  pick = described["tasks"]["pick"]
  assert (pick["items"], pick["source"]) == (2, "here")
  assert pick["chance"] == pytest.approx((1 / 3 + 1 / 2) / 2)
  assert described["tasks"]["end"]["chance"] == 0.0


def test_tasks_are_chosen_by_name_in_the_suites_order(folder):
  tasks = suite.read_suite(folder)
  assert [t.name for t in suite.choose_tasks(tasks, ())] == ["pick", "end"]
  assert [t.name for t in suite.choose_tasks(tasks, ("end", "pick"))] == ["pick", "end"]
  with pytest.raises(InputError, match=r"tasks \['pock'\] are not in the suite; .*pick, end"):
    suite.choose_tasks(tasks, ("pock",))


def test_a_sample_is_the_same_each_time_and_differs_by_task():
  items = [Item(str(i), "", (" a", " b"), 0) for i in range(200)]
  sample = suite.sample_items(items, "one", 20)
  assert sample == suite.sample_items(items, "one", 20)
  assert sample != suite.sample_items(items, "two", 20)
  assert len({item.id for item in sample}) == 20
  assert [int(item.id) for item in sample] == sorted(int(item.id) for item in sample)
  assert suite.sample_items(items, "one", 0) == suite.sample_items(items, "one", 200) == items


@pytest.mark.parametrize(
  ("change", "named"),
  [
    ({"gold": 3}, "gold is 3 of 3"),
    ({"gold": -1}, "gold is -1 of 3"),
    ({"gold": True}, "'gold' is True"),
    ({"choices": [" a", " "]}, "is empty"),
    ({"choices": [" a", 3]}, "is empty"),
    ({"choices": [" a"], "gold": 0}, "1 choices in a task of kind 'choice'"),
    ({"choices": []}, "0 choices"),
    ({"context": None}, "'context' is None; give a str"),
  ],
)
def test_a_bad_item_is_named_with_its_line(change, named):
  good = json.dumps({"id": "a", "context": "c", "choices": [" x", " y", " z"], "gold": 0})
  bad = json.dumps(json.loads(good) | change)
  with pytest.raises(InputError, match=r"file f, line 2") as refused:
    suite.parse_items(f"{good}\n{bad}\n".encode(), "choice", "file f")
  assert named in str(refused.value)


def test_two_choices_are_no_completion():
  line = json.dumps({"id": "a", "context": "c", "choices": [" x", " y"], "gold": 0}).encode()
  with pytest.raises(InputError, match="2 choices in a task of kind 'completion'"):
    suite.parse_items(line, "completion", "f")


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"\xff"])
def test_a_line_that_is_no_item(content):
  with pytest.raises(InputError, match="f, line 1"):
    suite.parse_items(content, "choice", "f")


def test_damage_is_refused(folder):
  task = suite.read_suite(folder)["pick"]
  content = task.path.read_text()
  task.path.write_text(content.replace("yes", "yea"))
  with pytest.raises(InputError, match="another sha256"):
    suite.read_items(task)
  task.path.write_text("")
  with pytest.raises(InputError, match="has no items"):
    suite.read_items(task)
  task.path.unlink()
  with pytest.raises(InputError, match="cannot be read"):
    suite.read_items(task)


@pytest.mark.parametrize(
  ("content", "named"),
  [
    ("{", "not JSON"),
    ("[]", "format 1"),
    ('{"format": 2, "tasks": {"a": {}}}', "format 1"),
    ('{"format": 1, "tasks": {}}', "format 1"),
    ('{"format": 1, "tasks": {"a": 3}}', "task 'a' needs a kind"),
    ('{"format": 1, "tasks": {"a": {"kind": "essay", "file": "f", "sha256": ""}}}', "'a' needs"),
    ('{"format": 1, "tasks": {"a": {"kind": "choice", "file": "../f", "sha256": ""}}}', "beside"),
  ],
)
def test_a_broken_suite_is_refused(tmp_path, content, named):
  with pytest.raises(InputError, match=r"has no suite\.json; make it with"):
    suite.read_suite(tmp_path)
  (tmp_path / suite.SUITE).write_text(content)
  with pytest.raises(InputError, match=named):
    suite.read_suite(tmp_path)
