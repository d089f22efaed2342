"""From a source to batches: endless and resumable for training, finite and in order for evaluation.

Training goes through Grain alone: documents in a shuffled order that differs by epoch, each process
its share of them; cut into chunks; chunks shuffled within a window; packed first-fit into rows.
The iterator's state is small (positions, no text), so restoring reads the current window again.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from grain.experimental import (
  FirstFitPackIterDataset,
  FlatMapIterDataset,
  FlatMapTransform,
  ThreadPrefetchIterDataset,
  WindowShuffleIterDataset,
)

from datarater.data.corruption import corrupt
from datarater.data.packing import Chunk, assemble, cut, first_fit
from datarater.data.sources import Source
from datarater.data.tokenizers import Tokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError, require
from datarater.types import Batch

READ_THREADS = 4
READ_AHEAD = 64
"""Documents read and tokenised ahead of the packing."""

BATCHES_AHEAD = 8
"""Batches made ahead in a thread, so that input overlaps with compute."""

_NOISE_SEED = 0
"""The toy's noise belongs to the data, not to a run: every run sees the same noisy documents."""


@dataclasses.dataclass(frozen=True)
class Cutter:
  """Chunks of document `index` of a source: its tokens, with the toy's noise, in pieces."""

  source: Source
  tokenizer: Tokenizer
  length: int

  def __call__(self, index: int) -> list[Chunk]:
    record = self.source[index]
    tokens = self.tokenizer.encode(record.text)
    level = self.source.noise_level(index)
    separator = self.tokenizer.separator_id
    if level:
      position = self.source.position(index)
      tokens = corrupt(tokens, level, self.tokenizer.vocab_size, separator, _NOISE_SEED, position)
    size = len(record.text.encode("utf-8", "replace"))
    domain = self.source.domains.index(record.domain)
    return cut(tokens, separator, self.length, size, index, domain)


