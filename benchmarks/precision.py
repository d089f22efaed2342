"""How far the meta-gradient of `mixed` in float32 and in bfloat16 is from float64.

    python benchmarks/precision.py                         # minutes on two CPU cores
    python benchmarks/precision.py --unroll-lengths 2 4    # these again, the others stay

States as in `estimators.py`: demo-sized models in mid-training on bundled text, several seeds. The
truth is `reverse` in float64. bfloat16 is `ModelConfig.dtype` of both networks: parameters, losses,
softmax, the optimiser and the meta-gradient stay float32. Writes results/precision.json and .png.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import jax
import matplotlib
import meta_states
import tyro
from matplotlib.figure import Figure
from meta_states import CONFIG, VOCAB, Truth

from datarater.evaluation.results import environment
from datarater.meta.estimators import mixed
from datarater.models import cost
from datarater.report.style import (
  PALETTE,
  STYLE,
  end_labels,
  interval,
  panels,
  power_of_ten,
  save_png,
)
from datarater.runtime.atomic import write_json

RESULT = Path(__file__).parent / "results" / "precision.json"
VARIANTS = tuple(itertools.product(("float32", "bfloat16"), (False, True)))
"""(dtype of activations, whether blocks are rematerialised)."""
MEASURED = ("relative_error", "cosine", "norm_ratio")


def main(
  seeds: int = 3, unroll_lengths: tuple[int, ...] = (1, 2, 4, 8), output: Path = RESULT
) -> None:
  """Measures and writes.

  Args:
    seeds: States, each from its own models and batches; 2 or more.
    unroll_lengths: T. Others that the output holds stay as they are.
    output: The JSON; the figure lies beside it.
  """
  settings = {
    "inner_parameters": cost.language_model_parameters(CONFIG.inner, VOCAB),
    "rater_parameters": cost.rater_parameters(CONFIG.rater, VOCAB),
    "warm_updates": meta_states.WARM_STEPS * meta_states.WARM_UNROLL,
    "matmul_precision": jax.config.values["jax_default_matmul_precision"] or "default",
    "seeds": seeds,
  }
  rows = meta_states.rows_to_keep(
    output, settings, lambda row: row["unroll_length"] in unroll_lengths
  )
  truth = Truth()
  states = meta_states.warmed_states(seeds)
  for T in unroll_lengths:
    for dtype, remat in VARIANTS:
      function = jax.jit(mixed(meta_states.problem(dtype, remat)))
      for seed, state in enumerate(states):
        gradient = function(*state.window(T))[0]
        row = {"unroll_length": T, "dtype": dtype, "remat": remat, "seed": seed}
        rows.append(row | meta_states.compared(gradient, truth.of(state, seed, T)))
        print(row, {k: f"{rows[-1][k]:.3g}" for k in MEASURED}, flush=True)
    rows.sort(key=lambda row: row["unroll_length"])
    results = {"settings": settings, **environment(), "summary": _summary(rows), "rows": rows}
    write_json(output, results)
    save_png(figure(rows), output.with_suffix(".png"))
  print(table(_summary(rows)))


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Mean over seeds and half width of its 95% interval, for each T and variant."""
  summary = []
  lengths = sorted({row["unroll_length"] for row in rows})
  for T, (dtype, remat) in itertools.product(lengths, VARIANTS):
    line: dict[str, Any] = {"unroll_length": T, "dtype": dtype, "remat": remat}
    chosen = [row for row in rows if all(row[key] == line[key] for key in line)]
    if chosen:
      for measure in MEASURED:
        line[measure], line[f"{measure}_ci95"] = interval([row[measure] for row in chosen])
      summary.append(line)
  return summary


def table(summary: list[dict[str, Any]]) -> str:
  """Markdown: a line for each variant, for each T relative error and 1 - cosine."""
  lengths = sorted({line["unroll_length"] for line in summary})
  head = ["activations", *(f"{what}, T = {T}" for what in ("error", "1 - cosine") for T in lengths)]
  rows = [head, ["---"] * len(head)]
  for dtype, remat in VARIANTS:
    lines = [line for line in summary if (line["dtype"], line["remat"]) == (dtype, remat)]
    errors = [f"{line['relative_error']:.2g}" for line in lines]
    angles = [f"{1 - line['cosine']:.1g}" for line in lines]
    rows.append([f"{dtype}, remat" if remat else dtype, *errors, *angles])
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figure(rows: list[dict[str, Any]]) -> Figure:
  """The relative error over T: a dot for each seed, lines through the means; dashed with remat."""
  with matplotlib.rc_context(STYLE):
    drawing, (axes,) = panels((560, 360), 1, 1)
    axes.set_title("relative error of the meta-gradient against float64")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: power_of_ten(round(math.log10(value))))
    ends = []
    for dtype, remat in VARIANTS:
      chosen = [row for row in rows if (row["dtype"], row["remat"]) == (dtype, remat)]
      colour = PALETTE["target" if dtype == "bfloat16" else "rater"]
      x, y = ([row[k] for row in chosen] for k in ("unroll_length", "relative_error"))
      axes.plot(x, y, "o", color=colour, markersize=4, alpha=0.6, mfc="none" if remat else colour)
      x, y = ([line[k] for line in _summary(chosen)] for k in ("unroll_length", "relative_error"))
      axes.plot(x, y, color=colour, linestyle="--" if remat else "-")
      ends.append((f"{dtype}, remat" if remat else dtype, y[-1], colour))
    meta_states.length_axis(axes, rows)
    end_labels(axes, ends)
  return drawing


if __name__ == "__main__":
  tyro.cli(main)
