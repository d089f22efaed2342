"""Throughput of `score` against its own bare forward pass, and against PyTorch.

    python benchmarks/score_throughput.py            # about 10 minutes on 2 cores

A rater of about 5M parameters (random weights, bytes, context 1024) on the paragraphs of the
bundled corpus, as .jsonl.zst shards. In turn, so that what else the machine does falls on all:

    bare     the compiled forward pass on the very batches that `score` makes, already in memory
    score    reading .jsonl.zst, rating, writing parquet
    torch    the same network in PyTorch on tokens in memory, cut to the same context, in batches of
             32 rows in the corpus' order, each padded to its longest row
    sorted   the same, rows sorted by length first: a stronger peer, which needs the whole corpus

and both networks on rows of one length. Ratings are compared before anything is timed, and all that
compiles has compiled. Medians go to benchmarks/results/score_throughput.json. Targets: score at
least 0.9 of bare and at most 5% padding; at least torch at equal lengths, 1.5 times it on the
corpus.
"""

import argparse
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow.parquet as pq
import torch
import zstandard
from torch_rater import rate_padded, torch_rater

from datarater.corpus_config import RatingConfig
from datarater.curation.score import score
from datarater.data.packing import Chunk, assemble, cut
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.models.cost import rater_parameters
from datarater.models.presets import preset
from datarater.models.rater import init_rater
from datarater.runtime.artifact import RaterConfig, read_rater, write_rater
from datarater.runtime.quantiles import RatingsCdf
from datarater.scorers.rater import IN_FLIGHT, Rater, load_rater
from datarater.types import Batch

RESULT = Path(__file__).parent / "results" / "score_throughput.json"
SEED, SHARDS, TORCH_ROWS, AGREE = 0, 2, 32, 1e-4
TARGETS = {"score/bare": 0.9, "padding": 0.05, "equal lengths/torch": 1.0, "score/torch": 1.5}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--model", default="5m")
  parser.add_argument("--length", type=int, default=1024, help="context in tokens")
  parser.add_argument("--batch-tokens", type=int, default=RatingConfig().batch_tokens)
  parser.add_argument("--characters", type=int, default=120_000, help="of the corpus")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--output", type=Path, default=RESULT)
  a = parser.parse_args()
  torch.set_num_threads(os.cpu_count() or 1)
  with tempfile.TemporaryDirectory() as folder:
    rater = _random_rater(Path(folder) / "rater", a.model, a.length, a.batch_tokens)
    model = torch_rater(
      rater.config.model, rater.config.vocab_size, read_rater(Path(folder) / "rater").eta, a.length
    )
    texts = _paragraphs(a.characters)
    result: dict[str, Any] = {
      "parameters": rater_parameters(rater.config.model, rater.config.vocab_size),
      "context": a.length,
      "batch_tokens": rater.shapes.batch_tokens,
      "corpus": _on_corpus(rater, model, texts, Path(folder), a.repeats),
      "equal_lengths": {
        length: _at_equal_lengths(rater, model, length, a.repeats)
        for length in rater.shapes.lengths
      },
    }
  packages = ("datarater", "jax", "jaxlib", "flax", "torch")
  result |= {
    "targets": TARGETS,
    "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
    "versions": {name: version(name) for name in packages},
  }
  a.output.parent.mkdir(parents=True, exist_ok=True)
  a.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
  print(json.dumps(result, indent=2))


def _random_rater(folder: Path, model: str, length: int, batch_tokens: int) -> Rater:
  """A rater folder with random weights, the head's too, and the rater loaded from it."""
  tokenizer = load_tokenizer(TokenizerConfig("bytes"))
  config = RaterConfig(
    model=preset(model),
    vocab_size=tokenizer.vocab_size,
    datapoint="document",
    length=length,
    tokenizer=TokenizerConfig("bytes"),
    tokenizer_fingerprint=tokenizer.fingerprint,
    steps=0,
    seed=SEED,
  )
  eta = init_rater(config.model, config.vocab_size, jax.random.key(SEED), length)
  eta = jax.tree.map(np.array, eta)
  head = eta["head"]["kernel"]
  eta["head"]["kernel"] = np.random.default_rng(SEED).normal(size=head.shape).astype(np.float32)
  write_rater(folder, config, eta, RatingsCdf.of([0.0, 1.0]), "random", tokenizer.save)
  return load_rater(folder, RatingConfig(batch_tokens=batch_tokens))


