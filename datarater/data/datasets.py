"""Opening datasets by what a config calls them, and the ranges its split expressions mean."""

import contextlib
import hashlib
import itertools
import json
import lzma
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from datarater.data.builders.text import Documents, prepare_dataset
from datarater.data.curated import Selection, find_selection, unique_documents
from datarater.data_config import SPLITS, TARGET_SPLITS, DataConfig
from datarater.errors import InputError, require
from datarater.runtime.places import place

BUNDLED = Path(__file__).parent / "bundled" / "corpus.jsonl.xz"
CACHE_VARIABLE = "DATARATER_CACHE"

_LAYOUT = b"1"
"""Part of the cache's key: raise it when `prepare_dataset` writes something else."""


def dataset_of(config: DataConfig, split: str) -> str:
  """Name of the dataset that a split of the config comes from."""
  return (config.target_dataset or config.dataset) if split in TARGET_SPLITS else config.dataset


def check_splits(config: DataConfig, splits: Sequence[str] = SPLITS) -> None:
  """Raises InputError, naming the fields, for splits that are missing, empty or overlap.

  Two splits overlap where they share a record of one dataset, whatever domains are chosen later.
  """
  ranges = []
  builders = {name: open_dataset(name) for name in {dataset_of(config, s) for s in splits}}
  for split in splits:
    builder = builders[dataset_of(config, split)]
    for name, start, stop in absolute_ranges(builder, getattr(config, split), split):
      ranges.append((split, str(builder.data_path), name, start, stop))
  for (a, *where_a, start_a, stop_a), (b, *where_b, start_b, stop_b) in itertools.combinations(
    ranges, 2
  ):
    shared = min(stop_a, stop_b) - max(start_a, start_b)
    require(
      where_a != where_b or shared <= 0,
      f"{a} {getattr(config, a)!r} and {b} {getattr(config, b)!r} share {shared} records; "
      "give splits that do not overlap",
    )


def absolute_ranges(builder: Any, expression: str, field: str) -> list[tuple[str, int, int]]:
  """(split, first, past the last) of each part of a split expression."""
  splits = builder.info.splits
  try:
    parts = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
  except ValueError as error:
    raise InputError(
      f"{field} {expression!r} is not in dataset {builder.info.full_name}: {error}; "
      f"give an expression over its splits {sorted(splits)}, such as train[:10%]"
    ) from error
  ranges = []
  for part in parts:
    total = splits[part.splitname].num_examples
    ranges.append(
      (part.splitname, part.from_ or 0, min(total, total if part.to is None else part.to))
    )
  require(
    any(stop > start for _, start, stop in ranges),
    f"{field} {expression!r} of dataset {builder.info.full_name} is empty; widen it",
  )
  return ranges


def open_dataset(name: str) -> Any:
  """The TFDS builder of `bundled`, of a prepared folder, of what `select` kept (split `train`), or
  of a TFDS name that is prepared.
  """
  if name == "bundled":
    return tfds.builder_from_directory(_bundled_folder())
  selection = find_selection(os.path.expanduser(name))
  if selection is not None:
    return tfds.builder_from_directory(_curated_folder(selection))
  folder = place(os.path.expanduser(name))
  if not isinstance(folder, Path):
    raise InputError(
      f"dataset {name!r} is no selection; of remote folders only what `select` wrote is read"
    )
  if (folder / "dataset_info.json").is_file():
    try:
      return tfds.builder_from_directory(folder)
    except Exception as error:
      raise InputError(
        f"dataset folder {name!r} cannot be read: {error}; prepare it again"
      ) from error
  require(
    not folder.is_dir(),
    f"dataset folder {name!r} has no dataset_info.json; prepare it with `datarater data prepare`",
  )
  with contextlib.suppress(ImportError):
    import tensorflow_datasets.text  # noqa: F401 (C4 registers only here)
  try:
    builder = tfds.builder(name)
  except Exception as error:
    reason = str(error).strip().splitlines()[0]
    raise InputError(
      f"dataset {name!r} cannot be opened: {reason} Give `bundled`, the folder of a prepared "
      "dataset, or a TFDS name such as c4/en:3.1.0"
    ) from error
  require(
    bool(builder.info.splits),
    f"dataset {name!r} is not prepared in {builder.data_dir}; prepare it with "
    f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()",
  )
  return builder


def data_source(builder: Any, expression: str, name: str) -> Any:
  """Random access to the examples of a split expression; InputError for other file formats."""
  formats = tfds.core.FileFormat.with_random_access()
  require(
    bool(formats & builder.info.available_file_formats()),
    f"dataset {name!r} is not stored in a format with random access; prepare it again with "
    "file_format='array_record', or with `datarater data prepare`",
  )
  return builder.as_data_source(split=expression)


def cache_folder() -> Path:
  """Where prepared data is kept for this user; the environment's DATARATER_CACHE overrides it."""
  return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/datarater").expanduser()


def _bundled_folder() -> Path:
  """The bundled corpus, prepared on first use. Of two processes at once, the first one wins."""
  require(
    BUNDLED.is_file(), f"the bundled corpus {BUNDLED.name} is missing; install datarater again"
  )
  compressed = BUNDLED.read_bytes()
  folder = cache_folder() / hashlib.sha256(_LAYOUT + compressed).hexdigest()[:16]
  if (folder / "dataset_info.json").is_file():
    return folder
  splits: dict[str, list[dict[str, str]]] = {}
  for line in lzma.decompress(compressed).splitlines():
    document = json.loads(line)
    splits.setdefault(document["split"], []).append(document)
  documents = {split: (lambda split=split: splits[split]) for split in splits}
  return _prepared_once(documents, folder, "bundled", "the bundled corpus")


def _curated_folder(selection: Selection) -> Path:
  """What a selection kept, as a dataset: its own folder, or the cache, prepared on first use."""
  if selection.is_dataset and isinstance(selection.kept, Path):
    return selection.kept
  key = hashlib.sha256(_LAYOUT + selection.digest().encode()).hexdigest()[:16]
  folder = cache_folder() / f"curated-{key}"
  if (folder / "dataset_info.json").is_file():
    return folder
  require(
    any(True for _ in unique_documents(selection)),
    f"selection {str(selection.folder)!r} keeps no documents; select with another rule",
  )
  documents = {"train": lambda: unique_documents(selection)}
  return _prepared_once(documents, folder, "curated", f"the selection {str(selection.folder)!r}")


def _prepared_once(documents: Mapping[str, Documents], folder: Path, name: str, what: str) -> Path:
  """The folder, in which the dataset is made unless it is there. Of two processes at once, the
  first one wins.
  """
  print(f"preparing {what} in {folder}", file=sys.stderr)
  try:
    prepare_dataset(documents, folder, name)
  except InputError:
    if not (folder / "dataset_info.json").is_file():
      raise
  return folder
