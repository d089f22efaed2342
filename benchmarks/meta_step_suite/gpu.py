"""What the benchmark of the meta-step adds on a GPU: models of 50M and 150M, and utilisation.

Model FLOP utilisation is the FLOPs that the task cannot do without, over seconds and the device's
peak: nothing recomputed counts.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models.cost import rating_flops
from datarater.models.presets import preset
from datarater.models.rater import init_rater, rate_fn
from meta_step_suite.counts import needed_flops, peak_flops, rows_that_fit
from meta_step_suite.problem import Case, Inner, Start, make_program, make_start
from meta_step_suite.runs import DEFAULT, MIXED, Runs, over
from meta_step_suite.targets import target


def _large(name: str) -> Case:
  """In bfloat16, 32,000 tokens of vocabulary; rows 0: as many as fit."""
  model = dataclasses.replace(preset(name), dtype="bfloat16")
  return Case(name, model, vocab_size=32_000, rows=0, length=2048, unrolls=(2, 4), reverse_until=2)


GPU_CASES = (
  Case("1.6m", ModelConfig(width=128, layers=8, heads=4, mlp_width=512)),
  Case("10m", preset("10m")),
  _large("50m"),
  _large("150m"),
)
WITHOUT_GPU = """JAX sees no GPU here. On one, this preset measures in one run:
  - models of 1.6M and 10M parameters, 8 rows of 256 tokens, float32, T of 1, 2, 4 and 8: time and
    temporaries of the meta-step against plain steps, jax.grad and, where it has CUDA, PyTorch;
  - models of 50M and 150M, rows of 2,048 tokens (as many as fit), bfloat16, T of 2 and 4: the same
    without PyTorch; the time within 1.15 of the operation count's prediction; model FLOP
    utilisation of meta-training (aim 40%) and of rating (aim 50%).
Nothing was measured."""
MOST_ROWS = 16
"""Enough tokens to fill a device."""
SHARE = 0.7
"""Of the device's memory, the most that the leanest variant may take: others are to run as well."""


def fitted(case: Case, device: Any) -> Case:
  """The case with as many rows as fit in the device's memory; 0 where not even one does."""

  def needs(rows: int) -> tuple[int, float]:
    sized = dataclasses.replace(case, rows=rows)
    start = make_start(sized, warm_steps=0)
    return rows, make_program(sized, start, Inner(start), DEFAULT, case.most, True).memory

  limit = device.memory_stats()["bytes_limit"]
  rows = rows_that_fit(needs(1), needs(2), SHARE * limit, MOST_ROWS)
  return dataclasses.replace(case, rows=rows)


def utilisation(
  case: Case, start: Start, runs: Runs, device: Any, peak: float | None
) -> dict[str, Any]:
  """Shares of the device's peak; None where it is not known (`--peak-flops`)."""
  peak = peak or peak_flops(device.device_kind)
  found: dict[str, Any] = {"peak_flops": peak, "meta_training": [], "rating": None}
  for T in runs.unrolls():
    run = runs.fastest(T, list(MIXED))
    if run is None or run.seconds is None or run.flops is None:
      continue
    needed = case.rows * needed_flops(case.model, case.vocab_size, case.length, T)
    found["meta_training"].append(
      {
        "T": T,
        "variant": run.variant,
        "remat": run.remat,
        "model_flop_utilisation": over(needed / run.seconds, peak),
        "with_recomputation": over(run.flops / run.seconds, peak),
        "time_over_prediction": over(runs.ratio(run), runs.counted_ratio(run)),
      }
    )
  flops = case.rows * rating_flops(case.model, case.length)
  found["rating"] = over(flops / _rating_seconds(case, start), peak)
  return found


def _rating_seconds(case: Case, start: Start, repeats: int = 10) -> float:
  """Of one batch, by a rater of the same size as the inner model."""
  eta = init_rater(case.model, case.vocab_size, jax.random.key(0), case.length)
  eta, batch = jax.tree.map(jnp.asarray, (eta, start.outer_B))
  rate = jax.jit(rate_fn(case.model, case.vocab_size, "sequence"))
  ratings = jax.block_until_ready(rate(eta, batch))
  begin = time.perf_counter()
  for _ in range(repeats):
    ratings = rate(eta, batch)
  jax.block_until_ready(ratings)
  return (time.perf_counter() - begin) / repeats


def utilisation_targets(model: str, used: dict[str, Any]) -> list[dict[str, Any]]:
  """The targets of a large model on a GPU."""
  found = []
  for row in used["meta_training"]:
    of = {"model": model, "T": row["T"]}
    share = row["model_flop_utilisation"]
    found += [
      target(
        "time / the operation count's prediction", 1.15, row["time_over_prediction"], True, **of
      ),
      target("model FLOP utilisation of meta-training", 0.4, share, False, **of),
    ]
  name = "model FLOP utilisation of rating"
  return [*found, target(name, 0.5, used["rating"], False, model=model)]
