"""What `select` kept, as documents: a stream, or a dataset to train on (`datasets.open_dataset`).

    for document in read_documents("curated"):
      document.id, document.text, document.domain, document.fields

A selection is known by its `run.json`; its `stats.json` says that it is complete.
"""

import dataclasses
import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from datarater.data.formats import (
  BadRecord,
  Numbering,
  Shard,
  default_domain,
  find_shards,
  read_records,
)
from datarater.data.formats.prepared import has_standard_features
from datarater.errors import InputError, require
from datarater.runtime.atomic import read_json
from datarater.runtime.places import Place, open_binary, place

RUN, STATS, KEPT, INFO = "run.json", "stats.json", "kept", "dataset_info.json"
_KEYS = {"text_key": "text", "id_key": "id", "domain_key": "domain"}
_NO_LIMIT = 1 << 62
"""Documents were measured when they were scored; what was kept is read whatever its length."""


@dataclasses.dataclass(frozen=True)
class Document:
  """A kept document. domain: its shard's name where it has none. fields: all, as they were."""

  id: str
  text: str
  domain: str
  fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Selection:
  """The folder of a finished selection. keys: `text_key`, `id_key`, `domain_key` of its input."""

  folder: Place
  keys: Mapping[str, str]

  @property
  def kept(self) -> Place:
    return self.folder / KEPT

  @property
  def is_dataset(self) -> bool:
    """Whether TFDS opens `kept` as it is."""
    return (self.kept / INFO).is_file()

  def digest(self) -> str:
    """Changes with the settings, the ratings and the counts of the selection."""
    digest = hashlib.sha256()
    for name in (RUN, STATS):
      with open_binary(self.folder / name) as file:
        digest.update(file.read() + b"\0")
    return digest.hexdigest()

  def shards(self) -> list[Shard]:
    """The files of `kept`."""
    pattern = "*.array_record*" if self.is_dataset else "**/*"
    return find_shards(f"{glob.escape(str(self.kept))}/{pattern}")


def find_selection(folder: str | Place) -> Selection | None:
  """The selection whose folder, or whose `kept`, this is; None where it is neither.

  Raises InputError for one that is not complete, or that has decisions and no documents.
  """
  where = place(folder)
  for root in (where, where.parent) if where.name == KEPT else (where,):
    if not (root / RUN).is_file():
      continue
    run = read_json(root / RUN, "run file")
    if not isinstance(run, dict) or run.get("kind") != "selection":
      continue
    require(
      (root / STATS).is_file(),
      f"selection {str(root)!r} is not complete; finish it by the same select command",
    )
    require(
      (root / KEPT).is_dir(),
      f"selection {str(root)!r} has decisions and no documents; select again with the input",
    )
    settings = run.get("settings") or {}
    return Selection(root, {key: settings.get(key, name) for key, name in _KEYS.items()})
  return None


def read_documents(
  folder: str | Place, progress: Callable[[int], object] | None = None
) -> Iterator[Document]:
  """The kept documents of a selection, shard by shard in the order of their names; constant memory.

  Ids are those of the records, which may repeat. progress: called with bytes of the files read
  since. Raises InputError where `folder` is no finished selection, and for a file that is damaged.
  """
  selection = find_selection(folder)
  if selection is None:
    raise InputError(f"folder {str(folder)!r} holds no selection; name the output of `select`")
  return _documents(selection, None, progress)


def unique_documents(
  selection: Selection, progress: Callable[[int], object] | None = None
) -> Iterator[dict[str, str]]:
  """text, id, domain and source (the shard) of the kept documents; no two have one id."""
  for shard, document in _with_shards(selection, Numbering(), progress):
    yield {
      "text": document.text,
      "id": document.id,
      "domain": document.domain,
      "source": shard.name,
    }


def _documents(
  selection: Selection,
  numbering: Numbering | None,
  progress: Callable[[int], object] | None,
) -> Iterator[Document]:
  for _, document in _with_shards(selection, numbering, progress):
    yield document


def _with_shards(
  selection: Selection,
  numbering: Numbering | None,
  progress: Callable[[int], object] | None,
) -> Iterator[tuple[Shard, Document]]:
  for shard in selection.shards():
    standard = shard.format == "array_record" and has_standard_features(shard.path.parent)
    keys = _KEYS if standard else selection.keys
    for record in read_records(
      shard.path,
      keys["text_key"],
      keys["id_key"],
      keys["domain_key"],
      numbering=numbering,
      max_record_bytes=_NO_LIMIT,
      progress=progress,
    ):
      if isinstance(record, BadRecord):
        raise InputError(
          f"kept shard {str(shard.path)!r} is damaged at row {record.number}: {record.reason}; "
          "select again into a new folder"
        )
      domain = record.domain or default_domain(shard.path)
      yield shard, Document(record.id, record.text, domain, record.values())
