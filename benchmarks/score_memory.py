"""Memory of `score` at 100,000 and at 1,000,000 documents.

    python benchmarks/score_memory.py            # minutes, about 100 MB of disk

Each in a process of its own, on one .jsonl.zst shard of short synthetic documents, with a rater
that is tiny but takes every step of the way (bytes, packed rows, compiled forward pass). The
highest resident memory goes to benchmarks/results/score_memory.json. Target: the larger at most
1.2 times the smaller.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

RESULT = Path(__file__).parent / "results" / "score_memory.json"
TARGET = 1.2
WORDS = 8


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--documents", type=int, nargs=2, default=[100_000, 1_000_000])
  parser.add_argument("--output", type=Path, default=RESULT)
  parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
  a = parser.parse_args()
  if a.child:
    _score(Path(a.child[0]), int(a.child[1]))
    return
  runs = [_in_a_process(number) for number in a.documents]
  ratio = runs[1]["peak_mb"] / runs[0]["peak_mb"]
  result = {"runs": runs, "ratio": ratio, "target": TARGET}
  a.output.parent.mkdir(parents=True, exist_ok=True)
  a.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
  print(json.dumps(result, indent=2))


def _in_a_process(number: int) -> dict[str, float]:
  with tempfile.TemporaryDirectory() as folder:
    with (
      (Path(folder) / "corpus.jsonl.zst").open("wb") as file,
      zstandard.ZstdCompressor().stream_writer(file) as stream,
    ):
      for lines in _lines(number):
        stream.write(lines)
    command = [sys.executable, __file__, "--child", folder, str(number)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
  return json.loads(done.stdout.splitlines()[-1])


def _lines(number: int) -> Iterator[bytes]:
  random = np.random.default_rng(0)
  for start in range(0, number, 10_000):
    words = random.integers(0, 1 << 20, (min(10_000, number - start), WORDS))
    lines = (
      json.dumps({"id": f"document{start + i}", "text": " ".join(f"{word:x}" for word in row)})
      for i, row in enumerate(words)
    )
    yield ("\n".join(lines) + "\n").encode("utf-8")


def _score(folder: Path, number: int) -> None:
  """The child: rates the corpus and prints what it took."""
  import jax

  from datarater.config import ModelConfig
  from datarater.curation.score import score
  from datarater.data.tokenizers import load_tokenizer
  from datarater.data_config import TokenizerConfig
  from datarater.models.rater import init_rater
  from datarater.runtime.artifact import RaterConfig, write_rater
  from datarater.runtime.quantiles import RatingsCdf
  from datarater.scorers.rater import load_rater

  tokenizer = load_tokenizer(TokenizerConfig("bytes"))
  config = RaterConfig(
    model=ModelConfig(width=8, layers=1, heads=1, mlp_width=16),
    vocab_size=tokenizer.vocab_size,
    datapoint="document",
    length=128,
    tokenizer=TokenizerConfig("bytes"),
    tokenizer_fingerprint=tokenizer.fingerprint,
    steps=0,
    seed=0,
  )
  eta = init_rater(config.model, config.vocab_size, jax.random.key(0), config.length)
  cdf = RatingsCdf.of([0.0, 1.0])
  write_rater(folder / "rater", config, eta, cdf, "random", tokenizer.save)
  start = time.perf_counter()
  stats = score(
    load_rater(folder / "rater"), str(folder / "corpus.jsonl.zst"), folder / "run", quiet=True
  )
  if stats["documents"] != number:
    raise SystemExit(f"{stats['documents']} documents were rated, expected {number}")
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  print(
    json.dumps(
      {"documents": number, "peak_mb": peak, "seconds": round(time.perf_counter() - start, 1)}
    )
  )


if __name__ == "__main__":
  main()
