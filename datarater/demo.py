"""The whole story in one command: meta-train a rater, rate and select, train language models on
what it kept, on everything and on a random share, compare, report.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from datarater.config import (
  DemoConfig,
  MetaConfig,
  MetaTrainConfig,
  OptimizerConfig,
  SelectionConfig,
  TrainConfig,
)
from datarater.config_io import to_json
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.evaluation import results as parts
from datarater.evaluation.arm import train_lm
from datarater.evaluation.compare import compare_arms
from datarater.evaluation.pool import RatedPool, kept_by_rating, rate_pool
from datarater.meta.trainer import METRICS, meta_train
from datarater.models.cost import meta_step_flops
from datarater.models.presets import preset
from datarater.report.html import write_report
from datarater.report.tables import arms as arms_table
from datarater.report.tables import ratings as ratings_table
from datarater.runtime.atomic import read_json, write_json
from datarater.scorers.rater import load_rater

TARGET = "speeches"
ARMS = ("unfiltered", "random", "rater")
RESULTS, REPORT = "results.json", "report.html"


def demo_config() -> DemoConfig:
  """The bundled corpus, speeches as target: sized for two cores and a few minutes."""
  data = DataConfig(target_domain=TARGET, datapoint="document", length=128, segments=4)
  return DemoConfig(
    meta_train=MetaTrainConfig(
      name="demo",
      data=data,
      rater=preset("0.05m"),
      inner=preset("0.1m"),
      inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
      meta=MetaConfig(
        steps=100,
        unroll_length=2,
        population=2,
        lifetime=100,
        inner_batch=16,
        outer_batch=16,
        objective="target",
        learning_rate=3e-3,
        warmup_steps=10,
        weight_decay=0.0,
        clip_norm=1.0,
      ),
      checkpoint_every=25,
      cdf_documents=256,
    ),
    train=TrainConfig(
      data=data,
      model=preset("0.1m"),
      optimizer=OptimizerConfig(
        name="adam", learning_rate=4e-3, warmup_steps=20, schedule="cosine"
      ),
      selection=SelectionConfig(discard_fraction=0.5),
      steps=200,
      batch=32,
      evaluations=5,
      evaluation_rows=12,
    ),
  )


def demo(config: DemoConfig, run_dir: str | Path, progress: bool = True) -> dict[str, Any]:
  """Runs it all; `run_dir` then holds `results.json`, which is returned, `report.html`, `rater/`.

  Stopped at any moment, the same call goes on: meta-training and each language model resume, and
  times count from the last start. A finished run is reported again, not run again.
  Raises InputError for bad settings, or a folder that holds a run with others.
  """
  folder = Path(run_dir)
  results = _finished(config, folder) or _run(config, folder, progress)
  write_report(results, folder / REPORT)
  if progress:
    output = Console()
    output.print(arms_table(results))
    output.print(ratings_table(results))
    output.print(f"Report: {folder / REPORT}")
  return results


def _finished(config: DemoConfig, folder: Path) -> dict[str, Any] | None:
  """The results of a run of just this config; None if there are none."""
  if not (folder / RESULTS).is_file():
    return None
  results = read_json(folder / RESULTS, "results")
  return results if results["config"] == to_json(config) else None


def _run(config: DemoConfig, folder: Path, progress: bool) -> dict[str, Any]:
  started = time.perf_counter()
  console = Console(stderr=True, quiet=not progress)
  console.print("[bold]1/3[/] Meta-training a rater through the training of small language models")
  rater_folder = meta_train(config.meta_train, folder, progress)
  console.print("[bold]2/3[/] Rating the pool")
  clock = time.perf_counter()
  source = open_source(config.train.data, "lm")
  rated = rate_pool(load_rater(rater_folder), source, progress)
  rating_seconds = time.perf_counter() - clock
  console.print("[bold]3/3[/] Training language models on everything, a random share, the rater's")
  clock = time.perf_counter()
  arms = _train_arms(config, folder, str(rater_folder), rated, progress)
  seconds = {
    "meta_training": parts.seconds_of(folder / METRICS),
    "rating": rating_seconds,
    "training": time.perf_counter() - clock,
    "total": time.perf_counter() - started,
  }
  results = assemble(config, folder, arms, source, rated, seconds)
  write_json(folder / RESULTS, results)
  return results


def _train_arms(
  config: DemoConfig, folder: Path, rater: str, rated: RatedPool, progress: bool
) -> dict[str, list[dict[str, Any]]]:
  arms = {}
  for kind in ARMS:
    selection = dataclasses.replace(
      config.train.selection, kind=kind, rater=rater if kind == "rater" else ""
    )
    arms[kind] = []
    for number, seed in enumerate(config.lm_seeds):
      name = f"{kind} {number + 1}/{len(config.lm_seeds)}"
      train = dataclasses.replace(config.train, name=name, seed=seed, selection=selection)
      arms[kind].append(train_lm(train, folder / "arms" / kind / f"seed_{seed}", progress, rated))
  return arms


def assemble(
  config: DemoConfig,
  folder: Path,
  arms: dict[str, list[dict[str, Any]]],
  source: Source,
  rated: RatedPool,
  seconds: dict[str, float],
) -> dict[str, Any]:
  """Everything that the report shows, as JSON values."""
  kept = kept_by_rating(source, rated, config.train.selection)
  against = {name: compare_arms(arms["rater"], arms[name]) for name in ("unfiltered", "random")}
  return {
    "title": "DataRater demo",
    "target": config.train.data.target_domain,
    "discard_fraction": config.train.selection.discard_fraction,
    "arms": arms,
    "net_compute_gain": against["unfiltered"]["net_compute_gain"],
    "gain_without_rating": against["unfiltered"]["gain_without_rating"],
    "comparisons": {f"rater_vs_{name}": c["difference"] for name, c in against.items()},
    "rating_by_domain": parts.rating_by_domain(source, rated.ratings),
    "mixture": parts.mixture(source, kept),
    "excerpts": parts.excerpts(source, rated.ratings),
    "meta_training": parts.meta_training(folder / METRICS),
    "cost": {
      "meta_training_flops": meta_training_flops(config.meta_train),
      "rating_flops": rated.flops,
      "lm_training_flops": sum(run["training_flops"] for runs in arms.values() for run in runs),
      "seconds": seconds,
      "peak_memory_gb": parts.peak_memory_gb(),
    },
    "wall_seconds": seconds["total"],
    **parts.environment(),
    "config": to_json(config),
  }


def meta_training_flops(config: MetaTrainConfig) -> float:
  """FLOPs of a meta-training run by the operation count of the mixed estimator."""
  meta, data = config.meta, config.data
  vocab_size = load_tokenizer(data.tokenizer).vocab_size
  return float(
    meta.steps
    * meta.population
    * meta_step_flops(
      config.inner,
      config.rater,
      vocab_size,
      data.length,
      unroll_length=meta.unroll_length,
      inner_rows=meta.inner_batch,
      outer_rows=meta.outer_batch,
      datapoints=data.datapoints_a_row,
    )
  )
