"""Time and memory of the meta-step against plain training, `jax.grad` and PyTorch, in one run.

    python benchmarks/meta_step.py                # about 45 minutes on 2 cores
    python benchmarks/meta_step.py --preset gpu   # the same on a GPU, and utilisation there
    python benchmarks/meta_step.py --quick        # a few minutes: does it run?

Language models of 1.6M and 10M parameters, T inner steps of Adam, inner batch = outer batch, real
text. What is timed is the gradient of the outer loss with respect to ratings, given as an array:
the rater is excluded. In turn, so that what else the machine does falls on all, and the fastest of
the rounds counts:

    plain             a training step as final language models are trained
    mixed, recompute  our estimator; `keep` keeps residuals
    jax.grad          through a scan of training steps, written as one writes it first
    reverse           our reference: the same, each step under `jax.checkpoint`
    torch autograd    `create_graph` and a differentiable Adam by hand, attention `math`
    torchopt          the same with TorchOpt's Adam

Temporaries are the compiler's; memory is the growth of a process of its own, alike for all.
Gradients are compared on the way. Writes benchmarks/results/meta_step.json and meta_step.png.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from meta_step_suite.counts import plain_flops
from meta_step_suite.figure import draw
from meta_step_suite.gpu import GPU_CASES, WITHOUT_GPU, fitted, utilisation, utilisation_targets
from meta_step_suite.group import Group
from meta_step_suite.problem import Case, make_start, state_bytes
from meta_step_suite.runs import PEERS, Run, Runs
from meta_step_suite.targets import targets
from tqdm import tqdm

from datarater.config import ModelConfig
from datarater.evaluation.results import environment
from datarater.models.cost import language_model_parameters
from datarater.models.presets import preset
from datarater.report.style import save_png
from datarater.runtime.atomic import write_json
from datarater.runtime.memory import keep_freed_memory

RESULT = Path(__file__).parent / "results" / "meta_step.json"
SMALL = Case("1.6m", ModelConfig(width=128, layers=8, heads=4, mlp_width=512))
CPU_CASES = (SMALL, Case("10m", preset("10m"), rows=4, reverse_until=2))
PACKAGES = ("jaxlib", "torch", "TorchOpt")
"""Whose versions count as well."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
  parser.add_argument("--quick", action="store_true", help="a tiny batch, T of 1 and 2, one round")
  parser.add_argument("--models", nargs="+", help="some of them, by name")
  parser.add_argument("--unrolls", type=int, nargs="+", help="some T")
  parser.add_argument("--rounds", type=int, default=0, help="of timing; 0: 4 / T, at least 2")
  parser.add_argument("--peak-flops", type=float, help="of the device in bfloat16, per second")
  parser.add_argument("--output", type=Path, help=f"default {RESULT.name}; of --quick: none")
  a = parser.parse_args()
  device = jax.devices()[0]
  if a.preset == "gpu" and device.platform != "gpu":
    print(WITHOUT_GPU)
    return
  if device.platform == "cpu":
    keep_freed_memory()  # as the commands that train do; PyTorch, in this process, has it too
  cases = _cases(a, GPU_CASES if a.preset == "gpu" else CPU_CASES)
  start = time.perf_counter()
  result = _measure(a, cases, device) | {"seconds_in_all": round(time.perf_counter() - start)}
  _print(result)
  output = a.output or (None if a.quick else RESULT)
  if output is not None:
    write_json(output, result)
    save_png(draw(result), output.with_suffix(".png"))


def _cases(a: argparse.Namespace, cases: Sequence[Case]) -> list[Case]:
  if a.models:
    unknown = set(a.models) - {case.name for case in cases}
    if unknown:
      raise SystemExit(f"no model {', '.join(unknown)}; choose of {[case.name for case in cases]}")
    cases = [case for case in cases if case.name in a.models]
  if a.quick:
    cases = [dataclasses.replace(c, rows=2, length=64, unrolls=(1, 2)) for c in cases[:1]]
  if a.unrolls:
    cases = [dataclasses.replace(case, unrolls=tuple(sorted(a.unrolls))) for case in cases]
  return list(cases)


