"""Sources of documents with random access: the bundled corpus, a prepared folder, a TFDS dataset.

Text that is not valid UTF-8 is decoded with replacement characters: one bad byte should not end a
run. A document without an id field is named by a hash of its text and its position in the split.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from datarater.data.builders.text import SUMMARY
from datarater.data.datasets import absolute_ranges, data_source, dataset_of, open_dataset
from datarater.data.datasets import check_splits as check_splits  # for callers of open_source
from datarater.data_config import SPLITS, TARGET_SPLITS, DataConfig
from datarater.errors import require

NO_DOMAIN = "all"
"""The domain of every document of a dataset that names none."""

_SCAN_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class Record:
  """One document. domain: one of its source's `domains`."""

  text: str
  id: str
  domain: str


class Source(Protocol):
  """Documents by index, 0 to `len - 1`; picklable, and safe to read from several threads."""

  @property
  def domains(self) -> tuple[str, ...]:
    """The names that may occur, sorted."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Record: ...

  def domain_index(self, index: int) -> int:
    """Index of a document's domain in `domains`."""
    ...

  def position(self, index: int) -> int:
    """Where a document stands in its split; the same in every subset."""
    ...

  def noise_level(self, index: int) -> float:
    """Fraction of a document's tokens to replace at random (`DataConfig.noise_levels`)."""
    ...

  def subset(self, indices: Sequence[int] | np.ndarray) -> "Source":
    """The documents at `indices`, in that order; they keep position, domain and noise level."""
    ...


@dataclasses.dataclass(frozen=True)
class _Fields:
  """Which features hold what. id, domain: empty where there is none. classes: of a ClassLabel."""

  text: str
  id: str
  domain: str
  classes: tuple[str, ...]

  def domain_name(self, example: dict[str, Any]) -> str:
    if not self.domain:
      return NO_DOMAIN
    value = example[self.domain]
    return self.classes[int(value)] if self.classes else _decode(value)


@dataclasses.dataclass(frozen=True)
class ExampleSource:
  """A `Source` over examples as TFDS gives them.

  records: random access to examples. positions: int64, which of them, in order.
  labels: int32, index into `domains` of every one of `records`, None where nobody had to read them.
  noise_levels: not empty for the toy only, and then `domains` are the names of the levels.
  """

  records: Any
  fields: _Fields
  domains: tuple[str, ...]
  positions: np.ndarray
  labels: np.ndarray | None = None
  noise_levels: tuple[float, ...] = ()

  def __len__(self) -> int:
    return len(self.positions)

  def __getitem__(self, index: int, /) -> Record:
    position = self.position(index)
    example = self.records[position]
    text = _decode(example[self.fields.text])
    if self.fields.id:
      name = _decode(example[self.fields.id])
    else:
      name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{position}"
    if self.noise_levels:
      return Record(text, name, noise_name(self.noise_level(index)))
    domain = self.fields.domain_name(example)
    self.index_of(domain)  # for its error
    return Record(text, name, domain)

  def position(self, index: int) -> int:
    if not 0 <= index < len(self.positions):
      raise IndexError(f"document {index} of {len(self.positions)}")
    return int(self.positions[index])

  def domain_index(self, index: int) -> int:
    if self.labels is not None and not self.noise_levels:
      return int(self.labels[self.position(index)])
    if self.noise_levels:
      return self.domains.index(noise_name(self.noise_level(index)))
    return self.index_of(self.fields.domain_name(self.records[self.position(index)]))

  def index_of(self, domain: str) -> int:
    """Index of a name in `domains`; InputError for one that the dataset's summary left out."""
    require(
      domain in self.domains,
      f"domain {domain!r} is not among {list(self.domains)}; prepare the dataset again",
    )
    return self.domains.index(domain)

  def noise_level(self, index: int) -> float:
    if not self.noise_levels:
      return 0.0
    return self.noise_levels[self.position(index) % len(self.noise_levels)]

  def subset(self, indices: Sequence[int] | np.ndarray) -> "ExampleSource":
    return dataclasses.replace(self, positions=self.positions[np.asarray(indices, np.int64)])


def noise_name(level: float) -> str:
  """The domain of documents of a noise level: `noise_0.25`."""
  return f"noise_{level:g}"


