"""The estimators of the meta-gradient beside each other: direction, length, time.

    python benchmarks/estimators.py                        # minutes on two CPU cores
    python benchmarks/estimators.py --unroll-lengths 2 4   # these again, the others stay;
    python benchmarks/estimators.py --estimators mixed     # so too, by name

Demo-sized models in mid-training on bundled text (`meta_states.py`), several seeds. The truth is
`reverse` in float64; the estimators run in float32, as in training. Of `evolution` with fewer than
64 pairs two draws are taken, and their cosines averaged. Time is over one plain training step of
the inner model, measured beside it; the operation count predicts it.
Writes results/estimators.json and results/estimators.png.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import meta_states
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from meta_states import CONFIG, VOCAB, State, Truth

from datarater.config import MetaConfig
from datarater.evaluation.results import environment
from datarater.meta.estimators import make_estimator
from datarater.models import cost, language_model
from datarater.report.style import PALETTE, STYLE, end_labels, interval, panels, save_png
from datarater.runtime.atomic import write_json
from datarater.runtime.memory import keep_freed_memory
from datarater.training.lm import TrainState, make_train_step
from datarater.training.optimizers import make_optimizer

RESULT = Path(__file__).parent / "results" / "estimators.json"
PAIRS = (4, 16, 64)
ESTIMATORS = {
  "reverse": MetaConfig(estimator="reverse"),
  "mixed": MetaConfig(estimator="mixed"),
  "first_order": MetaConfig(estimator="first_order"),
  **{
    f"evolution {pairs}": MetaConfig(estimator="evolution", evolution_pairs=pairs)
    for pairs in PAIRS
  },
}
COLOURS = {"reverse": "unfiltered", "mixed": "rater", "first_order": "target"}
MEASURED = ("cosine", "norm_ratio", "over_plain_step")
TIMED_SECONDS = 0.5
"""A call is repeated for as long; the fastest counts."""
CALLS, PLAIN_CALLS = 3, 10
"""At least so many of an estimator, and of plain steps beside it. A draw of `evolution` is one: it
is many unrolls in itself."""


def main(
  seeds: int = 3,
  unroll_lengths: tuple[int, ...] = (1, 2, 4, 8),
  estimators: tuple[str, ...] = tuple(ESTIMATORS),
  output: Path = RESULT,
) -> None:
  """Measures and writes.

  Args:
    seeds: States, each from its own models and batches; 2 or more.
    unroll_lengths: T.
    estimators: By their names in the output; what it holds of others, and of other T, stays.
    output: The JSON; the figure lies beside it.
  """
  unknown = set(estimators) - set(ESTIMATORS)
  if unknown:
    raise SystemExit(f"no estimator {', '.join(unknown)}; choose of {list(ESTIMATORS)}")
  settings = {
    "inner_parameters": cost.language_model_parameters(CONFIG.inner, VOCAB),
    "rater_parameters": cost.rater_parameters(CONFIG.rater, VOCAB),
    "inner_batch": CONFIG.meta.inner_batch,
    "length": CONFIG.data.length,
    "warm_updates": meta_states.WARM_STEPS * meta_states.WARM_UNROLL,
    "evolution_scale": MetaConfig().evolution_scale,
    "seeds": seeds,
  }
  rows = meta_states.rows_to_keep(
    output,
    settings,
    lambda row: row["unroll_length"] in unroll_lengths and row["estimator"] in estimators,
  )
  if jax.default_backend() == "cpu":
    keep_freed_memory()  # as the commands that train do
  truth = Truth()
  states = meta_states.warmed_states(seeds)
  plain = _plain_step(states[0])
  for T in unroll_lengths:
    for name in estimators:
      config = ESTIMATORS[name]
      function = jax.jit(make_estimator(config, meta_states.problem()))
      function = function.lower(*states[0].window(T), jax.random.key(0)).compile()
      predicted = {"predicted_over_plain_step": _predicted(config, T)}
      for seed, state in enumerate(states):
        measured = _measure(config, function, plain, state, T, truth.of(state, seed, T))
        rows.append({"unroll_length": T, "estimator": name, "seed": seed} | measured | predicted)
        print(f"T = {T}, {name}:", {k: f"{measured[k]:.4g}" for k in MEASURED}, flush=True)
    rows.sort(key=lambda row: row["unroll_length"])
    results = {"settings": settings, **environment(), "summary": _summary(rows), "rows": rows}
    write_json(output, results)
    save_png(figure(results["summary"]), output.with_suffix(".png"))
  print(table(_summary(rows)))


def _plain_step(state: State) -> Callable[[State], Any]:
  """A plain update of the inner model, compiled: what it does where nobody rates."""
  loss = language_model.outer_loss_fn("nll", CONFIG.inner, VOCAB)
  step = jax.jit(make_train_step(loss, make_optimizer(CONFIG.inner_optimizer)))

  def arguments(state: State):
    before = TrainState(state.theta, state.opt_state, jnp.zeros((), jnp.int32))
    return before, jax.tree.map(lambda x: x[0], state.inner_TxB)

  compiled = step.lower(*arguments(state)).compile()
  return lambda state: compiled(*arguments(state))


def _measure(
  config: MetaConfig, function: Callable, plain: Callable, state: State, T: int, exact: np.ndarray
) -> dict[str, float]:
  """One estimator at one state: means over draws of its noise. All programs are compiled before."""
  noisy = config.estimator == "evolution"
  draws = 2 if noisy and config.evolution_pairs < max(PAIRS) else 1
  calls = 1 if noisy else CALLS
  window = state.window(T)
  taken, compared = [], []
  for draw in range(draws):
    key = jax.random.key(draw)
    seconds, (gradient, _) = _timed(lambda key=key: function(*window, key), calls)
    taken.append(seconds)
    compared.append(meta_states.compared(gradient, exact))
  plain_seconds, _ = _timed(lambda: plain(state), PLAIN_CALLS)
  seconds = min(taken)
  return {name: float(np.mean([c[name] for c in compared])) for name in compared[0]} | {
    "draws": draws,
    "seconds": seconds,
    "plain_step_seconds": plain_seconds,
    "over_plain_step": seconds / plain_seconds,
  }


def _timed(call: Callable[[], Any], least: int) -> tuple[float, Any]:
  """(the fastest of so many calls, and as many more as fit in `TIMED_SECONDS`; what it returns)."""
  taken: list[float] = []
  result = None
  while len(taken) < least or sum(taken) < TIMED_SECONDS:
    clock = time.perf_counter()
    result = jax.block_until_ready(call())
    taken.append(time.perf_counter() - clock)
  return min(taken), result


def _predicted(config: MetaConfig, T: int) -> float:
  """Time over a plain step by the operation count, the rater included."""
  meta, data = CONFIG.meta, CONFIG.data
  flops = cost.meta_step_flops(
    CONFIG.inner,
    CONFIG.rater,
    VOCAB,
    data.length,
    unroll_length=T,
    inner_rows=meta.inner_batch,
    outer_rows=meta.outer_batch,
    datapoints=data.datapoints_a_row,
    estimator=config.estimator,
    evolution_pairs=config.evolution_pairs,
  )
  return flops / (meta.inner_batch * cost.training_flops(CONFIG.inner, VOCAB, data.length))


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Mean over seeds and half width of its 95% interval, for each T and estimator."""
  summary = []
  for T in sorted({row["unroll_length"] for row in rows}):
    for name in ESTIMATORS:
      chosen = [row for row in rows if (row["unroll_length"], row["estimator"]) == (T, name)]
      if not chosen:
        continue
      line: dict[str, Any] = {"unroll_length": T, "estimator": name}
      for measure in (*MEASURED, "relative_error"):
        line[measure], line[f"{measure}_ci95"] = interval([row[measure] for row in chosen])
      line["predicted_over_plain_step"] = chosen[0]["predicted_over_plain_step"]
      summary.append(line)
  return summary


