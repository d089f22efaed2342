"""Instruction files as text: messages and fields that take turns, through the readers."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datarater.data.builders.prepare import prepare
from datarater.data.formats import BadRecord, Row, read_records
from datarater.data.sources import open_source
from datarater.data_config import DataConfig

MESSAGES = [
  {"role": "system", "content": "Be brief."},
  {"role": "user", "content": "2 + 2?"},
  {"role": "assistant", "content": "4"},
]
TEXT = "System: Be brief.\n\nUser: 2 + 2?\n\nAssistant: 4"


def records_of(path, key):
  return list(read_records(path, key))


def write_lines(path, records):
  path.write_text("".join(json.dumps(record) + "\n" for record in records))
  return path


def test_messages_become_text(tmp_path):
  path = write_lines(tmp_path / "a.jsonl", [{"messages": MESSAGES}])
  assert [row.text for row in records_of(path, "messages")] == [TEXT]
  pq.write_table(pa.table({"messages": [MESSAGES]}), tmp_path / "a.parquet")
  assert [row.text for row in records_of(tmp_path / "a.parquet", "messages")] == [TEXT]


def test_fields_take_turns(tmp_path):
  path = write_lines(tmp_path / "a.jsonl", [{"x": {"prompt": "2 + 2?"}, "response": "4"}])
  (row,) = records_of(path, "x.prompt+response")
  assert row.text == "User: 2 + 2?\n\nAssistant: 4"
  plain = write_lines(tmp_path / "b.jsonl", [{"a+b": "plain"}])
  assert [row.text for row in records_of(plain, "a+b")] == ["plain"]


@pytest.mark.parametrize(
  "value",
  [
    [],
    [1],
    ["text"],
    [{"role": "user"}],
    [{"role": "user", "content": None}],
    [MESSAGES],
    {"a": 1},
  ],
  ids=str,
)
def test_what_is_no_message_is_no_text(tmp_path, value):
  path = write_lines(tmp_path / "a.jsonl", [{"text": value}])
  (record,) = records_of(path, "text")
  assert isinstance(record, BadRecord)
  assert record.reason == "text is not a string"


def test_a_missing_turn_is_missing_text(tmp_path):
  path = write_lines(tmp_path / "a.jsonl", [{"prompt": "2 + 2?"}, {"prompt": "?", "response": "!"}])
  missing, there = records_of(path, "prompt+response")
  assert (missing.reason, isinstance(there, Row)) == ("text missing", True)


def test_instructions_are_prepared_as_a_dataset(tmp_path):
  turns = [{"role": "user", "content": f"What is {i}?"} for i in range(200)]
  path = write_lines(tmp_path / "a.jsonl", [{"messages": [turn]} for turn in turns])
  prepare([str(path)], tmp_path / "data", text_key="messages")
  source = open_source(DataConfig(dataset=str(tmp_path / "data")), "inner")
  assert source[0].text.startswith("User: What is ")
