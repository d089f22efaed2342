"""One arm of a comparison: a selection of the pool, a language model trained on it, its curve."""

import dataclasses
from pathlib import Path
from typing import Any

from datarater.config import TrainConfig
from datarater.config_io import from_json
from datarater.data.datasets import check_splits
from datarater.data.loader import evaluation_batches
from datarater.data.sources import open_source
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError, require
from datarater.evaluation.pool import Pool, RatedPool, open_pool
from datarater.meta.inputs import stream_seed
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.run_folder import CONFIG, run_folder
from datarater.training.held_out import HeldOut
from datarater.training.lm import train_language_model

RESULT = "result.json"
LM_STREAM = 3
"""Number of the language model's data stream (see `stream_seed`)."""


def train_lm(
  config: TrainConfig,
  run_dir: str | Path,
  progress: bool = True,
  rated: RatedPool | None = None,
) -> dict[str, Any]:
  """Trains a language model on the pool that `config.selection` asks for; returns `result.json`.

  The same call again resumes, or returns the finished result. rated: ratings of the pool made
  before, for offline selection by a rater. The result holds:
    seed, bits_per_byte and flops at the end, training_flops, rating_flops;
    curve: [[flops, bits per byte on the target], ...], by_domain: {domain: [bits per byte, ...]},
    nats_per_token_by_domain: as by_domain, None at points that an older version measured;
    held_out: the final `training.held_out.Loss` of `target`, and of `pool` where there is one.
  FLOPs are what the arm has spent so far, rating and oversampling included. With `validate`,
  `validation_target` and `validation_pool` hold the final losses on that split.
  """
  with run_folder(Path(run_dir), config) as folder:
    if (folder / RESULT).exists():
      return read_json(folder / RESULT, "result")
    validated = ("validation",) if config.validate else ()
    check_splits(config.data, tuple(dict.fromkeys(("lm", config.evaluation_split, *validated))))
    tokenizer = load_tokenizer(config.data.tokenizer)
    held_out = open_held_out(config, tokenizer, config.evaluation_split)
    at_end = _validation(config, tokenizer) if config.validate else {}
    pool = open_pool(config, tokenizer, stream_seed(config.seed, LM_STREAM), rated)
    try:
      curve = train_language_model(
        config, pool.loader, held_out, tokenizer.vocab_size, folder, progress, at_end
      )
    finally:
      pool.loader.close()
    result = arm_result(config, pool, curve)
    write_json(folder / RESULT, result)
    return result


def read_result(run_dir: str | Path) -> tuple[TrainConfig, dict[str, Any]]:
  """(config, result) of a finished run folder; InputError if it is not one."""
  folder = Path(run_dir)
  if not (folder / RESULT).is_file():
    raise InputError(
      f"run folder {str(folder)!r} has no {RESULT}; give the folder of a finished `datarater train`"
    )
  config = from_json(TrainConfig, read_json(folder / CONFIG, "run config"))
  return config, read_json(folder / RESULT, "result")


def open_held_out(config: TrainConfig, tokenizer: Tokenizer, split: str) -> dict[str, HeldOut]:
  """`target`: the held-out text that the config names; `pool`: every domain beside it.

  `pool` is there only for a target that is one domain of the dataset: without a target the two are
  the same text, and another dataset's splits say nothing about the pool's.
  """
  data = config.data
  held_out = {"target": _held_out(config, data, tokenizer, split)}
  if data.target_domain and not data.target_dataset:
    everywhere = dataclasses.replace(data, target_domain="")
    held_out["pool"] = _held_out(config, everywhere, tokenizer, split)
  return held_out


def _validation(config: TrainConfig, tokenizer: Tokenizer) -> dict[str, HeldOut]:
  """The validation split, by the names that its losses have in the curve's last point."""
  held_out = open_held_out(config, tokenizer, "validation")
  return {f"validation_{name}": text for name, text in held_out.items()}


def _held_out(config: TrainConfig, data: DataConfig, tokenizer: Tokenizer, split: str) -> HeldOut:
  """A split's domains, each as far as the config reads it."""
  source = open_source(data, split)
  targets = source.domains if data.has_target else config.evaluation_targets
  missing = sorted(set(targets) - set(source.domains))
  require(
    not missing, f"evaluation_targets {missing} are not in {split!r}; choose among {source.domains}"
  )
  rows = {
    name: config.evaluation_target_rows if name in targets else config.evaluation_rows
    for name in source.domains
  }
  batches = evaluation_batches(source, tokenizer, data, config.batch, rows)
  return HeldOut(list(batches), source.domains)


def arm_result(config: TrainConfig, pool: Pool, curve: list[dict[str, Any]]) -> dict[str, Any]:
  """What a finished arm reports; see `train_lm`."""
  flops = [point["training_flops"] + pool.rating_flops_until(point["step"]) for point in curve]
  losses = [point["target"]["bits_per_byte"] for point in curve]
  widest = [point.get("pool", point["target"]) for point in curve]
  domains = widest[0]["by_domain"]
  training_flops = curve[-1]["training_flops"]
  return {
    "seed": config.seed,
    "bits_per_byte": losses[-1],
    "nats_per_token": curve[-1]["target"]["nats_per_token"],
    "flops": flops[-1],
    "training_flops": training_flops,
    "rating_flops": flops[-1] - training_flops,
    "documents_kept": None if pool.kept is None else len(pool.kept),
    "curve_training_flops": [point["training_flops"] for point in curve],
    "curve": [list(pair) for pair in zip(flops, losses, strict=True)],
    "by_domain": {name: [loss["by_domain"][name] for loss in widest] for name in domains},
    "nats_per_token_by_domain": {
      name: [loss.get("nats_per_token_by_domain", {}).get(name) for loss in widest]
      for name in domains
    },
    "held_out": {name: curve[-1][name] for name in ("target", "pool") if name in curve[-1]},
    **{name: loss for name, loss in curve[-1].items() if name.startswith("validation_")},
  }
