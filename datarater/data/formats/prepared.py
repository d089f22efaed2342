"""Folders of ArrayRecord files as datasets that TFDS opens by themselves, split `train`."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import (
  dataset_info,
  example_serializer,
  file_adapters,
  naming,
  splits,
  utils,
)

from datarater.data.formats.array_record import (
  FEATURES,
  FEATURES_FILE,
  INFO_FILE,
  features_of,
  number_of_records,
)
from datarater.data.formats.json_values import to_json
from datarater.data.formats.records import Row
from datarater.data.formats.shards import Shard, default_domain
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place, local_copy, place, size_of

NAME, SPLIT = "curated", "train"


def file_name(index: int, count: int) -> str:
  """How TFDS wants the file of one of `count` shards to be called."""
  return f"{NAME}-{SPLIT}.array_record-{index:05d}-of-{count:05d}"


class Encoder:
  """Rows as serialised examples of `FEATURES`."""

  def __init__(self, like: Place):
    self._features = standard_features()
    self._serializer = example_serializer.ExampleSerializer(self._features.get_serialized_info())
    self._domain = default_domain(like)

  def __call__(self, row: Row) -> bytes:
    """`fields` has all fields of the record but those that the other features hold entirely."""
    domain = row.domain or self._domain
    rest = row.values()
    for key, told in ((row.keys.text, row.text), (row.keys.id, row.id), (row.keys.domain, domain)):
      rest = _without(rest, key, told)
    example = {"text": row.text, "id": row.id, "domain": domain, "fields": to_json(rest)}
    return self._serializer.serialize_example(self._features.encode_example(example))


def _without(values: Mapping[str, Any], key: str, told: str) -> dict[str, Any]:
  """The values less the field at `key`, if it is this very string."""
  if key in values:
    return {k: v for k, v in values.items() if k != key or v != told}
  first, _, others = key.partition(".")
  child = values.get(first)
  if not others or not isinstance(child, Mapping):
    return dict(values)
  return {**values, first: _without(child, others, told)}


def standard_features() -> Any:
  """The features of datasets written here: four texts."""
  return tfds.features.FeaturesDict({name: tfds.features.Text() for name in FEATURES})


def is_prepared(shard: Shard) -> bool:
  """Whether it is an ArrayRecord file of examples, not of JSON."""
  return shard.format == "array_record" and (shard.path.parent / FEATURES_FILE).exists()


def has_standard_features(folder: Place) -> bool:
  """Whether a folder's records are what `Encoder` makes."""
  features = features_of(folder)
  return features is not None and features.to_json() == standard_features().to_json()


def same_features(shards: Sequence[Shard]) -> bool:
  """Whether the records of prepared shards can lie in one dataset."""
  folders = {str(shard.path.parent): shard.path.parent for shard in shards}
  return len({_described(folder) for folder in folders.values()}) == 1


def _described(folder: Place) -> tuple[Any, ...]:
  """The features and the names of their labels, which lie in files of their own."""
  names = sorted(p.name for p in folder.iterdir() if p.name.endswith(".labels.txt"))
  return tuple((name, (folder / name).read_bytes()) for name in (FEATURES_FILE, *names))


def write_metadata(
  folder: Place, like: Place | None, names: Sequence[str], counts: Sequence[int] | None = None
) -> None:
  """Writes what makes the files `names` in `folder` a dataset; `dataset_info.json` comes last.

  like: folder whose features the records have; None for `FEATURES`. counts: records of each file,
  which are else counted. A shard may be empty. Raises InputError for a file that is missing.
  """
  folder = place(folder)
  features = standard_features() if like is None else features_of(like)
  lengths = [_count(folder / name) for name in names] if counts is None else list(counts)
  require(
    len(lengths) == len(names), f"{len(lengths)} counts for {len(names)} files; give each one"
  )
  size = sum(_size(folder / name) for name in names)
  with tempfile.TemporaryDirectory(prefix="datarater.") as temporary:
    identity = dataset_info.DatasetIdentity(
      name=NAME, version=utils.Version("1.0.0"), data_dir=temporary, module_name=""
    )
    info = tfds.core.DatasetInfo(
      builder=identity, features=features, description="Selected by DataRater"
    )
    info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
    template = naming.ShardedFileTemplate(
      data_dir=epath.Path(temporary), dataset_name=NAME, split=SPLIT, filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(SPLIT, lengths, size, template)
    info.set_splits(splits.SplitDict([split]))
    info.write_to_directory(temporary)
    written = sorted(
      Path(temporary).iterdir(), key=lambda path: (path.name == INFO_FILE, path.name)
    )
    for path in written:
      with atomic_file(folder / path.name) as file:
        file.write(path.read_bytes())


def _count(path: Place) -> int:
  try:
    size_of(path)
    with local_copy(path) as local:
      return number_of_records(local)
  except OSError as error:
    raise InputError(
      f"shard {str(path)!r} cannot be read: {error.strerror or error}; select again"
    ) from error


def _size(path: Place) -> int:
  try:
    return size_of(path)
  except OSError as error:
    raise InputError(
      f"shard {str(path)!r} cannot be read: {error.strerror or error}; select again"
    ) from error
