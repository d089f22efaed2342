"""Builds the small Pile: 16 domains of text out of public packages, as a prepared dataset.

Each domain gives more than is wanted, where there is more. Its sources are dealt to the splits,
copies and near-copies across sources are set aside, and what is left is thinned to the domain's
size, split by split. The same packages give the same bytes.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datarater.data.builders.output import REJECTED, dataset_name, same_or_refused, staging
from datarater.data.builders.overlap import near_copies
from datarater.data.builders.pieces import (
  SHARES,
  Piece,
  assign,
  exact_copies,
  records,
  tally,
  thinned,
)
from datarater.data.builders.shelf import Shelf
from datarater.data.builders.small_pile.domains import DOMAINS
from datarater.data.builders.small_pile.sources import PACKAGES
from datarater.data.builders.text import prepare_dataset
from datarater.errors import InputError, require
from datarater.runtime.atomic import explained
from datarater.runtime.run_folder import exclusively

SEED = "small-pile-1"
OVERLAP = 0.5
"""Of two documents of different sources that share half of the smaller one's shingles, one goes."""

_ENTRY = "small_pile"


@dataclasses.dataclass(frozen=True)
class Rejected:
  """A piece that was set aside. of: the id of the one that it copies."""

  piece: Piece
  reason: str
  of: str = ""
  overlap: float = 1.0


def build_small_pile(
  output: Path,
  cache: Path | None = None,
  domains: Sequence[str] = (),
  progress: bool = True,
) -> dict[str, Any]:
  """Makes the dataset's folder `output`, whole or not at all; there already, it stays as it is.

  cache: of fetched packages. domains: some of `DOMAINS`; none given: all.
  Returns the dataset's summary (`datarater.json`): `splits`, `domains`, `sources` (what was read:
  registry, version, sha256), `drift` (sentences on what differs from the recorded) and
  `small_pile` (settings; `kept` by domain and split; `rejected` by reason and domain;
  `near_copies` by pair of domains and splits; `licences`). What is set aside is listed, by id and
  reason, in `rejected.jsonl`, but for what a domain has beyond its size.
  Raises InputError for unknown domains, a package that cannot be had, an output that holds
  something else.
  """
  output = Path(output)
  unknown = sorted(set(domains) - set(DOMAINS))
  require(not unknown, f"domains {unknown} are none of the small Pile; choose among {[*DOMAINS]}")
  chosen = [name for name in DOMAINS if not domains or name in domains]
  settings = {"seed": SEED, "overlap": OVERLAP, "domains": chosen}
  results = ("kept", "rejected", "near_copies", "licences")
  with exclusively(output.absolute().with_name(f".{output.name}.lock")), explained(output):
    if output.exists():
      return same_or_refused(output, _ENTRY, settings, results)
    shelf = Shelf(PACKAGES, cache, tolerant=True)
    _fetch(shelf, chosen, progress)
    pieces = _gather(shelf, chosen, progress)
    kept, rejected, splits = _choose(pieces, chosen, progress)
    rows = records(kept, splits)
    account = {
      **settings,
      "kept": tally(rows),
      "rejected": _by_reason(rejected),
      "near_copies": _by_pair(rejected, {p.key: p for p in pieces}, splits),
      "licences": {name: DOMAINS[name].licence for name in chosen},
    }
    extra = {_ENTRY: account, "sources": shelf.account(), "drift": shelf.drift()}
    return _write(output, rows, [_line(r, splits) for r in rejected], extra, progress)


def _fetch(shelf: Shelf, chosen: Sequence[str], progress: bool) -> None:
  """All packages first: one that cannot be had is told before any work."""
  users: dict[str, list[str]] = collections.defaultdict(list)
  for name in chosen:
    for key in DOMAINS[name].packages:
      users[key].append(name)
  with tqdm(users, "packages", unit=" packages", disable=not progress) as bar:
    for key in bar:
      bar.set_postfix_str(PACKAGES[key].name)
      try:
        shelf.fetch(key)
      except InputError as error:
        raise InputError(
          f"{error}; or leave out the domains that read it ({', '.join(users[key])}) by --domains"
        ) from error


def _gather(shelf: Shelf, chosen: Sequence[str], progress: bool) -> list[Piece]:
  pieces = []
  with tqdm(chosen, "domains", unit=" domains", disable=not progress) as bar:
    for name in bar:
      bar.set_postfix_str(name)
      domain = DOMAINS[name]
      pieces += domain.recipe(shelf, int(domain.megabytes * 1e6 * domain.surplus))
  return pieces


def _choose(
  pieces: Sequence[Piece], chosen: Sequence[str], progress: bool
) -> tuple[list[Piece], list[Rejected], dict[tuple[str, str], str]]:
  """(kept, set aside, (domain, source) → split)."""
  copies = exact_copies(pieces)
  rejected = [Rejected(p, "copy", copies[p.key]) for p in pieces if p.key in copies]
  distinct = [p for p in pieces if p.key not in copies]
  splits = assign(distinct, SEED)
  near = near_copies(
    [p.text for p in distinct], [(p.domain, p.source) for p in distinct], OVERLAP, progress
  )
  rejected += [
    Rejected(distinct[n.index], "near-copy", distinct[n.of].key, n.overlap) for n in near
  ]
  repeats = {n.index for n in near}
  parts: dict[tuple[str, str], list[Piece]] = collections.defaultdict(list)
  for i, piece in enumerate(distinct):
    if i not in repeats:
      parts[piece.domain, splits[piece.domain, piece.source]].append(piece)
  kept = []
  for name in chosen:
    for split, share in SHARES.items():
      own = parts[name, split]
      require(bool(own), f"domain {name} has no document for split {split}; leave the domain out")
      kept += thinned(own, int(share * DOMAINS[name].megabytes * 1e6))
  return kept, rejected, splits


def _by_reason(rejected: Iterable[Rejected]) -> dict[str, dict[str, int]]:
  """reason → domain → documents."""
  counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  for r in rejected:
    counts[r.reason][r.piece.domain] += 1
  return {reason: dict(sorted(by_domain.items())) for reason, by_domain in counts.items()}


def _by_pair(
  rejected: Iterable[Rejected], pieces: Mapping[str, Piece], splits: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
  """Near-copies by domain and split of the one set aside, and of the one kept; most first."""
  counts: collections.Counter = collections.Counter()
  for r in rejected:
    if r.reason == "near-copy":
      ends = (r.piece, pieces[r.of])
      counts[tuple((p.domain, splits[p.domain, p.source]) for p in ends)] += 1
  return [
    {"domains": [a[0], b[0]], "splits": [a[1], b[1]], "documents": number}
    for (a, b), number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  ]


def _line(rejected: Rejected, splits: Mapping[tuple[str, str], str]) -> dict[str, Any]:
  piece = rejected.piece
  return {
    "id": piece.key,
    "domain": piece.domain,
    "split": splits.get((piece.domain, piece.source), ""),
    "reason": f"{rejected.reason} of {rejected.of}",
    "overlap": round(rejected.overlap, 3),
  }


def _write(
  output: Path,
  rows: Sequence[dict],
  rejected: Sequence[dict],
  extra: Mapping[str, Any],
  progress: bool,
) -> dict[str, Any]:
  splits = {s: lambda s=s: (row for row in rows if row["split"] == s) for s in SHARES}
  with staging(output) as folder:
    summary = prepare_dataset(splits, folder / "dataset", dataset_name(output), extra, progress)
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in rejected)
    (folder / "dataset" / REJECTED).write_text("".join(lines), encoding="utf-8")
    (folder / "dataset").rename(output)
  return summary
