"""ArrayRecord: files of a TFDS-prepared dataset, decoded without TensorFlow, or JSON records.

A file whose folder has `features.json` holds serialised examples of these features. In any other
each record is one JSON object, as a line of JSON lines is.
"""

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from datarater.data.formats.records import BadRecord, Reading, Record, lookup, make_row, parse_json
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_path, explained
from datarater.runtime.places import Place, local_copy, open_binary, size_of

FEATURES_FILE, INFO_FILE = "features.json", "dataset_info.json"
FEATURES = ("text", "id", "domain", "fields")
"""Features of datasets that are written here; `fields` is JSON, all other fields of the record."""

# One thread reads ahead; the default of 16 MiB a thread would be most of a small process's memory.
_READ_OPTIONS = "readahead_buffer_size:4194304,max_parallelism:1"
_WRITE_OPTIONS = "group_size:1"  # random access to single records, as TFDS writes
_REPORT_EVERY = 256
_BROKEN = "broken array_record"


def read_array_record(path: Place, reading: Reading) -> Iterator[Record]:
  """One record a document, in order. A remote file is copied to a local one first."""
  with open_binary(path):
    pass  # the reader takes a missing file for a broken one
  parse = _parser(path, reading)
  with local_copy(path) as local:
    size, reported, number = size_of(local), 0, 0
    reader = array_record_module.ArrayRecordReader(str(local), _READ_OPTIONS)
    try:
      if not reader.ok():
        yield BadRecord(0, _BROKEN, "its end, where it lists its records, is missing", rest=True)
        return
      total = reader.num_records()
      for number in range(total):
        try:
          content = reader.read()
        except (RuntimeError, IndexError) as error:
          yield BadRecord(number, _BROKEN, str(error), rest=True)
          return
        yield parse(number, content)
        if reading.progress and number % _REPORT_EVERY == 0:
          now = size * (number + 1) // total
          reading.progress(now - reported)
          reported = now
      if reading.progress:
        reading.progress(size - reported)
    finally:
      with contextlib.suppress(RuntimeError):
        reader.close()


def _parser(path: Place, reading: Reading) -> Callable[[int, bytes], Record]:
  features = features_of(path.parent)
  if features is None:
    return lambda number, content: parse_json(number, content, reading, what="record")
  return functools.partial(_parse_example, features, reading)


def _parse_example(features: Any, reading: Reading, number: int, content: bytes) -> Record:
  if len(content) > reading.max_bytes:
    return BadRecord.too_long(number, len(content), reading.max_bytes, content, content)
  try:
    values = decode(features, content)
  except Exception as error:  # protobuf, or a feature of TFDS, each with errors of its own
    return BadRecord(number, "broken example", str(error), content, content)
  if isinstance(lookup(values, reading.keys.text), bytes):
    return BadRecord(number, "invalid UTF-8", f"feature {reading.keys.text}", content, content)
  load = functools.partial(decode, features, content)
  return make_row(number, values, reading, content, load, content)


def decode(features: Any, content: bytes) -> dict[str, Any]:
  """An example's features as Python values: strings where they are UTF-8, else bytes; class labels
  by name; `fields` of a dataset written here as the object that it spells.
  """
  example = features.deserialize_example_np(content)
  values = {name: _plain(value, features[name]) for name, value in example.items()}
  if tuple(sorted(values)) == tuple(sorted(FEATURES)):
    with contextlib.suppress(ValueError, TypeError, RecursionError):
      values["fields"] = json.loads(values["fields"])
  return values


def _plain(value: Any, feature: Any) -> Any:
  if isinstance(value, bytes):
    try:
      return value.decode()
    except UnicodeDecodeError:
      return value
  if isinstance(feature, tfds.features.ClassLabel) and feature.names:
    return feature.int2str(int(value)) if int(value) >= 0 else None
  if isinstance(value, dict):
    children = feature if isinstance(feature, tfds.features.FeaturesDict) else {}
    return {name: _plain(v, children[name] if children else None) for name, v in value.items()}
  if hasattr(value, "tolist"):  # NumPy scalars and arrays
    return _plain(value.tolist(), None)
  if isinstance(value, int | float | str | bool | type(None)):
    return value
  return [_plain(child, None) for child in value]  # lists, and nested datasets


def features_of(folder: Place) -> Any:
  """The TFDS features that a folder's records have, or None where it is no prepared dataset.

  Raises InputError where they cannot be read.
  """
  if not (folder / FEATURES_FILE).exists():
    require(
      not (folder / INFO_FILE).exists(),
      f"dataset folder {str(folder)!r} has {INFO_FILE} and no {FEATURES_FILE}; prepare it again",
    )
    return None
  try:
    with _local_folder(folder) as local:
      return tfds.features.FeatureConnector.from_config(str(local))
  except Exception as error:
    raise InputError(
      f"{str(folder / FEATURES_FILE)!r} cannot be read: {error}; prepare the dataset again"
    ) from error


@contextlib.contextmanager
def _local_folder(folder: Place) -> Iterator[Path]:
  """The folder, or a copy of its metadata (features, names of labels), which TFDS reads by name."""
  if isinstance(folder, Path):
    yield folder
    return
  with tempfile.TemporaryDirectory(prefix="datarater.") as temporary:
    for path in folder.iterdir():
      if path.name.endswith((".json", ".txt")):
        (Path(temporary) / path.name).write_bytes(path.read_bytes())
    yield Path(temporary)


class RecordWriter:
  """Appends records to an ArrayRecord file."""

  def __init__(self, path: Path):
    self._path, self.number = path, 0
    with _write_errors(path):
      self._writer = array_record_module.ArrayRecordWriter(str(path), _WRITE_OPTIONS)

  def append(self, content: bytes) -> None:
    with _write_errors(self._path):
      self._writer.write(content)
    self.number += 1

  def close(self, check: bool = True) -> None:
    """check: look whether all records arrived; the library is quiet about a full disk."""
    if not check:
      with contextlib.suppress(RuntimeError):
        self._writer.close()
      return
    with _write_errors(self._path):
      self._writer.close()
    found = number_of_records(self._path)
    if found != self.number:
      raise InputError(
        f"{str(self._path)!r} cannot be written: {found} of {self.number} records arrived; "
        "free space or name another place, and start the same command again"
      )


def number_of_records(path: Path) -> int:
  """Records in a local file; 0 in a broken one."""
  reader = array_record_module.ArrayRecordReader(str(path), _READ_OPTIONS)
  try:
    return reader.num_records()
  finally:
    with contextlib.suppress(RuntimeError):
      reader.close()


@contextlib.contextmanager
def open_records(path: Place) -> Iterator[RecordWriter]:
  """A `RecordWriter` to a file that appears when the context ends well."""
  with atomic_path(path) as partial:
    with explained(path):
      partial.touch()  # says clearly what the library would say by its own codes
    writer = RecordWriter(partial)
    try:
      yield writer
    except BaseException:
      writer.close(check=False)
      raise
    writer.close()


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
  try:
    yield
  except (RuntimeError, OSError) as error:
    raise InputError(
      f"{str(path)!r} cannot be written: {error}; free space or name another place, and start the "
      "same command again"
    ) from error