def _measure(a: argparse.Namespace, cases: Sequence[Case], device: Any) -> dict[str, Any]:
  """Everything, as it goes to the file."""
  here = environment()
  peers, notes = _peers(device)
  runs: list[Run] = []
  about: dict[str, Any] = {}
  held: list[dict[str, Any]] = []
  total = sum(_work(case, T) for case in cases for T in case.unrolls)
  with tqdm(total=total, desc="meta_step", unit="work", bar_format=_BAR) as bar:
    for case in cases:
      case = fitted(case, device) if case.rows == 0 else case
      if case.rows == 0:
        notes.append(f"{case.name} does not fit on this device")
        bar.update(sum(_work(case, T) for T in case.unrolls))
        continue
      about[case.name] = _about(case)
      # In float32 no TF32: by default PyTorch leaves it out on a GPU, XLA does not.
      precision = "highest" if case.model.dtype == "float32" else "default"
      with jax.default_matmul_precision(precision):
        start = make_start(case)
        of_torch = peers if case.model.dtype == "float32" else ()
        for T in case.unrolls:
          rounds = a.rounds or (1 if a.quick else max(2, 4 // T))
          runs += Group(case, start, T, of_torch, device).measure(rounds, bar, _work(case, T))
        held += targets(runs, case.name, state_bytes(case))
        if case.model.dtype == "bfloat16":
          used = utilisation(case, start, Runs(runs, case.name), device, a.peak_flops)
          about[case.name]["utilisation"] = used
          held += utilisation_targets(case.name, used)
  return {
    "preset": a.preset,
    "device": here["device"],
    "versions": here["versions"] | {name: _version(name) for name in PACKAGES},
    "models": about,
    "runs": [_row(run, Runs(runs, run.model)) for run in runs],
    "targets": held,
    "notes": notes,
  }


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} to go"


def _work(case: Case, unroll_length: int) -> float:
  """How long a group takes, up to a factor: compiling is as long as a few inner steps."""
  flops = (case.rows or 8) * plain_flops(case.model, case.vocab_size, case.length)
  return 8 + unroll_length * flops / (8 * plain_flops(SMALL.model, SMALL.vocab_size, 256))


def _peers(device: Any) -> tuple[tuple[str, ...], list[str]]:
  """PyTorch's variants that can run here, and why not."""
  try:
    from meta_step_suite import torch_peer
  except ImportError as error:
    return (), [f"PyTorch's variants are left out: {error}; pip install -e '.[benchmarks]'"]
  if not torch_peer.prepare(device.platform):
    return (), ["PyTorch's variants are left out: this PyTorch has no CUDA"]
  return PEERS, []


def _version(package: str) -> str | None:
  try:
    return version(package)
  except PackageNotFoundError:
    return None


def _about(case: Case) -> dict[str, Any]:
  return {
    "parameters": language_model_parameters(case.model, case.vocab_size),
    "model": dataclasses.asdict(case.model),
    "vocabulary": case.vocab_size,
    "rows": case.rows,
    "length": case.length,
    "state_bytes": state_bytes(case),
  }


def _row(run: Run, runs: Runs) -> dict[str, Any]:
  """A run with what follows from it and its plain steps."""
  return dataclasses.asdict(run) | {
    "seconds": run.seconds,
    "ratio": runs.ratio(run),
    "counted_ratio": runs.counted_ratio(run),
  }


def _print(result: dict[str, Any]) -> None:
  head = ("model", "T", "variant", "remat", "seconds", "ratio", "predicted", "counted", "temp MB")
  print(("{:6}{:>3} {:18}{:6}" + "{:>10}" * 6).format(*head, "memory MB"))
  for row in result["runs"]:
    numbers = (row["seconds"], row["ratio"], row["predicted_ratio"], row["counted_ratio"])
    sizes = (row["temporaries"], row["memory"])
    cells = [_cell(x, ".3f") for x in numbers] + [_cell(x and x / 1e6, ".0f") for x in sizes]
    line = f"{row['model']:6}{row['unroll_length']:>3} {row['variant']:18}"
    print(f"{line}{'block' if row['remat'] else 'none':6}" + "".join(cells) + f"  {row['note']}")
  for target in result["targets"]:
    verdict = {True: "met", False: "MISSED", None: "not measured"}[target["met"]]
    where = f"{target['model']}, T = {target['T']}" if "T" in target else target["model"]
    value = _cell(target["measured"], ".3g").strip()
    print(f"{verdict:13}{target['name']} ({where}): {value}, {target['target']}")
  for note in result["notes"]:
    print(note)


def _cell(value: float | None, form: str) -> str:
  return f"{'–' if value is None else format(value, form):>10}"


if __name__ == "__main__":
  main()
