"""TRAK beside its reference, the package `traker` 0.3.2: the same scores, and how long they take.

    python benchmarks/trak.py --peer-path ENV/lib/python3.11/site-packages    # about ten minutes

A language model of 271k parameters, trained for some steps on the bundled corpus; 1,000 rows of 64
tokens as the pool, 64 as targets, 512 numbers a gradient, and both on the CPU. To
benchmarks/results/trak.json go

- the rank correlation of scores over the pool, a target at a time (mean over targets) and for the
  targets' mean, by which DsDm selects: given one projection; and with each package's own, of one
  projection and of the mean over several, beside that of the reference with itself, seed by seed.
  Of random projections this small no two agree well: that is the reference's own noise;
- seconds to project the pool's gradients, ours without compilation: of the clock, and of all cores
  together, which a busy machine changes less. The reference runs with its projector for CPUs: once
  plainly, in batches of 32 and with the attention that PyTorch chooses; and `tuned`, in large ones
  (its projector makes its matrix anew for each) and with an attention that vmap has a rule for.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats
from torch_transformer import to_torch

from datarater.config import ModelConfig, TrainConfig
from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.evaluation.arm import train_lm
from datarater.evaluation.results import environment
from datarater.runtime.atomic import write_json
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm.features import Gradients
from datarater.scorers.dsdm.kernel import attribute
from datarater.scorers.dsdm.projection import block_rows, signs
from datarater.scorers.proxy import Proxy, load_proxy
from datarater.scorers.target import Example

RESULT = Path(__file__).parent / "results" / "trak.json"
LENGTH, PROJECTION, TARGETS, PLAIN_BATCH = 64, 512, 64, 32
MODEL = ModelConfig(width=96, layers=2, heads=4, mlp_width=448)
RIDGES = (1e-4, 1.0)
"""Relative to the mean eigenvalue: as good as none, and what the averages are compared at."""
GOALS = {"one_projection": 0.95, "own_projections": 0.9, "dense": 5, "factored": 10}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--peer-path", required=True, help="site-packages that hold traker")
  parser.add_argument("--pool", type=int, default=1000)
  parser.add_argument("--projections", type=int, default=24)
  parser.add_argument("--peer-batch", type=int, default=125)
  parser.add_argument("--steps", type=int, default=300)
  parser.add_argument("--output", type=Path, default=RESULT)
  a = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    proxy = _trained(Path(folder) / "lm", a.steps)
    pool, targets = (_texts(split, n) for split, n in (("lm", a.pool), ("validation", TARGETS)))
    ours = Ours(proxy, pool, targets)
    seconds = {kind: ours.seconds(kind) for kind in ("dense", "factored")}
    peer = _peer(Path(folder), proxy, ours, a)
  result = {
    **environment(),
    "parameters": sum(x.size for x in jax.tree.leaves(proxy.theta)),
    "pool": len(pool),
    "targets": len(targets),
    "projection": PROJECTION,
    "projections_averaged": a.projections,
    "one_projection": {
      str(r): _agreement(ours.scores("dense", [0], r), peer[f"ours {r}"]) for r in ours.absolute
    },
    "own_projections": _own(ours, peer, a.projections),
    "goals": GOALS,
  }
  seconds["traker"] = peer["plain"].tolist()
  seconds["traker_tuned"] = np.median(peer["seconds"], axis=0).tolist()
  for column, name in enumerate(("seconds", "cpu_seconds")):
    took = {who: both[column] for who, both in seconds.items()}
    faster = {
      who: {kind: took[who] / took[kind] for kind in ("dense", "factored")}
      for who in ("traker", "traker_tuned")
    }
    result[name] = {**took, "faster_than": faster}
  a.output.parent.mkdir(parents=True, exist_ok=True)
  write_json(a.output, result)
  print(json.dumps(result, indent=2))


class Ours:
  """Scores [targets, pool] of one proxy. absolute: λ by relative ridge, of projection 0, dense."""

  def __init__(self, proxy: Proxy, pool: list[str], targets: list[str]):
    self.proxy = proxy
    self.pool, self.targets = ([Example(text) for text in texts] for texts in (pool, targets))
    x = self._gradients("dense", 0)(self.pool).values.astype(np.float64)
    self.absolute = {ridge: ridge * float((x**2).sum()) / PROJECTION for ridge in RIDGES}

  def scores(self, kind: str, numbers: list[int], ridge: float) -> np.ndarray:
    """The mean over projections, each on the scale of its own."""
    total = 0.0
    for number in numbers:
      gradients = self._gradients(kind, number)
      x, t = gradients(self.pool).values, gradients(self.targets).values
      found = attribute(x, t, ridge)
      total = total + found / found.std()
    return np.asarray(total)

  def seconds(self, kind: str) -> list[float]:
    """Of the clock and of all cores: medians of three, once compiled."""
    gradients, took = self._gradients(kind, 0), []
    for _ in range(4):
      start, start_cpu = time.perf_counter(), time.process_time()
      gradients(self.pool)
      took.append((time.perf_counter() - start, time.process_time() - start_cpu))
    return np.median(took[1:], axis=0).tolist()

  def signs(self) -> np.ndarray:
    """S of projection 0, written out."""
    projection = self._gradients("dense", 0).projection
    rows = block_rows(PROJECTION)
    made = [
      np.asarray(signs(projection.signs_key, block, rows, PROJECTION))
      for block in range(-(-projection.size // rows))
    ]
    return np.concatenate(made)[: projection.size]

  def _gradients(self, kind: Any, number: int) -> Gradients:
    return Gradients(self.proxy, DsdmConfig(projection=PROJECTION, kind=kind), number)


def _own(ours: Ours, peer: dict[str, np.ndarray], number: int) -> dict[str, Any]:
  """Agreement at the larger ridge with projections of each one's own."""
  ridge = RIDGES[-1]
  seeds = [peer[f"seed {seed}"] for seed in range(number)]
  halves = [_mean(seeds[::2]), _mean(seeds[1::2])]
  found: dict[str, Any] = {
    "traker_with_itself": {
      "one": _agreement(seeds[0], seeds[1]),
      "half_of_them_each": _agreement(*halves),
    }
  }
  for kind in ("dense", "factored"):
    found[kind] = {
      "one": _agreement(ours.scores(kind, [1], ridge), seeds[0]),
      "averaged": _agreement(ours.scores(kind, list(range(number)), ridge), _mean(seeds)),
    }
  return found


