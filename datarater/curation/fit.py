"""Fits a scorer to a corpus and targets, and keeps it beside the side files.

    fit("dsir", "corpus/*.jsonl", "ratings/scorer", read_targets(["news/*.jsonl"], config), ...)

The same call again finds it there; with other settings, inputs or targets it is refused, and the
message names the difference.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datarater.config_io import differences, to_json
from datarater.corpus_config import ScoreConfig
from datarater.curation.run_folder import shortened
from datarater.curation.score import Inputs
from datarater.data.fingerprints import digests
from datarater.data.formats import (
  BadRecord,
  Shard,
  find_shards,
  fingerprint,
  read_records,
  require_text_key,
)
from datarater.errors import require
from datarater.runtime.run_folder import exclusively
from datarater.scorers.fitted import (
  FittedScorer,
  Fitting,
  load_scorer,
  require_pool,
  scorer_class,
)
from datarater.scorers.target import Target


class Corpus:
  """Texts of shards, read again each time that one goes through them."""

  def __init__(
    self, shards: Sequence[Shard], config: ScoreConfig, excluded: frozenset[bytes] = frozenset()
  ):
    self._shards, self._config, self._excluded = shards, config, excluded

  def __iter__(self) -> Iterator[str]:
    for _, text in self.documents():
      if not self._excluded or digests([text])[0] not in self._excluded:
        yield text

  def documents(self) -> Iterator[tuple[str, str]]:
    """(id, text); what cannot be read is left to `score`, which sets it aside."""
    for shard in self._shards:
      records = read_records(shard.path, whole=False, **self._config.reading)
      for record in records:
        if not isinstance(record, BadRecord):
          yield record.id, record.text


def fit(
  name: str,
  inputs: Inputs,
  folder: str | Path,
  targets: Sequence[Target],
  settings: Any,
  config: ScoreConfig | None = None,
  fitting: Fitting = Fitting(),  # noqa: B008 (frozen)
  allow_overlap: bool = False,
) -> FittedScorer:
  """The scorer in `folder`, fitted unless it is there.

  name: of `scorers.fitted.SCORERS`. inputs: the pool. settings: of the scorer, such as a
  `DsirConfig`. config: how the corpus is read. allow_overlap: documents that are in a target too
  are left out of the pool, and are not rated.
  Raises InputError for a target in the pool without `allow_overlap`, an empty target, a pool of
  fewer than two documents, and a folder with a scorer that was fitted otherwise.
  """
  folder, config = Path(folder), config or ScoreConfig()
  kind = scorer_class(name)
  kind.check(targets, settings, fitting)
  shards = find_shards(inputs)
  require_text_key(shards, config.text_key)
  origin = {
    "scorer": name,
    "settings": to_json(settings),
    "reading": to_json(config),
    "inputs": {shard.name: fingerprint(shard.path) for shard in shards},
    "targets": {target.name: _digest_of(target) for target in targets},
    "proxies": [proxy.fingerprint for proxy in fitting.proxies],
    "allow_overlap": allow_overlap,
  }
  with exclusively(folder.with_name(f".{folder.name}.lock")):
    if folder.exists():
      return _found(folder, origin)
    shared = _shared(Corpus(shards, config), targets, name, allow_overlap, fitting.progress)
    scorer = kind.fit(Corpus(shards, config, shared), targets, settings, fitting)
    scorer = scorer.but(facts={"fit": origin}, excluded=shared or None)
    scorer.save(folder)
    return load_scorer(folder)


def _found(folder: Path, origin: dict[str, Any]) -> FittedScorer:
  scorer = load_scorer(folder)
  changed = differences(scorer.facts.get("fit", {}), origin)
  require(
    not changed,
    f"scorer {str(folder)!r} was fitted otherwise ({shortened(changed)}); give the same settings, "
    "inputs and targets, or name a new output folder",
  )
  return scorer


def _shared(
  corpus: Corpus, targets: Sequence[Target], name: str, allow: bool, progress: bool
) -> frozenset[bytes]:
  """Digests of the documents that pool and targets share; goes through the pool once."""
  wanted = {digest: t.name for t in targets for digest in digests(t.texts)}
  found: dict[bytes, str] = {}
  documents = shared = 0
  for name_of, text in tqdm(
    corpus.documents(), desc="looking at the pool", unit=" documents", disable=not progress or None
  ):
    documents += 1
    (digest,) = digests([text])
    if digest in wanted:
      shared += 1
      found.setdefault(digest, name_of)
  if found and not allow:
    digest, first = next(iter(found.items()))
    require(
      False,
      f"target {wanted[digest]!r} and the pool share {shared} document{'s' * (shared > 1)}, the "
      f"first is {first!r}; take them out, or have them left out of the pool: --allow-overlap",
    )
  require_pool(documents - shared, name)
  return frozenset(found)


def _digest_of(target: Target) -> str:
  """Hex, of all its examples in order."""
  parts = [part for example in target.examples for part in (example.context, example.text)]
  return hashlib.sha256(b"".join(digests(parts))).hexdigest()[:16]
