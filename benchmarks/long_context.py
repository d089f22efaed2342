"""Attention all at once against a block at a time: temporaries and seconds over the length.

    python benchmarks/long_context.py       # minutes on a CPU, up to 8 GB

One layer's attention (4 heads of 32 features, a row of three documents, causal): forward pass,
gradient and Hessian product (forward over reverse, as in meta-training) of `xla` and `blockwise` at
1,024 to 8,192 tokens. A program whose temporaries would pass 8 GB does not run; the compiler's
count of them is recorded. Then what `auto` is settled by: a plain step and a Hessian product of a
language model, with as many tokens in rows of 256, 512 and 1,024.

Expected, on a CPU: `blockwise` takes a fourth of the time, in memory that grows with the length
alone; in a language model it is ahead from 512 tokens on. Of the seconds, those of the CPU bear
company on the machine best. Writes benchmarks/results/long_context.json and .png.
"""

import argparse
import functools
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from datarater.config import ModelConfig
from datarater.data.packing import Chunk, assemble
from datarater.models import attention, language_model
from datarater.report import style

RESULT = Path(__file__).parent / "results" / "long_context.json"
IMPLEMENTATIONS: tuple[attention.Implementation, ...] = ("xla", "blockwise")
PROGRAMS = ("forward", "gradient", "hessian_product")
HEADS, FEATURES, DOCUMENTS = 4, 32, 3
MOST_BYTES = 8e9
ROUNDS = 3
MODEL = ModelConfig(width=128, layers=2, heads=4, mlp_width=512, remat=True)
MODEL_TOKENS, MODEL_LENGTHS, VOCAB = 4096, (256, 512, 1024), 257

Row = dict[str, Any]


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
  parser.add_argument("--output", type=Path, default=RESULT)
  a = parser.parse_args()
  result = {
    "device": jax.devices()[0].device_kind,
    "cpus": os.cpu_count(),
    "jax": jax.__version__,
    "attention": [row for length in a.lengths for row in attention_rows(length)],
    "language_model": [row for length in MODEL_LENGTHS for row in model_rows(length)],
    "longest_at_once": attention.LONGEST_AT_ONCE,
  }
  a.output.parent.mkdir(parents=True, exist_ok=True)
  a.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
  style.save_png(draw(result["attention"]), str(a.output.with_suffix(".png")))