def _mean(scores: list[np.ndarray]) -> np.ndarray:
  return np.sum([x / x.std() for x in scores], axis=0)


def _agreement(a_MxN: np.ndarray, b_MxN: np.ndarray) -> dict[str, float]:
  """Spearman's correlation over the pool, by target and of the targets' mean."""

  def rank_correlation(a_N: np.ndarray, b_N: np.ndarray) -> float:
    return float(np.asarray(scipy.stats.spearmanr(a_N, b_N))[0])

  by_target = [rank_correlation(a, b) for a, b in zip(a_MxN, b_MxN, strict=True)]
  of_mean = rank_correlation(a_MxN.mean(0), b_MxN.mean(0))
  return {"by_target": float(np.mean(by_target)), "of_targets_mean": of_mean}


def _peer(folder: Path, proxy: Proxy, ours: Ours, a: argparse.Namespace) -> dict[str, np.ndarray]:
  """Scores [targets, pool] by name, and seconds, of the reference in a process of its own."""
  rows = {}
  for name, examples in (("pool", ours.pool), ("targets", ours.targets)):
    texts = [proxy.tokenizer.encode(example.text) for example in examples]
    separator = proxy.tokenizer.separator_id
    rows[name] = np.stack([np.concatenate([[separator], text]) for text in texts])
  theta = to_torch(proxy.theta["transformer"])
  theta = {f"theta.{name}": x for name, x in theta.items()}
  np.savez(folder / "in.npz", signs=ours.signs(), **rows, **theta)  # type: ignore[arg-type]
  settings = {
    "model": dataclasses.asdict(proxy.model),
    "vocab_size": proxy.tokenizer.vocab_size,
    "projection": PROJECTION,
    "projections": a.projections,
    "peer_batch": a.peer_batch,
    "plain_batch": PLAIN_BATCH,
    "ridge": ours.absolute[RIDGES[-1]],
    "ridges": {str(ridge): value for ridge, value in ours.absolute.items()},
  }
  write_json(folder / "settings.json", settings)
  script = Path(__file__).with_name("torch_trak.py")
  subprocess.run([sys.executable, script, folder, a.peer_path], check=True)
  found = dict(np.load(folder / "out.npz"))
  return {name: x if name in ("seconds", "plain") else x.T for name, x in found.items()}


def _trained(folder: Path, steps: int) -> Proxy:
  data = DataConfig(datapoint="document", length=LENGTH, segments=4)
  config = TrainConfig(
    data=data, model=MODEL, steps=steps, batch=32, evaluations=1, evaluation_rows=8
  )
  train_lm(config, folder, progress=False)
  return load_proxy(folder)


def _texts(split: Any, number: int) -> list[str]:
  """Pieces that fill a row with the separator, evenly spaced over a split."""
  source, size, found = open_source(DataConfig(), split), LENGTH - 1, []
  for place in range(len(source)):
    text = source[place].text.encode("ascii", "ignore").decode()
    found += [text[at : at + size] for at in range(0, len(text) - size + 1, size)]
  return [found[i] for i in np.linspace(0, len(found) - 1, number).astype(int)]


if __name__ == "__main__":
  main()
