"""The folder that a builder makes: whole or absent, and left as it is by the same command again."""

import contextlib
import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from datarater.config_io import differences
from datarater.data.builders.text import SUMMARY
from datarater.errors import InputError, require

REJECTED = "rejected.jsonl"
"""Beside the dataset: what was set aside, a line each, with its reason."""


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
  """An empty folder beside the output. Its name is fixed: what a killed run left is removed."""
  folder = output.absolute().with_name(f".{output.name}.preparing")
  try:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
  except OSError as error:
    raise InputError(
      f"output {str(output)!r} cannot be written: {error.strerror}; name another folder"
    ) from error
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def same_or_refused(
  output: Path, entry: str, settings: Mapping[str, Any], results: Collection[str]
) -> dict[str, Any]:
  """The summary of what is there, if its `entry` has these settings; `results` are none of them."""
  summary: Any = {}
  with contextlib.suppress(OSError, ValueError):
    summary = json.loads((output / SUMMARY).read_text())
  before = summary.get(entry) if isinstance(summary, dict) else None
  if not isinstance(before, dict):
    raise InputError(
      f"output {str(output)!r} exists and is no dataset of this command; name another folder"
    )
  same = {key: before[key] for key in before if key not in results}
  changed = differences(same, json.loads(json.dumps(settings)))
  require(
    not changed,
    f"output {str(output)!r} was made otherwise ({'; '.join(changed)}); "
    "remove it or name another folder",
  )
  return summary


def dataset_name(output: Path) -> str:
  """The folder's name as TFDS allows it."""
  flat = re.sub(r"[^a-z0-9]+", "_", output.name.lower()).strip("_")
  return flat if flat[:1].isalpha() else f"text_{flat}".rstrip("_")
