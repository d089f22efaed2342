"""The user's own text as a prepared dataset: five disjoint splits, by whole source document.

One pass over the files: each document goes to its split's spool beside the output, what cannot be
used to `rejected.jsonl` with its reason; then the spools become array_record. Nothing is dropped
unseen.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datarater.data.builders.output import REJECTED, dataset_name, same_or_refused, staging
from datarater.data.builders.text import prepare_dataset
from datarater.data.formats import (
  BadRecord,
  Numbering,
  Record,
  Row,
  Shard,
  default_domain,
  find_shards,
  fingerprint,
  id_base,
  input_places,
  read_records,
  require_apart,
  require_text_key,
)
from datarater.data_config import SPLITS
from datarater.errors import InputError, require

FRACTIONS = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
"""Shares of documents; lm is the pool for the final language models."""

_DIGEST = 16


def prepare(
  inputs: str | Path | Sequence[str | Path],
  output: Path,
  *,
  text_key: str = "text",
  id_key: str = "id",
  domain_key: str = "domain",
  group_key: str = "",
  split_key: str = "",
  fractions: Mapping[str, float] | None = None,
  seed: int = 0,
  paragraphs: bool = False,
) -> dict[str, Any]:
  """Turns files of text into a TFDS dataset (array_record) that the framework trains on.

  inputs: files or globs: .jsonl, .ndjson, .json (each also .gz, .zst, .xz), .parquet, .txt (a
  document). output: the dataset's folder, made whole or not at all. The same command again leaves
  it as it is. text_key, id_key, domain_key: fields of a record; dots lead into nested objects. A
    record without a domain gets the name of its file, plain text that of its folder.
  group_key: the field that names the source document; records of one group share a split (default:
  id). split_key: the field that names the split; instead of a seeded hash of the group.
  fractions: of groups, by split. seed: of that hash. paragraphs: cut plain text at blank lines.
  Returns the dataset's summary, with documents `kept` and `rejected` by reason under `prepare`.
  Raises InputError for unreadable input, a split left empty, an output that holds something else.
  """
  output = Path(output)
  fractions = _checked(dict(FRACTIONS if fractions is None else fractions))
  require(seed >= 0, f"seed is {seed}; give 0 or more")
  shards = find_shards(inputs)
  require_apart(output, input_places(inputs), "input")
  settings = {
    "text_key": text_key,
    "id_key": id_key,
    "domain_key": domain_key,
    "group_key": group_key,
    "split_key": split_key,
    "fractions": {} if split_key else fractions,
    "seed": seed,
    "paragraphs": paragraphs,
    "inputs": {shard.name: fingerprint(shard.path) for shard in shards},
  }
  if output.exists():
    return same_or_refused(output, "prepare", settings, ("kept", "rejected"))
  require_text_key(shards, text_key)
  records = _records(shards, settings)
  with staging(output) as folder:
    assigned = _assign(records, settings)
    kept, rejected = _spool(assigned, folder, group_key)
    _require_all_splits(kept, rejected, split_key)
    extra = {
      "prepare": {**settings, "kept": dict(kept), "rejected": dict(sorted(rejected.items()))}
    }
    splits = {split: lambda split=split: _read_spool(folder / split) for split in SPLITS}
    summary = prepare_dataset(splits, folder / "dataset", dataset_name(output), extra)
    (folder / REJECTED).rename(folder / "dataset" / REJECTED)
    (folder / "dataset").rename(output)
  return summary


def split_of(group: str, fractions: Mapping[str, float], seed: int) -> str:
  """The split of a group of documents: its seeded hash in [0, 1), cut by the fractions."""
  key = hashlib.blake2b(group.encode(), digest_size=8, key=f"split {seed}".encode()).digest()
  bounds = np.cumsum([fractions[split] for split in SPLITS])
  place = int.from_bytes(key) / 2**64 * bounds[-1]
  return SPLITS[int(np.searchsorted(bounds[:-1], place, side="right"))]


def _checked(fractions: dict[str, float]) -> dict[str, float]:
  """The fractions in the order of the splits, or InputError."""
  require(
    set(fractions) == set(SPLITS),
    f"fractions name {sorted(fractions)}; give one for each of {', '.join(SPLITS)}",
  )
  for split, fraction in fractions.items():
    require(fraction > 0, f"fraction of {split} is {fraction}; give a number above 0")
  total = sum(fractions.values())
  require(abs(total - 1) < 1e-6, f"fractions add up to {total:g}; make them add up to 1")
  return {split: float(fractions[split]) for split in SPLITS}


def _records(
  shards: Sequence[Shard], settings: Mapping[str, Any]
) -> Iterator[tuple[Shard, Record]]:
  numbering = Numbering()  # of the whole corpus: no two documents share an id
  extra = tuple(key for key in (settings["group_key"], settings["split_key"]) if key)
  total = sum(shard.size for shard in shards)
  with tqdm(total=total, desc="reading", unit="B", unit_scale=True) as bar:
    for shard in shards:
      for record in read_records(
        shard.path,
        settings["text_key"],
        settings["id_key"],
        settings["domain_key"],
        extra_keys=extra,
        numbering=numbering,
        paragraphs=settings["paragraphs"],
        whole=False,
        progress=bar.update,
      ):
        yield shard, record


def _assign(
  records: Iterable[tuple[Shard, Record]], settings: Mapping[str, Any]
) -> Iterator[tuple[Shard, Record, str, str]]:
  """(shard, record, split, reason): either a split, or the reason why the record is set aside."""
  split_by_digest: dict[bytes, str] = {}
  for shard, record in records:
    if isinstance(record, BadRecord):
      yield shard, record, "", record.reason
      continue
    split, reason = _choose(record, settings)
    digest = hashlib.blake2b(record.text.encode(), digest_size=_DIGEST).digest()
    if not reason and split_by_digest.setdefault(digest, split) != split:
      split, reason = "", f"same text in split {split_by_digest[digest]}"
    yield shard, record, split, reason


def _choose(row: Row, settings: Mapping[str, Any]) -> tuple[str, str]:
  """(split, "") or ("", reason)."""
  if settings["split_key"]:
    split = row.extra[settings["split_key"]]
    known = isinstance(split, str) and split in SPLITS
    return (split, "") if known else ("", "unknown split")
  # Without a group, a document whose id is given twice is one document.
  group = _group_name(row, settings["group_key"]) or id_base(row.id, row.flags)[0]
  return split_of(group, settings["fractions"], settings["seed"]), ""


def _group_name(row: Row, group_key: str) -> str:
  """The group as a string; empty where the record has none."""
  group = row.extra.get(group_key)
  if group is None:
    return ""
  text = group if isinstance(group, str) else json.dumps(group, sort_keys=True, default=str)
  # Half a surrogate pair, which JSON can spell, is no UTF-8.
  return text.encode("utf-8", "replace").decode()


def _spool(
  assigned: Iterable[tuple[Shard, Record, str, str]], folder: Path, group_key: str
) -> tuple[dict[str, int], Counter[str]]:
  """Writes a file a split, and the rejected; returns numbers by split, and by reason set aside."""
  kept: dict[str, int] = dict.fromkeys(SPLITS, 0)
  rejected = Counter[str]()
  with contextlib.ExitStack() as stack:
    files = {
      name: stack.enter_context((folder / name).open("w", encoding="utf-8"))
      for name in (*SPLITS, REJECTED)
    }
    for shard, record, split, reason in assigned:
      if split and isinstance(record, Row):
        values = {
          "text": record.text,
          "id": record.id,
          "domain": record.domain or default_domain(shard.path),
          "source": _group_name(record, group_key) or shard.name,
        }
        kept[split] += 1
      else:
        values = {"file": shard.name, **_rejected(record), "reason": reason}
        rejected[reason] += 1
      files[split or REJECTED].write(json.dumps(values, ensure_ascii=False) + "\n")
  return kept, rejected


def _rejected(record: Record) -> dict[str, Any]:
  if isinstance(record, BadRecord):
    return record.as_json()
  return {"row": record.number, "id": record.id, "text": record.text}


def _read_spool(path: Path) -> Iterator[dict[str, str]]:
  with path.open(encoding="utf-8", newline="\n") as file:
    for line in file:
      yield json.loads(line)


def _require_all_splits(kept: dict[str, int], rejected: Counter[str], split_key: str) -> None:
  empty = [split for split, number in kept.items() if not number]
  if not empty:
    return
  counts = ", ".join(f"{split} {number}" for split, number in kept.items())
  aside = ", ".join(f"{number} {reason}" for reason, number in rejected.most_common(5)) or "none"
  remedy = (
    f"put documents with {split_key!r} set to it"
    if split_key
    else "give more documents, finer groups, or other fractions or another seed"
  )
  raise InputError(
    f"split {', '.join(empty)} is empty (documents: {counts}; set aside: {aside}); {remedy}"
  )