def open_source(config: DataConfig, split: str) -> Source:
  """Opens one of `SPLITS` of a data config: its domains chosen, its noise levels set.

  Raises InputError for a dataset, split, feature or domain that does not exist, or no documents.
  """
  require(split in SPLITS, f"split {split!r}; give one of {', '.join(SPLITS)}")
  name = dataset_of(config, split)
  builder = open_dataset(name)
  expression = getattr(config, split)
  absolute_ranges(builder, expression, split)  # for its errors, which name the field
  fields = _fields(builder, config)
  records = data_source(builder, expression, name)
  source = ExampleSource(
    records, fields, _known_domains(builder, fields) or (), np.arange(len(records), dtype=np.int64)
  )
  pool = split not in TARGET_SPLITS
  wanted = (config.target_domain,) if config.target_domain and not pool else ()
  excluded = config.exclude_domains if pool else ()
  if wanted or excluded or not source.domains:
    require(
      bool(fields.domain),
      f"dataset {name!r} has no feature {config.domain_key!r}, so target_domain and "
      f"exclude_domains cannot choose; set domain_key to one of {_feature_names(builder)}",
    )
    source = _choose_domains(source, wanted, excluded, f"{split} {expression!r} of {name!r}")
  return _with_noise(source, config.noise_levels) if pool else source


def source_of(records: Sequence[Record], noise_levels: tuple[float, ...] = ()) -> Source:
  """A source of documents that are in memory already."""
  examples = [dataclasses.asdict(record) for record in records]
  domains = tuple(sorted({record.domain for record in records}))
  fields = _Fields("text", "id", "domain", ())
  source = ExampleSource(examples, fields, domains, np.arange(len(records), dtype=np.int64))
  return _with_noise(source, noise_levels)


def _with_noise(source: ExampleSource, levels: tuple[float, ...]) -> ExampleSource:
  if not levels:
    return source
  domains = tuple(sorted({noise_name(level) for level in levels}))
  return dataclasses.replace(source, domains=domains, noise_levels=levels)


def _choose_domains(
  source: ExampleSource, wanted: tuple[str, ...], excluded: tuple[str, ...], what: str
) -> ExampleSource:
  """Reads every record's domain; keeps the wanted ones (none given: all), less the excluded."""
  found, labels = _scan_domains(source.records, source.fields, f"domains of {what}")
  known = {*source.domains, *found}
  for field, names in (("target_domain", wanted), ("exclude_domains", excluded)):
    missing = sorted(set(names) - known)
    require(not missing, f"{field} {missing} not in {what}; choose among {sorted(known)}")
  domains = tuple(d for d in found if d not in excluded and (not wanted or d in wanted))
  require(bool(domains), f"{what} has no documents of the chosen domains; choose others")
  # -1 marks a domain that is left out.
  renumbered = [domains.index(d) if d in domains else -1 for d in found]
  labels = np.array(renumbered, np.int32)[labels]
  positions = np.flatnonzero(labels >= 0).astype(np.int64)
  return dataclasses.replace(source, domains=domains, positions=positions, labels=labels)


def _feature_names(builder: Any) -> list[str]:
  return sorted(builder.info.features)


def _fields(builder: Any, config: DataConfig) -> _Fields:
  """Checks the keys of a config against a dataset's features; only the defaults may be absent."""
  features = builder.info.features
  for key in ("text_key", "id_key", "domain_key"):
    value = getattr(config, key)
    optional = key != "text_key" and value == getattr(DataConfig, key)
    require(
      optional or value in features,
      f"{key} {value!r} is not a feature of {builder.info.full_name}; choose among "
      f"{_feature_names(builder)}",
    )
  domain = config.domain_key if config.domain_key in features else ""
  label = features[domain] if domain else None
  return _Fields(
    text=config.text_key,
    id=config.id_key if config.id_key in features else "",
    domain=domain,
    classes=tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else (),
  )


def _known_domains(builder: Any, fields: _Fields) -> tuple[str, ...] | None:
  """Domain names as a dataset states them, None where only its records tell."""
  if not fields.domain:
    return (NO_DOMAIN,)
  if fields.classes:
    return tuple(sorted(fields.classes))
  summary = Path(builder.data_path) / SUMMARY
  if fields.domain == "domain" and summary.is_file():
    return tuple(json.loads(summary.read_text())["domains"])
  return None


def _scan_domains(records: Any, fields: _Fields, what: str) -> tuple[tuple[str, ...], np.ndarray]:
  """Reads every record: the sorted names that occur, and each record's index among them."""
  order: dict[str, int] = {}
  labels = np.empty(len(records), np.int32)
  with tqdm(total=len(records), desc=what, unit=" documents", delay=1.0) as bar:
    for start in range(0, len(records), _SCAN_BLOCK):
      block = range(start, min(start + _SCAN_BLOCK, len(records)))
      for i, example in zip(block, records.__getitems__(list(block)), strict=True):
        labels[i] = order.setdefault(fields.domain_name(example), len(order))
      bar.update(len(block))
  names = tuple(sorted(order))
  rank = np.array([names.index(name) for name in order], np.int32)
  return names, rank[labels]


def _decode(value: Any) -> str:
  """Text of a feature: bytes are UTF-8, a scalar of another type becomes its string."""
  return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
