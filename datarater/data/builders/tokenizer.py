"""Byte-level BPE learned from a dataset: a `tokenizer.json`, and beside it what it was made of.

Byte-level BPE is GPT-2's (Radford et al. 2019, section 2.2), after Sennrich et al. 2016, which the
package `tokenizers` trains: every byte is in the alphabet, so any text can be written, and the text
is cut before words, numbers and marks, so no token spans two of them.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datarater.config_io import differences
from datarater.data.datasets import absolute_ranges, open_dataset
from datarater.data.formats import fingerprint
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import INSTALL, HuggingFaceTokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_file, read_json, write_json

LEAST_VOCABULARY = 258
"""All bytes, one merge, and the separator that every tokenizer has as its last id."""

LEAST_COUNT = 2
"""Of a pair that is merged: what occurs once says nothing of other text."""

SAMPLE = 1000
"""At most so many documents tell how many bytes a token stands for."""


def train_tokenizer(
  dataset: str,
  out: Path,
  *,
  split: str = "inner",
  vocab_size: int = 8192,
  domains: Sequence[str] = (),
  progress: bool = True,
) -> dict[str, Any]:
  """Learns a tokenizer from a split and writes it; the same text gives the same bytes.

  dataset: what `DataConfig.dataset` takes. out: a file `*.json`, or a folder for `tokenizer.json`.
  split: a split expression. vocab_size: ids with the separator, as models count them; text with
  too few pairs to merge gives fewer. domains: those to read; empty: all.
  Returns what `*.about.json` beside the file holds: settings and files of the split, `documents`
  and `bytes` read, `vocab_size`, `bytes_per_token`, overall and by domain, of `sampled` of them.
  A file that the same call has made is left as it is. Raises InputError for bad settings, and
  for a file that was made otherwise.
  """
  require(
    vocab_size >= LEAST_VOCABULARY,
    f"vocab_size is {vocab_size}; give {LEAST_VOCABULARY} or more: 256 bytes, one merge, and the "
    "separator",
  )
  file = out if out.suffix == ".json" else out / HuggingFaceTokenizer.file_name
  require(not file.parent.is_file(), f"{str(file.parent)!r} is a file; end its name in .json")
  settings = {
    "split": split,
    "asked_vocab_size": vocab_size,
    "domains": sorted(set(domains)),
    "files": _files(dataset, split),
  }
  about = file.with_suffix(".about.json")
  if file.exists():
    return _finished(file, about, settings)
  source = open_source(DataConfig(dataset=dataset, inner=split), "inner")
  unknown = sorted(set(domains) - set(source.domains))
  require(not unknown, f"domains {unknown} not in {dataset!r}; choose among {list(source.domains)}")
  read: Counter[str] = Counter()
  content = _learned(_texts(source, set(domains), read, progress), vocab_size - 1)
  require(
    read["documents"] > 0,
    f"split {split!r} of {dataset!r} has no text of domains {settings['domains']}; choose others",
  )
  tokenizer = HuggingFaceTokenizer(content)
  values = {
    **settings,
    "dataset": dataset,
    **read,
    "vocab_size": tokenizer.vocab_size,
    **_compression(tokenizer, source, set(domains), progress),
    "sha256": hashlib.sha256(content).hexdigest(),
  }
  write_json(about, values)  # before the file, so that a killed run leaves no file without it
  with atomic_file(file) as output:
    output.write(content)
  return values


def _files(dataset: str, split: str) -> dict[str, str]:
  """Fingerprints of the files that a split expression reads."""
  builder = open_dataset(dataset)
  names = {name for name, _, _ in absolute_ranges(builder, split, "split")}
  paths = [Path(path) for name in sorted(names) for path in builder.info.splits[name].filepaths]
  return {path.name: fingerprint(path) for path in paths}


def _finished(file: Path, about: Path, settings: dict[str, Any]) -> dict[str, Any]:
  """What is known of the file that is there, if it is whole and has these settings."""
  remedy = "remove it or name another"
  values = read_json(about, "tokenizer's settings") if about.is_file() else None
  if not isinstance(values, dict):
    raise InputError(f"file {str(file)!r} exists and is not of this command; {remedy}")
  changed = differences({key: values.get(key) for key in settings}, settings)
  if values.get("sha256") != hashlib.sha256(file.read_bytes()).hexdigest():
    changed.append("its content is not what was written")
  require(not changed, f"file {str(file)!r} was made otherwise ({'; '.join(changed)}); {remedy}")
  return values


def _texts(source: Source, domains: set[str], read: Counter[str], progress: bool) -> Iterator[str]:
  """Streams the text of the domains, and counts it in `read`."""
  for index in tqdm(range(len(source)), "reading", unit=" documents", disable=not progress):
    record = source[index]
    if domains and record.domain not in domains:
      continue
    read["documents"] += 1
    read["bytes"] += len(record.text.encode())
    yield record.text
  if progress:
    print("learning merges", file=sys.stderr)  # where nothing can be counted


def _learned(texts: Iterator[str], size: int) -> bytes:
  """The `tokenizer.json` of at most `size` tokens."""
  try:
    import tokenizers
  except ImportError as error:
    raise InputError(f"training needs the package tokenizers: {INSTALL}") from error
  bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
  bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  bpe.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=size,
    min_frequency=LEAST_COUNT,
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  bpe.train_from_iterator(texts, trainer)
  return bpe.to_str(pretty=True).encode()


def _compression(
  tokenizer: HuggingFaceTokenizer, source: Source, domains: set[str], progress: bool
) -> dict[str, Any]:
  """UTF-8 bytes a token, separators not counted, over an even sample of the split."""
  step = max(1, len(source) // SAMPLE)
  sizes: Counter[str] = Counter()
  tokens: Counter[str] = Counter()
  sampled = 0
  chosen = range(0, len(source), step)
  for index in tqdm(chosen, "measuring", unit=" documents", disable=not progress):
    record = source[index]
    if record.text and (not domains or record.domain in domains):
      sampled += 1
      sizes[record.domain] += len(record.text.encode())
      tokens[record.domain] += len(tokenizer.encode(record.text))
  total = tokens.total()
  return {
    "sampled": sampled,
    "bytes_per_token": sizes.total() / total if total else None,
    "bytes_per_token_by_domain": {name: sizes[name] / tokens[name] for name in sorted(sizes)},
  }