def _paragraphs(characters: int) -> list[str]:
  """Paragraphs of the bundled corpus, in a random order of its documents: real, mixed lengths."""
  source = open_source(DataConfig(), "inner")
  texts: list[str] = []
  for index in np.random.default_rng(SEED).permutation(len(source)):
    texts += [text for text in re.split(r"\n\s*\n", source[int(index)].text) if text.strip()]
    characters -= len(source[int(index)].text)
    if characters <= 0:
      break
  return texts


def _on_corpus(
  rater: Rater, model: torch.nn.Module, texts: Sequence[str], folder: Path, repeats: int
) -> dict[str, Any]:
  """Seconds and ratios of the four ways to rate the corpus."""
  shards = _write_shards(texts, folder)
  rows, owners = _rows(rater, texts)
  order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
  batches, first_seconds = _record_batches(rater, shards, folder / "first")
  expected = _pooled(_torch_in_batches(model, rows), rows, owners, len(texts))
  difference = float(np.max(np.abs(_ratings(folder / "first") - expected)))
  if difference > AGREE:
    raise SystemExit(f"ratings differ from PyTorch's by {difference}, more than {AGREE}")
  outputs = iter(folder / f"run{i}" for i in range(repeats))
  seconds = _in_turn(
    {
      "bare": lambda: _bare(rater, batches),
      "score": lambda: score(rater, shards, next(outputs), quiet=True),
      "torch": lambda: _torch_in_batches(model, rows),
      "sorted": lambda: _torch_in_batches(model, [rows[i] for i in order]),
    },
    repeats,
  )
  tokens = sum(map(len, rows))
  sizes = np.array([len(row) for row in rows])
  return {
    "documents": len(texts),
    "rows_of_torch": len(rows),
    "tokens": tokens,
    "row_tokens": {f"p{q}": int(np.percentile(sizes, q)) for q in (10, 50, 90)},
    "padding": {
      "score": 1 - tokens / sum(batch.tokens_BxL.size for batch in batches),
      "torch": 1 - tokens / _padded(rows),
      "sorted": 1 - tokens / _padded([rows[i] for i in order]),
    },
    "batches_by_shape": _shapes(batches),
    "largest_difference_of_ratings": difference,
    "seconds_of_the_first_score_with_compilation": first_seconds,
    "seconds": seconds,
    "tokens_per_second": {name: tokens / np.median(s) for name, s in seconds.items()},
    "documents_per_second": {name: len(texts) / np.median(s) for name, s in seconds.items()},
    "score/bare": _ratio(seconds, "bare", "score"),
    "score/torch": _ratio(seconds, "torch", "score"),
    "score/sorted torch": _ratio(seconds, "sorted", "score"),
  }


def _at_equal_lengths(
  rater: Rater, model: torch.nn.Module, length: int, repeats: int
) -> dict[str, Any]:
  """Rows of one length without padding: ours in its own batch shape, torch in the better of two."""
  random = np.random.default_rng(length)
  number = max(TORCH_ROWS, rater.shapes.rows(length))
  rows = [random.integers(0, 256, length).astype(np.int32) for _ in range(number)]
  size, segments = rater.shapes.rows(length), rater.shapes.segments(length)
  chunks = [[Chunk(row, i, 0, length)] for i, row in enumerate(rows)]
  parts = [chunks[i : i + size] for i in range(0, number, size)]
  batches = [assemble(part, size, length, segments) for part in parts]
  ours = np.concatenate([np.asarray(rating)[:, 0] for rating in _bare(rater, batches)])
  np.testing.assert_allclose(ours[:number], _torch_in_batches(model, rows), atol=AGREE)
  seconds = _in_turn(
    {
      "ours": lambda: _bare(rater, batches),
      "torch": lambda: _torch_in_batches(model, rows),
      "torch, our rows": lambda: _torch_in_batches(model, rows, size),
    },
    repeats,
  )
  best = min(("torch", "torch, our rows"), key=lambda name: np.median(seconds[name]))
  return {
    "documents_per_second": {name: number / np.median(s) for name, s in seconds.items()},
    "ours/torch": _ratio(seconds, best, "ours"),
  }


