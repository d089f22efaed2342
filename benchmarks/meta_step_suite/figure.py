"""The figure of the benchmark of the meta-step: time and memory over T, a row a model."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from datarater.report import style
from meta_step_suite.runs import AUTOGRAD, DEFAULT, HALVES, JAX_GRAD, KEEP, PLAIN, TORCHOPT

COLOURS = {
  DEFAULT: style.PALETTE["rater"],
  HALVES: style.OTHER_ARMS[1],
  KEEP: style.OTHER_ARMS[0],
  JAX_GRAD: style.PALETTE["random"],
  AUTOGRAD: style.PALETTE["target"],
  TORCHOPT: style.OTHER_ARMS[2],
}
LIMITS = {False: 2.4, True: 3.0}
"""Of the time over plain steps at T = 2, by remat."""
TITLES = {False: "time over T plain steps, no remat", True: "the same, blocks rematerialised"}
MB = 1e6
WIDTH, HEIGHT = 1440, 380

Row = dict[str, Any]
End = tuple[str, float, str]
"""The end of a line: its label, height and colour."""


def draw(result: dict[str, Any]) -> Figure:
  """From the JSON of a run: two panels of time and one of memory for each model."""
  models = list(result["models"])
  with matplotlib.rc_context(style.STYLE):
    figure, axes = style.panels((WIDTH, HEIGHT * max(1, len(models))), max(1, len(models)), 3)
    for model, row in zip(models, zip(*[iter(axes)] * 3, strict=True), strict=False):
      runs = [run for run in result["runs"] if run["model"] == model]
      unrolls = sorted({run["unroll_length"] for run in runs})
      for remat, panel in zip((False, True), row, strict=False):
        ends = _time(panel, runs, unrolls, remat)
        style.end_labels(panel, ends, len(models))
        panel.set_title(f"{model}: {TITLES[remat]}")
      style.end_labels(row[2], _memory(row[2], runs, unrolls), len(models))
      row[2].set_title(f"{model}: memory, MB (dashed: no remat)")
  return figure


def _time(axes: Axes, runs: list[Row], unrolls: list[int], remat: bool) -> list[End]:
  """Ratios of ours and jax.grad; PyTorch's over our own plain steps."""
  plain = {T: _value(runs, T, PLAIN, remat, "seconds") for T in unrolls}
  seen, ends = [np.array([0.0, LIMITS[remat] + 0.2])], []
  for variant, colour in COLOURS.items():
    seconds = _line(runs, unrolls, variant, remat, "seconds")
    ratios = seconds / np.array([T * plain[T] for T in unrolls])
    if np.isnan(ratios).all():
      continue
    axes.plot(_places(unrolls), ratios, color=colour, marker="o", markersize=5)
    seen.append(ratios)
    ends.append((variant, _last(ratios), colour))
    predicted = _line(runs, unrolls, variant, remat, "predicted_ratio")
    if not np.isnan(predicted).all():
      axes.plot(_places(unrolls), predicted, color=colour, linewidth=1.2, linestyle=":")
      seen.append(predicted)
  if 2 in unrolls:
    at = unrolls.index(2)
    axes.hlines(LIMITS[remat], at - 0.3, at + 0.3, color=style.PALETTE["ink"], linewidth=1.5)
    axes.annotate(
      f"target {LIMITS[remat]}",
      (at, LIMITS[remat]),
      (0, 4),
      textcoords="offset points",
      ha="center",
      size=10.5,
      bbox={"facecolor": style.PALETTE["paper"], "edgecolor": "none", "pad": 1.0},
    )
  _finish(axes, unrolls, "T, inner steps (dotted: predicted by operations)")
  style.fit_height(axes, seen)
  axes.set_ylim(bottom=0)
  return ends


def _memory(axes: Axes, runs: list[Row], unrolls: list[int]) -> list[End]:
  """Temporaries of ours and jax.grad; growth of a process for PyTorch, and an eighth of it."""
  axes.set_yscale("log")
  seen, ends = [], []
  for variant, colour in COLOURS.items():
    for remat in (True, False):
      torch = variant in (AUTOGRAD, TORCHOPT)
      values = _line(runs, unrolls, variant, remat, "memory" if torch else "temporaries") / MB
      if np.isnan(values).all():
        continue
      dashes = "-" if remat else (0, (4, 2))
      axes.plot(_places(unrolls), values, color=colour, linestyle=dashes, marker="o", markersize=5)
      seen.append(values)
      ends.append((variant if remat or torch else f"{variant}, no remat", _last(values), colour))
  peers = [_line(runs, unrolls, name, False, "memory") for name in (AUTOGRAD, TORCHOPT)]
  peer = np.fmin(*peers) / MB
  if not np.isnan(peer).all():
    axes.plot(_places(unrolls), peer / 8, color=style.PALETTE["ink"], linewidth=1.2, linestyle=":")
    seen.append(peer / 8)
    ends.append(("target: ⅛ of PyTorch", _last(peer / 8), style.PALETTE["ink"]))
  _finish(axes, unrolls, "T, inner steps")
  style.fit_height(axes, seen, log=True)
  axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.yaxis.set_minor_locator(NullLocator())
  axes.yaxis.set_major_formatter(FuncFormatter(lambda mb, _: f"{mb:,.0f}"))
  return ends


def _finish(axes: Axes, unrolls: list[int], label: str) -> None:
  axes.set_xticks(_places(unrolls), [str(T) for T in unrolls])
  axes.set_xlim(-0.35, len(unrolls) - 0.85)
  axes.set_xlabel(label)


def _places(unrolls: list[int]) -> list[int]:
  return list(range(len(unrolls)))


def _value(runs: list[Row], T: int, variant: str, remat: bool, field: str) -> float:
  wanted = (T, variant, remat)
  found = (r[field] for r in runs if (r["unroll_length"], r["variant"], r["remat"]) == wanted)
  return style.number(next(found, None))


def _line(runs: list[Row], unrolls: list[int], variant: str, remat: bool, field: str) -> np.ndarray:
  return np.array([_value(runs, T, variant, remat, field) for T in unrolls])


def _last(values: np.ndarray) -> float:
  return float(values[np.isfinite(values)][-1])
