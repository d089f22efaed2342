"""Writes documents as a prepared TFDS dataset: array_record files, with no TensorFlow.

TFDS's own writer holds a split in memory up to 1 GB and needs TensorFlow beyond that, for files on
disk. `TextBuilder` therefore shuffles by itself: each record goes to one of `BUCKETS` files by a
hash of its id, then each bucket is sorted in memory. The order depends on the ids and the split's
name alone, so percentages of a split (`train[:10%]`) are fair samples, and the same documents give
the same files.
"""

import contextlib
import hashlib
import io
import json
import re
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters
from tqdm import tqdm

from datarater.errors import InputError, require

Documents = Callable[[], Iterable[Mapping[str, str]]]
"""Makes an iterable of documents: `text` and `id`; `domain` and `source` where they are known."""

FEATURES = ("text", "id", "domain", "source")
SUMMARY = "datarater.json"
BUCKETS = 256
"""Files open while a split is shuffled; one bucket, a 256th of the split, must fit in memory."""

SHARD_BYTES = 512 << 20
_DIGEST = 16
_HEADER = struct.Struct(f"<{_DIGEST}sQQ")
"""Hash, and lengths of the id and of the serialised example."""


class TextBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Text documents under any split names, from callables instead of downloads.

  `summary`: documents, UTF-8 bytes and documents of each domain by split, once it has prepared.
  """

  VERSION = tfds.core.Version("1.0.0")
  # Nothing is downloaded, so TFDS need not look for checksums beside this file.
  code_path: Any = None

  def __init__(
    self, splits: Mapping[str, Documents], name: str, progress: bool = True, **kwargs: Any
  ):
    self.name: Any = name  # pyright: ignore[reportAttributeAccessIssue]
    self.summary: dict[str, Any] = {}
    self._documents = splits
    self._progress = progress
    super().__init__(file_format="array_record", **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    # The usual dataset_info_from_configs reads metadata beside the source file; there is none here.
    features = tfds.features.FeaturesDict({key: tfds.features.Text() for key in FEATURES})
    return tfds.core.DatasetInfo(builder=self, features=features, description="Text for DataRater")

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
    return {split: self._generate_examples(split) for split in self._documents}

  def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, bytes]]]:  # pyright: ignore[reportIncompatibleMethodOverride]
    """Yields (id, example) and counts. A lone surrogate, which UTF-8 cannot hold, becomes `?`."""
    domains: Counter[str] = Counter()
    counts: dict[str, Any] = {"documents": 0, "bytes": 0, "domains": {}}
    bar = tqdm(
      self._documents[split](),
      desc=f"writing {split}",
      unit=" documents",
      disable=not self._progress,
    )
    for document in bar:
      for key in ("text", "id"):
        require(
          isinstance(document.get(key), str),
          f"document {counts['documents']} of split {split!r} has {document.get(key)!r} "
          f"for {key!r}; give a string",
        )
      example = {key: str(document.get(key, "")).encode("utf-8", "replace") for key in FEATURES}
      counts["documents"] += 1
      counts["bytes"] += len(example["text"])
      domains[example["domain"].decode()] += 1
      yield document["id"], example
    counts["domains"] = dict(sorted(domains.items()))
    self.summary[split] = counts

  def _generate_splits(
    self, dl_manager: Any, download_config: Any
  ) -> Sequence[tfds.core.SplitInfo]:
    features: Any = self.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    infos = []
    for split, examples in self._split_generators(dl_manager).items():
      records = (
        (key, serializer.serialize_example(features.encode_example(example)))
        for key, example in examples
      )
      template = self._get_filename_template(split)
      lengths, size = _write_split(split, records, template, Path(self.data_path))
      infos.append(tfds.core.SplitInfo(split, lengths, size, template))
    return infos


def prepare_dataset(
  splits: Mapping[str, Documents],
  output: Path,
  name: str,
  extra: Mapping[str, Any] | None = None,
  progress: bool = True,
) -> dict[str, Any]:
  """Writes a dataset whose folder is `output`, which is whole or absent, and returns its summary.

  splits: documents by split; each iterable is run through once, a bounded part of it in memory.
  extra: further entries of `datarater.json`, read after all documents were, so that a caller may
    count into it while its iterables run.
  Returns `datarater.json`: name, splits (documents, bytes and domains of each), domains, `extra`.
  Raises InputError for an output that exists, no split, an empty one, a bad name, a repeated id.
  """
  output = Path(output)
  require(not output.exists(), f"output {str(output)!r} exists; remove it or name another folder")
  require(bool(splits), "no splits to prepare; give documents for one split or more")
  require(
    re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None,
    f"dataset name {name!r}; give lower-case letters, digits and underscores, a letter first",
  )
  for split in splits:
    require(
      re.fullmatch(r"\w+", split) is not None,
      f"split name {split!r}; give letters, digits and underscores",
    )
  output.parent.mkdir(parents=True, exist_ok=True)
  # Beside the output, so that the rename stays within one file system and is atomic.
  temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
  try:
    builder = TextBuilder(splits, name, progress, data_dir=str(temporary))
    # TFDS prints; our standard output is the caller's.
    with contextlib.redirect_stdout(sys.stderr if progress else io.StringIO()):
      builder.download_and_prepare()
    domains = sorted(
      {domain for counts in builder.summary.values() for domain in counts["domains"]}
    )
    summary = {"name": name, "splits": builder.summary, "domains": domains, **(extra or {})}
    (Path(builder.data_path) / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    try:
      Path(builder.data_path).rename(output)
    except OSError as error:
      raise InputError(
        f"output {str(output)!r} appeared while it was being written ({error}); name another folder"
      ) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return summary


def _write_split(
  split: str, records: Iterable[tuple[str, bytes]], template: Any, folder: Path
) -> tuple[list[int], int]:
  """Shuffles (id, serialised example) pairs by hash; returns records of each shard, and bytes."""
  with tempfile.TemporaryDirectory(prefix="shuffle.", dir=folder) as buckets:
    number, size = _fill_buckets(split, records, Path(buckets))
    require(number > 0, f"split {split!r} has no documents; leave it out or give it some")
    shards = min(number, -(-size // SHARD_BYTES))
    bounds = [number * shard // shards for shard in range(shards + 1)]
    ordered = _read_buckets(split, Path(buckets))
    adapter = file_adapters.ADAPTER_FOR_FORMAT[file_adapters.FileFormat.ARRAY_RECORD]
    lengths = [bounds[shard + 1] - bounds[shard] for shard in range(shards)]
    for shard, length in enumerate(lengths):
      # zip asks the range first, so it takes no record that belongs to the next shard.
      records_of_shard = (record for _, record in zip(range(length), ordered, strict=False))
      path = template.sharded_filepath(shard_index=shard, num_shards=shards)
      adapter.write_examples(path, records_of_shard)
    # Reads what is left, nothing, so that a repeated id at the very end is noticed as well.
    require(next(ordered, None) is None, f"split {split!r} changed while it was being shuffled")
  return lengths, size


def _fill_buckets(
  split: str, records: Iterable[tuple[str, bytes]], folder: Path
) -> tuple[int, int]:
  """Appends each record to its bucket: hash, two lengths, id, bytes. Returns records and bytes."""
  number = size = 0
  with contextlib.ExitStack() as stack:
    files = [stack.enter_context((folder / str(i)).open("wb")) for i in range(BUCKETS)]
    for key, record in records:
      name = key.encode("utf-8", "replace")
      digest = hashlib.blake2b(split.encode() + b"\0" + name, digest_size=_DIGEST).digest()
      file = files[digest[0] * BUCKETS // 256]
      file.write(_HEADER.pack(digest, len(name), len(record)) + name + record)
      number += 1
      size += len(record)
  return number, size


def _read_buckets(split: str, folder: Path) -> Iterator[tuple[bytes, bytes]]:
  """Yields (hash, record) in the order of the hashes; an id given twice raises InputError."""
  for i in range(BUCKETS):
    content = memoryview((folder / str(i)).read_bytes())
    entries, at = [], 0
    while at < len(content):
      digest, name_length, record_length = _HEADER.unpack_from(content, at)
      middle = at + _HEADER.size + name_length
      entries.append((digest, at + _HEADER.size, middle, middle + record_length))
      at = middle + record_length
    entries.sort()
    previous = b""
    for digest, start, middle, end in entries:
      if digest == previous:
        name = bytes(content[start:middle]).decode()
        raise InputError(f"id {name!r} is given twice in split {split!r}; make the ids differ")
      previous = digest
      yield digest, bytes(content[middle:end])