def _in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
  seconds: dict[str, list[float]] = {name: [] for name in ways}
  for _ in range(repeats):
    for name, way in ways.items():
      start = time.perf_counter()
      way()
      seconds[name].append(time.perf_counter() - start)
  return seconds


def _ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
  """How many times as fast: the median of the rounds' ratios."""
  return float(np.median(np.array(seconds[slow]) / np.array(seconds[fast])))


def _write_shards(texts: Sequence[str], folder: Path) -> list[str]:
  paths = [folder / f"shard{i}.jsonl.zst" for i in range(SHARDS)]
  for path, part in zip(paths, np.array_split(np.arange(len(texts)), SHARDS), strict=True):
    lines = "".join(json.dumps({"id": str(i), "text": texts[i]}) + "\n" for i in part)
    path.write_bytes(zstandard.compress(lines.encode("utf-8")))
  return [str(path) for path in paths]


def _ratings(run: Path) -> np.ndarray:
  files = sorted((run / "ratings").glob("*.parquet"))
  columns = [pq.read_table(file, columns=["rating"])["rating"].to_numpy() for file in files]
  return np.concatenate(columns)


def _record_batches(rater: Rater, shards: list[str], output: Path) -> tuple[list[Batch], float]:
  """Scores once, which compiles every shape, and keeps the batches that were rated, in order."""
  batches: list[Batch] = []
  compiled = rater._rate_documents

  def recording(eta: Any, batch: Batch) -> Any:
    batches.append(batch)
    return compiled(eta, batch)

  rater._rate_documents = recording  # type: ignore[assignment]
  start = time.perf_counter()
  score(rater, shards, output, quiet=True)
  seconds = time.perf_counter() - start
  rater._rate_documents = compiled
  return batches, seconds


def _bare(rater: Rater, batches: Sequence[Batch]) -> list[Any]:
  """As many batches in flight as `score` has, and nothing else."""
  ratings: list[Any] = []
  for batch in batches:
    ratings.append(rater._rate_documents(rater._replicas[0][1], batch))
    if len(ratings) >= IN_FLIGHT:
      ratings[-IN_FLIGHT].block_until_ready()
  return jax.block_until_ready(ratings)


def _rows(rater: Rater, texts: Sequence[str]) -> tuple[list[np.ndarray], list[int]]:
  """Documents cut to the context as `score` cuts them, and the document of each row."""
  rows, owners = [], []
  for i, text in enumerate(texts):
    tokens = rater.tokenizer.encode(text)
    for chunk in cut(tokens, rater.tokenizer.separator_id, rater.config.length, 0):
      rows.append(chunk.tokens)
      owners.append(i)
  return rows, owners


def _pooled(
  ratings: np.ndarray, rows: list[np.ndarray], owners: list[int], number: int
) -> np.ndarray:
  """Mean rating of each document, weighted by predicted tokens."""
  weights = np.array([len(row) - 1 for row in rows], np.float64)
  total = np.bincount(owners, weights * ratings, number)
  return total / np.bincount(owners, weights, number)


def _torch_in_batches(
  model: torch.nn.Module, rows: Sequence[np.ndarray], size: int = TORCH_ROWS
) -> np.ndarray:
  parts = [rate_padded(model, rows[i : i + size]) for i in range(0, len(rows), size)]
  return np.concatenate(parts)


def _padded(rows: Sequence[np.ndarray]) -> int:
  """Tokens that dynamic padding computes."""
  parts = [rows[i : i + TORCH_ROWS] for i in range(0, len(rows), TORCH_ROWS)]
  return sum(len(part) * max(map(len, part)) for part in parts)


def _shapes(batches: Sequence[Batch]) -> dict[str, int]:
  names = ["x".join(map(str, batch.tokens_BxL.shape)) for batch in batches]
  return {name: names.count(name) for name in sorted(set(names))}


if __name__ == "__main__":
  main()
