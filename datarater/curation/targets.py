"""Targets from files: documents in any format of a corpus, or the items of a task.

news=data/news/*.jsonl      documents, a target called news
data/suite/piqa.jsonl       items {"context", "choices", "gold"} of `datarater data build
                            eval-suite`: the right choice, given its context
"""

import json
from collections.abc import Iterator, Sequence

from datarater.corpus_config import ScoreConfig
from datarater.data.formats import BadRecord, Shard, find_shards, format_of, read_records
from datarater.data.suite import parse_items
from datarater.errors import InputError, require
from datarater.runtime.places import open_binary
from datarater.scorers.target import Example, Target

_ITEM = {"context", "choices", "gold"}


def read_targets(values: Sequence[str], config: ScoreConfig) -> list[Target]:
  """Of FILES or NAME=FILES each; FILES is a path, URL or glob.

  Several without a name are one target, called `target`. Raises InputError for a name given twice,
  an empty target, and a record that cannot be read: a target is small, and each record counts.
  """
  named: dict[str, list[str]] = {}
  for value in values:
    name, separator, pattern = value.partition("=")
    if not separator or "/" in name:
      name, pattern = "target", value
    require(
      name == "target" or name not in named, f"target {name!r} is given twice; name each once"
    )
    named.setdefault(name, []).append(pattern)
  return [_target(name, patterns, config) for name, patterns in named.items()]


def _target(name: str, patterns: Sequence[str], config: ScoreConfig) -> Target:
  examples = [e for shard in find_shards(patterns) for e in _examples(shard, config)]
  require(
    bool(examples),
    f"target {name!r} is empty: no document in {', '.join(patterns)}; give at least one",
  )
  return Target(name, tuple(examples))


def _examples(shard: Shard, config: ScoreConfig) -> Iterator[Example]:
  if format_of(shard.path) == "jsonl" and (line := _first_line(shard)) and _is_item(line):
    with open_binary(shard.path) as file:
      content = file.read()
    kind = "choice" if len(json.loads(line)["choices"]) > 1 else "completion"
    for item in parse_items(content, kind, f"target file {str(shard.path)!r}"):
      yield Example(item.choices[item.gold], item.context)
    return
  for record in read_records(shard.path, whole=False, **config.reading):
    if isinstance(record, BadRecord):
      raise InputError(
        f"target file {str(shard.path)!r}, record {record.number}: {record.reason} "
        f"({record.detail}); mend it or leave it out"
      )
    yield Example(record.text)


def _first_line(shard: Shard) -> bytes:
  """Of an uncompressed file that is not blank; empty otherwise."""
  with open_binary(shard.path) as file:
    return next((line for line in file if line.strip()), b"")


def _is_item(line: bytes) -> bool:
  try:
    values = json.loads(line)
  except ValueError:
    return False
  return isinstance(values, dict) and values.keys() >= _ITEM