def attention_rows(length: int) -> list[Row]:
  """A row for each implementation and program."""
  random = np.random.default_rng(0)
  shape = (1, length, HEADS, FEATURES)
  x, tangent = (
    tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for _ in "qkv") for _ in range(2)
  )
  ids = jnp.asarray(1 + np.arange(length)[None] * DOCUMENTS // length, jnp.int32)
  rows = []
  for name in IMPLEMENTATIONS:
    seen = attention.visibility(ids, True, name)
    forward = functools.partial(_forward, seen)
    gradient = jax.grad(functools.partial(_loss, seen))
    programs = (forward, gradient, _hessian_product(gradient, tangent))
    for program, function in zip(PROGRAMS, programs, strict=True):
      row = {"length": length, "implementation": name, "program": program, **measured(function, x)}
      print(row, flush=True)
      rows.append(row)
  return rows


def _forward(seen: attention.Visibility, x: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
  q, k, v = x
  return attention.attend(q, k, v, seen)


def _loss(seen: attention.Visibility, x: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
  return jnp.sum(jnp.sin(_forward(seen, x)))


def model_rows(length: int) -> list[Row]:
  """The same of a language model's gradient and Hessian product, blocks rematerialised."""
  tokens = np.random.default_rng(0).integers(0, VOCAB, length, dtype=np.int32)
  halves = [Chunk(half, k, 0, len(half)) for k, half in enumerate(np.array_split(tokens, 2))]
  count = MODEL_TOKENS // length
  batch = jax.tree.map(jnp.asarray, assemble([halves] * count, count, length, 2))
  theta = language_model.init_language_model(MODEL, VOCAB, jax.random.key(0), length)
  rows = []
  for name in IMPLEMENTATIONS:
    config = ModelConfig(**{**vars(MODEL), "attention": name})
    loss = language_model.mean_loss_fn(language_model.token_nll_fn(config, VOCAB))
    gradient = jax.grad(lambda theta, loss=loss: loss(theta, batch))
    programs = {"gradient": gradient, "hessian_product": _hessian_product(gradient, theta)}
    for program, function in programs.items():
      measures = measured(function, theta)
      row = {"length": length, "implementation": name, "program": program, **measures}
      print(row, flush=True)
      rows.append(row)
  return rows


def _hessian_product(gradient: Callable, tangent: Any) -> Callable:
  return lambda x: jax.jvp(gradient, (x,), (tangent,))[1]


def measured(function: Callable, x: Any) -> Row:
  """Bytes of temporaries; seconds and CPU seconds of the best round, None where it did not run."""
  compiled = jax.jit(function).lower(x).compile()
  analysis: Any = compiled.memory_analysis()
  temporaries = int(analysis.temp_size_in_bytes)
  row: Row = {"temporaries": temporaries, "seconds": None, "cpu_seconds": None}
  if temporaries > MOST_BYTES:
    return row | {"skipped": f"needs more than {MOST_BYTES / 1e9:.0f} GB"}
  jax.block_until_ready(compiled(x))
  rounds = [_timed(compiled, x) for _ in range(ROUNDS)]
  seconds, cpu_seconds = (min(times) for times in zip(*rounds, strict=True))
  return row | {"seconds": round(seconds, 4), "cpu_seconds": round(cpu_seconds, 4)}


def _timed(compiled: Callable, x: Any) -> tuple[float, float]:
  start, cpu = time.perf_counter(), _cpu_seconds()
  jax.block_until_ready(compiled(x))
  return time.perf_counter() - start, _cpu_seconds() - cpu


def _cpu_seconds() -> float:
  """Of this process, all threads: what company on the machine disturbs least."""
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime


def draw(rows: list[Row]) -> Figure:
  """Temporaries above, CPU seconds below, a column a program."""
  lengths = sorted({row["length"] for row in rows})
  with matplotlib.rc_context(style.STYLE):
    figure, axes = style.panels((1080, 560), 2, len(PROGRAMS))
    for panel, axis in enumerate(axes):
      program = PROGRAMS[panel % len(PROGRAMS)]
      field, scale = (("temporaries", 1e-6), ("cpu_seconds", 1.0))[panel // len(PROGRAMS)]
      unit = "temporaries, MB" if field == "temporaries" else "CPU seconds"
      axis.set(xscale="log", yscale="log", title=f"{program.replace('_', ' ')}: {unit}")
      seen, ends = [], []
      for name in IMPLEMENTATIONS:
        chosen = [r for r in rows if (r["program"], r["implementation"]) == (program, name)]
        values = style.numbers([r[field] for r in sorted(chosen, key=lambda r: r["length"])])
        colour = style.PALETTE["rater" if name == "blockwise" else "unfiltered"]
        axis.plot(lengths, values * scale, color=colour, marker="o", markersize=5)
        seen.append(values * scale)
        label = name if np.isfinite(values[-1]) else f"{name}: over 8 GB"
        ends.append((label, float((values * scale)[np.isfinite(values)][-1]), colour))
      style.fit_height(axis, seen, log=True)
      axis.set_xlim(lengths[0] / 1.2, lengths[-1] * 1.1)
      axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
      axis.xaxis.set_minor_locator(NullLocator())
      axis.yaxis.set_major_locator(LogLocator())
      axis.yaxis.set_minor_locator(NullLocator())
      axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
      style.end_labels(axis, ends, 2)
  return figure


if __name__ == "__main__":
  main()
