"""The parts of `results.json` that describe a rater and its selection."""

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from datarater.data.sources import Source
from datarater.runtime.metrics import read_metrics

QUANTILES = np.linspace(0, 1, 21)
EXCERPT_CHARACTERS = 600
EXCERPTS, EXCERPTS_A_DOMAIN = 6, 2
PACKAGES = ("datarater", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def rating_by_domain(source: Source, ratings: np.ndarray) -> dict[str, dict[str, Any]]:
  """Mean, spread, quantiles and number of the ratings of each domain's documents."""
  labels = _labels(source)
  table = {}
  for i, name in enumerate(source.domains):
    values = ratings[(labels == i) & np.isfinite(ratings)].astype(np.float64)
    if len(values):
      table[name] = {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "n": len(values),
        "quantiles": np.quantile(values, QUANTILES).tolist(),
      }
  return table


def mixture(source: Source, kept: np.ndarray) -> dict[str, dict[str, float]]:
  """Each domain's share of the text's bytes, before and after selection."""
  labels = _labels(source)
  sizes = np.array([len(source[i].text.encode()) for i in range(len(source))], np.float64)
  mask = np.zeros(len(source), bool)
  mask[kept] = True
  shares = {}
  for when, chosen in (("before", np.ones_like(mask)), ("after", mask)):
    total = np.bincount(labels[chosen], sizes[chosen], len(source.domains))
    shares[when] = {
      name: float(share) for name, share in zip(source.domains, total / total.sum(), strict=True)
    }
  return shares


def excerpts(
  source: Source,
  ratings: np.ndarray,
  count: int = EXCERPTS,
  a_domain: int = EXCERPTS_A_DOMAIN,
) -> dict[str, list[dict[str, Any]]]:
  """The best and the worst rated documents, at most `a_domain` of each, cut to their beginning."""
  rated = np.flatnonzero(np.isfinite(ratings))
  rising = rated[np.argsort(ratings[rated], kind="stable")]
  return {
    "best": _first_varied(source, ratings, rising[::-1], count, a_domain),
    "worst": _first_varied(source, ratings, rising, count, a_domain),
  }


def _first_varied(
  source: Source, ratings: np.ndarray, order: np.ndarray, count: int, a_domain: int
) -> list[dict[str, Any]]:
  chosen: list[dict[str, Any]] = []
  for index in order:
    record = source[int(index)]
    if sum(e["domain"] == record.domain for e in chosen) < a_domain:
      text = record.text[:EXCERPT_CHARACTERS]
      chosen.append(
        {"rating": float(ratings[index]), "domain": record.domain, "id": record.id, "text": text}
      )
    if len(chosen) == count:
      break
  return chosen


def _labels(source: Source) -> np.ndarray:
  return np.array([source.domain_index(i) for i in range(len(source))])


def meta_training(metrics: Path) -> dict[str, Any]:
  """Columns of a run's `metrics.jsonl`, for figures."""
  rows = read_metrics(metrics)
  names = ("step", "outer_loss", "age", "update_norm", "meta_gradient_norm", "weight_entropy")
  columns: dict[str, Any] = {
    name: [row[name] for row in rows] for name in (*names, "effective_sample_size")
  }
  domains = sorted({name for row in rows for name in row["rating_by_domain"]})
  columns["rating_mean_by_domain"] = {
    name: [row["rating_by_domain"].get(name, {}).get("rating_mean") for row in rows]
    for name in domains
  }
  columns["skipped"] = rows[-1]["skipped"] if rows else 0
  if rows:
    columns["datapoints_per_batch"] = float(np.mean([row["datapoints_per_batch"] for row in rows]))
  return columns


def environment() -> dict[str, Any]:
  """`device` and `versions`, for a result that is kept."""
  device = jax.devices()[0]
  kind = device.device_kind
  if device.platform == "cpu":
    kind = f"{platform.machine()} CPU, {os.cpu_count()} cores"
  return {
    "device": kind,
    "versions": {
      "python": platform.python_version(),
      **{name: importlib.metadata.version(name) for name in PACKAGES},
    },
  }


def peak_memory_gb() -> float:
  """The most memory that this process has held, in GB."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def seconds_of(metrics: Path) -> float:
  """Wall seconds that a run's meta-steps took, over all its resumptions."""
  return float(sum(row["seconds"] for row in read_metrics(metrics)))
