"""A trained rater as steps of a datatrove pipeline, for its local, Slurm and Ray executors.

    LocalPipelineExecutor(
      [
        JsonlReader("corpus"),
        RatingFilter("runs/mine/rater", Pointwise(0.5, 64), exclusion_writer=JsonlWriter("out/no")),
        JsonlWriter("out/yes"),
      ],
      tasks=8,
    ).run()

The steps pickle: they hold the rater's folder, and load it once in each process, when the first
document comes. Documents are rated in the blocks in which `score` rates those of the same file, so
their ratings are the same bits. A block never spans two files.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datarater.corpus_config import RatingConfig, ScoreConfig
from datarater.curation.candidates import Candidates
from datarater.curation.rules import NOT_A_NUMBER, Pointwise, Threshold
from datarater.data.blocks import Filling
from datarater.data.formats.records import text_trouble
from datarater.errors import InputError, require
from datarater.scorers.base import rate

try:
  from datatrove.data import Document
  from datatrove.pipeline.base import PipelineStep
  from datatrove.pipeline.filters.base_filter import BaseFilter
  from datatrove.pipeline.writers.disk_base import DiskWriter
  from datatrove.utils.typeshelper import StatHints
except ImportError as error:
  raise InputError(
    f"steps for datatrove need it ({error}); pip install 'datarater[datatrove]'"
  ) from error

RATING, TOKENS = "rating", "rating_tokens"
"""Metadata that the steps add. rating: float, None where the text cannot be rated."""

DOMAIN = "domain"
"""Metadata that a rater of domains goes by."""

_MEBIBYTE = 1 << 20


class _Raters:
  """How a step gets at its rater. rater: folder; it must be there on every node."""

  def __init__(
    self, rater: str | Path, rating: RatingConfig | None, max_document_mib: float | None
  ) -> None:
    path = Path(rater).absolute()  # a worker's working directory may be another
    require(path.is_dir(), f"rater {str(rater)!r} is not a folder; give the rater/ of a run")
    self.path, self.rating = path, rating or RatingConfig()
    limit = ScoreConfig.max_record_mib if max_document_mib is None else max_document_mib
    self.most_bytes = int(limit * _MEBIBYTE)

  def load(self) -> Any:
    return _load(self.path, self.rating)

  def rated(self, data: Iterable[Document]) -> Iterator[list[tuple[Document, str]]]:
    """Blocks of documents with their metadata, each with why it cannot be rated, or ""."""
    for block in _blocks(data, self.most_bytes):
      good = [document for document, trouble in block if not trouble]
      domains = [d.metadata.get(DOMAIN) for d in good]
      ratings, tokens = rate(self.load(), [d.id for d in good], [d.text for d in good], domains)
      for document, _ in block:
        document.metadata |= {RATING: None, TOKENS: None}
      counts = itertools.repeat(None) if tokens is None else tokens.tolist()
      for document, rating, count in zip(good, ratings.tolist(), counts, strict=False):
        document.metadata |= {RATING: None if np.isnan(rating) else rating, TOKENS: count}
      yield block


@functools.lru_cache(maxsize=2)
def _load(path: Path, rating: RatingConfig) -> Any:
  """One of a kind in a process: datatrove copies and unpickles a step for every task."""
  from datarater.scorers.rater import load_rater

  return load_rater(path, rating)


def _blocks(data: Iterable[Document], most_bytes: int) -> Iterator[list[tuple[Document, str]]]:
  """(document, why it cannot be rated), cut where `score` cuts the documents of a file."""
  for _, documents in itertools.groupby(data, lambda d: d.metadata.get("file_path")):
    block: list[tuple[Document, str]] = []
    filling, flood = Filling(), Filling(most_characters=most_bytes)
    for document in documents:
      trouble = _trouble(document.text, most_bytes)
      block.append((document, trouble))
      if (flood if trouble else filling).add(len(document.text)):
        yield block
        block, filling, flood = [], Filling(), Filling(most_characters=most_bytes)
    if block:
      yield block


def _trouble(text: Any, most_bytes: int) -> str:
  trouble = text_trouble(text)
  if not trouble and 4 * len(text) > most_bytes and len(text.encode()) > most_bytes:
    return "record too long"
  return trouble


class RatingTagger(PipelineStep):
  """Adds `rating` and `rating_tokens` to the metadata of every document; drops none.

  Args:
    rater: Folder of a trained rater.
    rating: How documents are rated; None: the defaults, as of `datarater score`.
    max_document_mib: Longer texts are not rated; None: the default of `score`.
  """

  type = "🏷 - TAGGER"
  name = "⭐ DataRater"

  def __init__(
    self,
    rater: str | Path,
    rating: RatingConfig | None = None,
    max_document_mib: float | None = None,
  ) -> None:
    super().__init__()
    self._raters = _Raters(rater, rating, max_document_mib)

  def run(
    self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1
  ) -> Iterator[Document]:
    """Yields the documents of `data`, in their order."""
    del rank, world_size
    blocks = self._raters.rated(data or ())
    while True:
      with self.track_time("block"):
        block = next(blocks, None)
      if block is None:
        return
      for document, _ in block:
        self.stat_update(StatHints.total)
        self.stat_update("rated" if document.metadata[RATING] is not None else "not_rated")
        self.update_doc_stats(document)
        yield document


class RatingFilter(BaseFilter):
  """Keeps the documents that a rule keeps, one by one; all get `rating` and `rating_tokens`.

  Args:
    rater: Folder of a trained rater.
    rule: `Threshold`, or `Pointwise`, which without a CDF takes that of the rater. Its draws are
      seeded by the documents' ids, so neither order nor tasks matter. Rules that compare documents
      need them all: tag, or use `datarater score` and `select`.
    rating: How documents are rated; None: the defaults, as of `datarater score`.
    exclusion_writer: Takes the others, with `filter_reason` in their metadata.
    max_document_mib: Longer texts are not rated; None: the default of `score`.
  """

  name = "⭐ DataRater"

  def __init__(
    self,
    rater: str | Path,
    rule: Threshold | Pointwise,
    rating: RatingConfig | None = None,
    exclusion_writer: DiskWriter | None = None,
    max_document_mib: float | None = None,
  ) -> None:
    super().__init__(exclusion_writer)  # pyright: ignore[reportArgumentType]
    require(
      isinstance(rule, Threshold | Pointwise),
      f"rule is {type(rule).__name__}, which compares documents of the whole corpus; give "
      "Threshold or Pointwise, or tag the documents and select afterwards",
    )
    self._raters, self._rule = _Raters(rater, rating, max_document_mib), rule

  def filter(self, doc: Document) -> bool | tuple[bool, str]:
    """Of a document that has its rating already."""
    (decision,) = self._decide([(doc, _trouble(doc.text, self._raters.most_bytes))])
    return decision

  def run(
    self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1
  ) -> Iterator[Document]:
    """Yields the documents kept, in their order."""
    del world_size
    blocks = self._raters.rated(data or ())
    with self.exclusion_writer or contextlib.nullcontext() as writer:
      while True:
        with self.track_time("block"):
          block = next(blocks, None)
          decisions = self._decide(block) if block else []
        if block is None:
          return
        for (document, _), (keep, reason) in zip(block, decisions, strict=True):
          self.stat_update(StatHints.total, StatHints.forwarded if keep else StatHints.dropped)
          if keep:
            self.update_doc_stats(document)
            yield document
            continue
          self.stat_update(f"dropped_{reason}")
          if writer:
            document.metadata["filter_reason"] = reason
            writer.write(document, rank)

  def _decide(self, block: list[tuple[Document, str]]) -> list[tuple[bool, str]]:
    values = [document.metadata[RATING] for document, _ in block]
    ratings = np.array([np.nan if value is None else value for value in values], np.float32)
    candidates = Candidates.of(ratings, [document.id for document, _ in block])
    keep = self._complete_rule().keep(candidates) & ~np.isnan(ratings)
    reasons = np.where(np.isnan(ratings), NOT_A_NUMBER, self._rule.reason)
    return [
      (bool(kept), "" if kept else trouble or str(reason))
      for kept, reason, (_, trouble) in zip(keep, reasons, block, strict=True)
    ]

  def _complete_rule(self) -> Threshold | Pointwise:
    """The rule with a reference: a block's own ratings stand for no distribution."""
    rule = self._rule
    if isinstance(rule, Pointwise) and rule.cdf is None:
      cdf = np.asarray(self._raters.load().cdf.quantiles)
      return Pointwise(rule.discard_fraction, rule.batch_size, rule.seed, cdf)
    return rule
