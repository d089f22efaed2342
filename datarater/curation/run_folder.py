"""A curation run's folder: what it was begun with, what it is compared with, and its bar.

`run.json` names what decides the output. The same call again goes on; any other is refused, and the
message names the difference.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datarater.config import InputError, require
from datarater.config_io import differences
from datarater.data.formats import Shard, fingerprint
from datarater.runtime.atomic import read_json, write_json

RUN = "run.json"
_MOST_DIFFERENCES = 5


def check_run(output: Path, run: dict[str, Any]) -> None:
  """Raises InputError unless `output` is absent, empty, or of a run with the same settings."""
  if not output.exists():
    return
  require(output.is_dir(), f"output {str(output)!r} is a file; name a folder")
  if not (output / RUN).exists():
    require(
      all(path.name.startswith(".") for path in output.iterdir()),
      f"output {str(output)!r} holds other files and no {RUN}; name a new folder",
    )
    return
  changed = differences(read_json(output / RUN, "run file"), json.loads(json.dumps(run)))
  require(
    not changed,
    f"output {str(output)!r} was begun otherwise ({shortened(changed)}); "
    "give the same settings and inputs, or name a new folder",
  )


def begin_run(output: Path, run: dict[str, Any]) -> None:
  """Writes `run.json` unless it is there; call it with the folder locked, after `check_run`."""
  if not (output / RUN).exists():
    write_json(output / RUN, run)


def require_same_inputs(folder: Path, scored: dict[str, Any], shards: Sequence[Shard]) -> None:
  """Raises InputError unless these shards are those whose ratings are in `folder`.

  scored: the `run.json` there.
  """
  changed = differences(scored["inputs"], {shard.name: fingerprint(shard.path) for shard in shards})
  if changed:
    raise InputError(
      f"input and ratings {str(folder)!r} do not belong together ({shortened(changed)}); "
      "give the files that were scored, or score these"
    )


def shortened(changed: Sequence[str]) -> str:
  """The first few differences in one line, and how many more there are."""
  more = len(changed) - _MOST_DIFFERENCES
  return "; ".join(changed[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def with_bar(
  results: Iterable[tuple[Shard, dict[str, Any]]], shards: Sequence[Shard], verb: str, quiet: bool
) -> Iterator[tuple[Shard, dict[str, Any]]]:
  """Results as they come, and a bar of the shards' bytes that moves with each."""
  total = sum(shard.size for shard in shards)
  with tqdm(total=total, desc=verb, unit="B", unit_scale=True, disable=quiet or None) as bar:
    for shard, stats in results:
      yield shard, stats
      bar.update(shard.size)