def table(summary: list[dict[str, Any]]) -> str:
  """Markdown: a line for each estimator, for each T its cosine and its time over a plain step."""
  lengths = sorted({line["unroll_length"] for line in summary})
  head = ["estimator", *(f"{what}, T = {T}" for what in ("cosine", "time") for T in lengths)]
  rows = [head, ["---"] * len(head)]
  for name in dict.fromkeys(line["estimator"] for line in summary):
    lines = [line for line in summary if line["estimator"] == name]
    cosines = [f"{line['cosine']:.3f} ± {line['cosine_ci95']:.3f}" for line in lines]
    times = [f"{line['over_plain_step']:.3g}" for line in lines]
    rows.append([f"`{name}`", *cosines, *times])
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figure(summary: list[dict[str, Any]]) -> Figure:
  """Left the cosine to the exact meta-gradient, right the time, both over T."""
  with matplotlib.rc_context(STYLE):
    drawing, (left, right) = panels((920, 380), 1, 2)
    left.set_title("cosine to the exact meta-gradient")
    left.set_ylim(-1.05, 1.1)  # intervals of three seeds reach further
    right.set_title("time over a plain step, by unroll length")
    _lines(left, summary, "cosine")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _lines(right, summary, "over_plain_step")
  return drawing


def _lines(axes: Axes, summary: list[dict[str, Any]], measure: str) -> None:
  ends = []
  for name in dict.fromkeys(line["estimator"] for line in summary):
    lines = [line for line in summary if line["estimator"] == name]
    colour = PALETTE[COLOURS.get(name, "random")]
    x, y = [line["unroll_length"] for line in lines], np.array([line[measure] for line in lines])
    half = np.nan_to_num(np.array([line[f"{measure}_ci95"] for line in lines]))
    dashed = "--" if name == "reverse" else "-"
    axes.plot(x, y, color=colour, linestyle=dashed, marker="o", markersize=4)
    axes.fill_between(x, y - half, y + half, color=colour, alpha=0.15, linewidth=0)
    ends.append((name, float(y[-1]), colour))
  meta_states.length_axis(axes, summary)
  end_labels(axes, ends)


if __name__ == "__main__":
  tyro.cli(main)
