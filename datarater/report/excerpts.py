"""The beginnings of some documents of a rated corpus, read from the shards that hold them alone."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from datarater.curation.candidates import side_batches
from datarater.data.formats import Row, Shard, find_shards, fingerprint, id_base, read_records
from datarater.errors import InputError, require
from datarater.runtime.places import Place

Inputs = str | Path | Sequence[str | Path]

_PATIENCE = 1.0  # s until a bar shows


@dataclasses.dataclass(frozen=True)
class Document:
  """A document's name and place; text: its first characters, as they are, of `characters`."""

  id: str
  shard: str
  row: int
  text: str
  characters: int


@dataclasses.dataclass(frozen=True)
class Scored:
  """A finished scoring run. run: its `run.json`. names, side_files: its shards, F of them.

  bounds: int64 [F+1], the index of each shard's first document, and how many there are.
  """

  run: dict[str, Any]
  names: Sequence[str]
  side_files: Sequence[Place]
  bounds: np.ndarray


def read_documents(
  scored: Scored, at: np.ndarray, inputs: Inputs, width: int, quiet: bool
) -> dict[int, Document]:
  """The documents at these indices [M], rising, by index; the first `width` characters of each.

  inputs: the corpus that was scored. Shards are read up to the last row that is needed. Raises
  InputError where corpus and ratings do not belong together.
  """
  shards = {shard.name: shard for shard in find_shards(inputs)}
  edges = np.searchsorted(at, scored.bounds)
  needed = [
    (
      _shard_of(name, shards, scored.run),
      _labels(path, at[start:stop], int(first)),
    )
    for name, path, first, start, stop in zip(
      scored.names, scored.side_files, scored.bounds[:-1], edges[:-1], edges[1:], strict=True
    )
    if stop > start
  ]
  found: dict[int, Document] = {}
  size = sum(shard.size for shard, _ in needed)
  with bar(size, "reading documents", "B", quiet) as progress:
    for shard, labels in needed:
      found |= _read(shard, labels, scored.run["settings"], width, progress)
  return found


@contextlib.contextmanager
def bar(total: int, what: str, unit: str, quiet: bool) -> Iterator[Callable[[int], object]]:
  """A function that moves a bar, which shows on a terminal where it takes long."""
  with tqdm(
    total=total, desc=what, unit=unit, unit_scale=True, disable=quiet or None, delay=_PATIENCE
  ) as shown:
    yield shown.update


def _shard_of(name: str, shards: dict[str, Shard], run: dict[str, Any]) -> Shard:
  """The shard of the corpus that was rated under this name."""
  require(
    name in shards,
    f"input has no shard {name!r}, which was rated, but {', '.join(map(repr, list(shards)[:3]))}; "
    "give the files that were scored",
  )
  require(
    fingerprint(shards[name].path) == run["inputs"][name],
    f"input {name!r} has changed since it was rated; give the file that was scored",
  )
  return shards[name]


def _labels(path: Place, at: np.ndarray, first: int) -> dict[int, tuple[int, str, list[str]]]:
  """row in the shard -> (index, id, flags) of the documents `at`; first: index of row 0 here."""
  labels: dict[int, tuple[int, str, list[str]]] = {}
  for table in side_batches(path, ["id", "row", "flags"]):
    here = at[(at >= first) & (at < first + len(table))]
    some = table.take(pa.array(here - first))
    columns = (some[name].to_pylist() for name in ("row", "id", "flags"))
    for index, row, name, flags in zip(here.tolist(), *columns, strict=True):
      labels[row] = (index, name, flags)
    first += len(table)
    if first > at[-1]:
      break
  return labels


def _read(
  shard: Shard,
  labels: dict[int, tuple[int, str, list[str]]],
  settings: dict[str, Any],
  width: int,
  progress: Callable[[int], object],
) -> dict[int, Document]:
  found: dict[int, Document] = {}
  records = read_records(
    shard.path,
    settings["text_key"],
    settings["id_key"],
    settings["domain_key"],
    whole=False,
    limit=max(labels) + 1,
    max_record_bytes=int(settings["max_record_mib"] * (1 << 20)),
    progress=progress,
  )
  for record in records:
    if record.number not in labels:
      continue
    index, name, flags = labels[record.number]
    if not isinstance(record, Row) or id_base(record.id, record.flags) != id_base(name, flags):
      break
    text = record.text
    found[index] = Document(name, shard.name, record.number, text[:width], len(text))
  if len(found) < len(labels):
    raise InputError(
      f"input {shard.name!r} and its ratings do not belong together: row "
      f"{min(row for row, (index, *_) in labels.items() if index not in found)} is another "
      "document; give the files that were scored"
    )
  return found
