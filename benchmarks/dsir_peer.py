"""The other side of `dsir.py`, for an environment with data-selection and fasttext-numpy2-wheel.

    python benchmarks/dsir_peer.py dsir FOLDER        pool.jsonl, target.jsonl → weights.npy
    python benchmarks/dsir_peer.py fasttext FOLDER    train.txt, test.txt → log_odds.npy

FOLDER/peer.json says how long it took and with which versions.
"""

# pyright: reportMissingImports=false
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FASTTEXT = {"wordNgrams": 2, "lr": 0.1, "epoch": 25, "dim": 100, "bucket": 1 << 18, "seed": 0}


def main() -> None:
  task, folder = sys.argv[1], Path(sys.argv[2])
  said = {"dsir": _dsir, "fasttext": _fasttext}[task](folder)
  (folder / "peer.json").write_text(json.dumps(said), encoding="utf-8")


def _dsir(folder: Path) -> dict[str, Any]:
  from data_selection import HashedNgramDSIR

  start = time.perf_counter()
  dsir = HashedNgramDSIR(
    [str(folder / "pool.jsonl")], [str(folder / "target.jsonl")], cache_dir=str(folder / "cache")
  )
  dsir.fit_importance_estimator()
  fitted = time.perf_counter()
  dsir.compute_importance_weights()
  scored = time.perf_counter()
  shards = [np.load(folder / "cache/log_importance_weights" / f"{i}.npy") for i in _workers(dsir)]
  weights_N = np.zeros(sum(map(len, shards)))
  for i, shard in enumerate(shards):  # worker i has every document i modulo their number
    weights_N[i :: len(shards)] = shard
  np.save(folder / "weights.npy", weights_N)
  return {
    "package": f"data-selection {version('data-selection')}, nltk {version('nltk')}",
    "processes": dsir.num_proc,
    "fit_seconds": fitted - start,
    "score_seconds": scored - fitted,
  }


def _workers(dsir: Any) -> range:
  return range(max(1, dsir.num_proc))


def _fasttext(folder: Path) -> dict[str, Any]:
  import fasttext

  start = time.perf_counter()
  model = fasttext.train_supervised(str(folder / "train.txt"), thread=1, verbose=0, **FASTTEXT)
  fitted = time.perf_counter()
  lines = (folder / "test.txt").read_text(encoding="utf-8").splitlines()
  log_odds = []
  for line in lines:
    labels, shares = model.predict(line, k=2)
    by_label = dict(zip(labels, shares, strict=True))
    log_odds.append(np.log(by_label["__label__target"]) - np.log(by_label["__label__pool"]))
  np.save(folder / "log_odds.npy", np.array(log_odds))
  return {
    "package": f"fasttext-numpy2-wheel {version('fasttext-numpy2-wheel')}",
    "settings": FASTTEXT,
    "fit_seconds": fitted - start,
    "score_seconds": time.perf_counter() - fitted,
  }


if __name__ == "__main__":
  main()
