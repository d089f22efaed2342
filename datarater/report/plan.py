"""A plan for the terminal."""

from rich.console import Console
from rich.table import Table

from datarater.meta.plan import Plan

NOTES = (
  "FLOPs are those of the matrix products without recomputation; the traced program counts it.",
  "The compiler counts the body of each loop once, so its number says little where layers loop.",
  "Temporaries are those of XLA's CPU compiler: for other hardware an estimate.",
)


def show(plan: Plan, console: Console) -> None:
  """Prints parameters, FLOPs, memory a device by part and days by task, and what they rest on."""
  mesh = " x ".join(str(size) for size in plan.mesh.values())
  title = f"{plan.name}: {plan.devices} devices, mesh {mesh} ({' x '.join(plan.mesh)})"
  console.print(title, style="bold", highlight=False, soft_wrap=True)
  for table in (_program(plan), _memory(plan), _work(plan)):
    console.print(table)
  for note in NOTES:
    console.print(note, style="dim", highlight=False, soft_wrap=True)


def _program(plan: Plan) -> Table:
  table = _table("Meta-step", "")
  rows = [(f"parameters, {role}", f"{count:,}") for role, count in plan.parameters.items()]
  rows += [
    ("vocabulary, separator included", f"{plan.vocab_size:,}"),
    ("FLOPs, by operation count", f"{plan.meta_step_flops:.4g}"),
    ("FLOPs of the traced program", f"{plan.traced_flops:.4g}"),
    (
      "FLOPs a device, by the compiler",
      "–" if plan.compiler_flops is None else f"{plan.compiler_flops:.4g}",
    ),
    ("seconds to compile here", f"{plan.compile_seconds:.0f}"),
  ]
  for row in rows:
    table.add_row(*row)
  return table


def _memory(plan: Plan) -> Table:
  table = _table("Memory a device, MB", "")
  for part, size in plan.memory.items():
    table.add_row(part, f"{size / 1e6:,.1f}", style="bold" if part == "sum" else "")
  return table


def _work(plan: Plan) -> Table:
  given = plan.assumptions
  rate = f"{given.flops_per_second:.4g} FLOP/s a device, utilisation {given.utilisation:g}"
  table = _table(f"Days at {rate}", "FLOPs", "days")
  for task, flops in plan.flops.items():
    table.add_row(_task(task, plan), f"{flops:.3g}", f"{plan.days[task]:.3g}")
  return table


def _task(task: str, plan: Plan) -> str:
  if task == "rating":
    return f"rating {plan.assumptions.corpus_tokens:.3g} tokens"
  if task == "meta_training":
    return "meta-training"
  size, _, filtered = task.removeprefix("lm_").partition("_")
  share = f", {plan.assumptions.discard_fraction:.0%} discarded" if filtered else ""
  return f"final model {size}{share}"


def _table(title: str, *columns: str) -> Table:
  """Names on the left, numbers under `columns` on the right."""
  table = Table(title=title, title_justify="left", title_style="bold", box=None)
  table.show_header = any(columns)
  table.add_column("")
  for column in columns:
    table.add_column(column, justify="right")
  return table
