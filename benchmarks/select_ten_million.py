"""Time and memory of `select` over the side files of ten million documents.

    python benchmarks/select_ten_million.py          # about 5 minutes, 2 GB of disk

Makes synthetic side files (20 shards; ids of 34 hexadecimal characters, normal ratings rounded so
that some tie, tokens, 16 domains), then runs `select` without inputs, each rule in a process of its
own: decisions on every document are written, except by the dry runs. Numbers go to
benchmarks/results/select_ten_million.json: seconds of the whole process and of `select` in it, and
the process's highest resident memory. Target: below 60 s and 2 GB for the top fraction.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESULT = Path(__file__).parent / "results" / "select_ten_million.json"
SHARDS, DOMAINS = 20, 16
TARGET = {"seconds": 60, "peak_gb": 2}

RULES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
  "top fraction": (lambda rules: rules.TopFraction(0.7), {}),
  "top fraction, dry run": (lambda rules: rules.TopFraction(0.7), {"dry_run": True}),
  "top fraction, approximate": (lambda rules: rules.TopFraction(0.7), {"approximate": True}),
  "top fraction, filtered": (
    lambda rules: rules.TopFraction(0.7),
    {"where": ["tokens >= 64", "domain != d3"]},
  ),
  "per domain": (lambda rules: rules.PerDomain(0.7, {"d1": 0.2}), {}),
  "pointwise": (lambda rules: rules.Pointwise(0.7, 1000), {}),
  "token budget": (lambda rules: rules.TokenBudget(2_000_000_000), {}),
  "temperature": (lambda rules: rules.Temperature(0.5, rules.TopFraction(0.7)), {}),
  "temperature, dry run": (
    lambda rules: rules.Temperature(0.5, rules.TopFraction(0.7)),
    {"dry_run": True},
  ),
}


def main() -> None:
  parser = argparse.ArgumentParser(description="Time and memory of select.")
  parser.add_argument("--documents", type=int, default=10_000_000)
  parser.add_argument("--output", type=Path, default=RESULT)
  parser.add_argument("--folder", type=Path, help="where side files are kept between runs")
  parser.add_argument("--rules", nargs="*", default=list(RULES))
  parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.child:
    return child(*arguments.child)
  with tempfile.TemporaryDirectory() as temporary:
    folder = arguments.folder or Path(temporary)
    if not (folder / "ratings" / "stats.json").exists():
      make_side_files(folder / "ratings", arguments.documents)
    runs = {name: measure(folder, name) for name in arguments.rules}
    result = {**setting(arguments.documents), "target": TARGET, "runs": runs}
  arguments.output.parent.mkdir(exist_ok=True)
  arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def make_side_files(folder: Path, documents: int) -> None:
  """A finished folder of ratings, as `score` would have left it."""
  import pyarrow as pa

  from datarater.curation import ratings as side
  from datarater.runtime.atomic import write_json

  random = np.random.default_rng(0)
  names = [f"{shard:05d}.jsonl.zst" for shard in range(SHARDS)]
  every = []
  for shard, name in enumerate(names):
    rows = documents // SHARDS + (shard < documents % SHARDS)
    digits = np.frombuffer(random.bytes(17 * rows).hex().encode(), "S34")
    domains = random.zipf(1.3, rows) % DOMAINS
    sizes = np.bincount(domains, minlength=DOMAINS)
    stats = {
      "shards": 1,
      "records": rows,
      "documents": rows,
      "bytes": 4000 * rows,
      "domains": {
        f"d{i}": {"documents": int(n), "bytes": 4000 * int(n)} for i, n in enumerate(sizes)
      },
    }
    with side.open_side_file(side.side_path(folder, name)) as writer:
      for start in range(0, rows, 1 << 16):
        part = slice(start, min(rows, start + (1 << 16)))
        number = part.stop - part.start
        writer.add(
          id=pa.array(digits[part].astype(str)),
          shard=pa.repeat(pa.scalar(name), number),
          row=np.arange(part.start, part.stop),
          rating=random.normal(size=number).round(5).astype(np.float32),
          tokens=random.lognormal(6.2, 1, number).astype(np.int32),
          domain=pa.array([f"d{i}" for i in domains[part]]),
          flags=pa.array([[]] * number, pa.list_(pa.string())),
        )
      writer.finish(stats)
    every.append(stats)
  run = {
    "kind": "ratings",
    "schema_version": side.SCHEMA_VERSION,
    "scorers": {"synthetic": {"name": "synthetic", "fingerprint": ""}},
    "settings": {},
    "limit": None,
    "inputs": dict.fromkeys(names, ""),
  }
  write_json(folder / side.RUN, run)
  write_json(folder / side.STATS, {"shards": SHARDS, "records": documents})


def measure(folder: Path, name: str) -> dict[str, object]:
  """One rule in a fresh process."""
  output = folder / "selected"
  shutil.rmtree(output, ignore_errors=True)
  load = os.getloadavg()[0]
  start = time.perf_counter()
  command = [sys.executable, __file__, "--child", str(folder), name]
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  seconds = time.perf_counter() - start
  result = json.loads(done.stdout.splitlines()[-1])
  shutil.rmtree(output, ignore_errors=True)
  found = {"seconds": round(seconds, 2), **result, "load_before": round(load, 2)}
  print(f"{name}: {found}", flush=True)
  return found


def child(folder: str, name: str) -> None:
  """Runs `select` here and prints what it took."""
  from datarater.curation import rules
  from datarater.curation.select import select

  make, options = RULES[name]
  start = time.perf_counter()
  place = Path(folder)
  stats = select(place / "ratings", place / "selected", make(rules), quiet=True, **options)
  seconds = time.perf_counter() - start
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(
    json.dumps(
      {
        "select_seconds": round(seconds, 2),
        "peak_gb": round(peak / 1e9, 3),
        "kept": stats["kept"],
        "tokens_kept": stats["after"]["tokens"],
        "cut": stats["cut"] if isinstance(stats["cut"], float) else None,
        "approximate": stats["approximate"],
      }
    )
  )


def setting(documents: int) -> dict[str, object]:
  packages = ("datarater", "numpy", "pyarrow", "scipy")
  return {
    "documents": documents,
    "shards": SHARDS,
    "cpus": os.cpu_count(),
    "machine": platform.machine(),
    "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    "python": platform.python_version(),
    "versions": {name: version(name) for name in packages},
  }


if __name__ == "__main__":
  main()