def train_loader(
  source: Source,
  tokenizer: Tokenizer,
  config: DataConfig,
  rows: int,
  seed: int,
  shard: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator[Batch]:
  """Endless batches of exactly `rows` packed rows, numpy arrays [rows, L] and [rows, S].

  shard: (process index, process count); the shares of an epoch are disjoint and cover the source.
  `get_state()` is plain JSON values, `set_state` continues bit for bit, `close()` ends the threads.
  Raises InputError for an empty source or shard; iterating raises it if no document has any text.
  """
  index, count = shard
  require(rows >= 1, f"rows is {rows}; give 1 or more")
  require(0 <= index < count, f"shard is {shard}; give (index, count) with 0 <= index < count")
  require(len(source) > 0, "the source has no documents; choose another split or other domains")
  # One seed a transformation, far apart: Grain adds the number of the epoch or window to it.
  order, window = (int(s) >> 1 for s in np.random.SeedSequence(seed).generate_state(2))
  documents = (
    grain.MapDataset.source(range(len(source)))
    .seed(order)
    .shuffle()
    .repeat()[index::count]
    .map(Cutter(source, tokenizer, config.length))
    .to_iter_dataset(grain.ReadOptions(READ_THREADS, READ_AHEAD))
  )
  chunks = FlatMapIterDataset(documents, _Elements(len(source)))
  chunks = WindowShuffleIterDataset(chunks, window_size=config.shuffle_window, seed=window)
  packed = FirstFitPackIterDataset(
    chunks,
    length_struct={"tokens": config.length},
    num_packing_bins=rows,
    shuffle_bins=False,
    meta_features=("about",),
    max_sequences_per_bin=config.segments,
  )
  batches = packed.batch(rows, batch_fn=_Stack(config.segments))
  return iter(ThreadPrefetchIterDataset(batches, prefetch_buffer_size=BATCHES_AHEAD))


class _Elements(FlatMapTransform):
  """Chunks as the elements that Grain packs: `tokens`, and `about` = document, domain, bytes."""

  max_fan_out = 1 << 40  # Grain reads it for MapDatasets alone

  def __init__(self, documents: int):
    self._documents = documents
    self._empty = 0

  def flat_map(self, element: list[Chunk]) -> list[dict[str, np.ndarray]]:
    # Twice the source in a row without text: any share of an epoch has been through by then.
    self._empty = 0 if element else self._empty + 1
    if self._empty > 2 * self._documents:
      raise InputError("no document of the source has any text; choose another split or text_key")
    return [{"tokens": chunk.tokens, "about": np.array(chunk[1:], np.int32)} for chunk in element]


@dataclasses.dataclass(frozen=True)
class _Stack:
  """Rows as Grain packs them → Batch."""

  segments: int

  def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
    about = np.full((len(rows), self.segments, 3), (-1, -1, 0), np.int32)
    for row, element in zip(about, rows, strict=True):
      row[: len(element["about"])] = element["about"]
    return Batch(
      tokens_BxL=np.stack([row["tokens"] for row in rows]),
      segment_ids_BxL=np.stack([row["tokens_segment_ids"] for row in rows]),
      positions_BxL=np.stack([row["tokens_positions"] for row in rows]),
      document_ids_BxS=np.ascontiguousarray(about[..., 0]),
      domain_BxS=np.ascontiguousarray(about[..., 1]),
      bytes_BxS=np.ascontiguousarray(about[..., 2]),
    )


def evaluation_batches(
  source: Source,
  tokenizer: Tokenizer,
  config: DataConfig,
  rows: int,
  max_rows_by_domain: int | Mapping[str, int] = 0,
) -> Iterator[Batch]:
  """Every document once and in order, in batches of `rows` rows; the last ends in empty rows.

  max_rows_by_domain: at most as many tokens of each domain as this many full rows hold (0: all), or
  a number for each domain, in chunks spread evenly over the domain's documents, the same ones at
  every call.
  Raises InputError for an empty source.
  """
  require(rows >= 1, f"rows is {rows}; give 1 or more")
  limits = max_rows_by_domain
  if not isinstance(limits, Mapping):
    limits = dict.fromkeys(source.domains, limits)
  require(
    min(limits.values(), default=0) >= 0,
    f"max_rows_by_domain is {max_rows_by_domain}; give 0 for all, or more",
  )
  require(len(source) > 0, "the source has no documents; choose another split or other domains")
  cutter = Cutter(source, tokenizer, config.length)
  if any(limits.values()):
    chunks = iter(_spread_sample(cutter, limits))
  else:
    chunks = (chunk for index in range(len(source)) for chunk in cutter(index))
  packed = first_fit(chunks, rows, config.length, config.segments)
  return (assemble(some, rows, config.length, config.segments) for some in packed)


def _spread_sample(cutter: Cutter, max_rows_by_domain: Mapping[str, int]) -> list[Chunk]:
  """At most so many rows' worth of chunks of each domain, in the order of the documents."""
  domains = np.array([cutter.source.domain_index(i) for i in range(len(cutter.source))])
  sample = []
  for domain in np.unique(domains):
    members = np.flatnonzero(domains == domain)
    max_rows = max_rows_by_domain[cutter.source.domains[domain]]
    if not max_rows:
      sample += [chunk for index in members for chunk in cutter(int(index))]
      continue
    budget = max_rows * cutter.length
    chunks: list[Chunk] = []
    number, total = min(max_rows, len(members)), 0
    # Chunks rather than documents are spread, so that few long documents do not use up the budget;
    # documents are added until their chunks would.
    while True:
      chosen = members[np.arange(number) * len(members) // number]
      chunks = [chunk for index in chosen for chunk in cutter(int(index))]
      total = sum(len(chunk.tokens) for chunk in chunks)
      if total >= budget or number == len(members):
        break
      number = min(2 * number, len(members))
    sample += _thin(chunks, total, budget)
  return sorted(sample, key=lambda chunk: chunk.document)


def _thin(chunks: list[Chunk], total: int, budget: int) -> list[Chunk]:
  """Evenly spaced chunks of at most `budget` of the `total` tokens."""
  if total <= budget:
    return chunks
  for number in range(min(len(chunks), 1 + len(chunks) * budget // total), 0, -1):
    kept = [chunks[(2 * k + 1) * len(chunks) // (2 * number)] for k in range(number)]
    if sum(len(chunk.tokens) for chunk in kept) <= budget:
      return kept
  return []
