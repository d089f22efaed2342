"""What a run says at its end: the counts as tables for the terminal."""

from typing import Any

from rich.console import Group
from rich.table import Column, Table


def score_table(stats: dict[str, Any]) -> Group:
  """What a scoring run read, by domain; what it set aside, by reason."""
  table = Table("domain", *_right("documents", "bytes"), title="scored")
  for name, counts in stats.get("domains", {}).items():
    table.add_row(name, f"{counts['documents']:,}", f"{counts['bytes']:,}")
  total = (f"{stats.get('documents', 0):,}", f"{stats.get('bytes', 0):,}")
  table.add_row("all", *total, style="bold")
  return Group(table, *_reasons(stats, "set aside"))


def select_table(stats: dict[str, Any]) -> Group:
  """The mixture before and after, and why the rest was rejected."""
  numbers = _right("documents", "kept", "share", "bytes before", "after")
  table = Table("domain", *numbers, title="selected")
  before, after = stats.get("before", {}), stats.get("after", {})

  def add(name: str, old: dict[str, int], new: dict[str, int], style: str = "") -> None:
    documents, kept = old.get("documents", 0), new.get("documents", 0)
    shares = [
      part.get("bytes", 0) / max(1, whole.get("bytes", 0))
      for part, whole in ((old, before), (new, after))
    ]
    numbers = [f"{documents:,}", f"{kept:,}", f"{kept / max(1, documents):.1%}"]
    table.add_row(name, *numbers, *(f"{share:.1%}" for share in shares), style=style)

  for name, counts in before.get("domains", {}).items():
    add(name, counts, after.get("domains", {}).get(name, {}))
  add("all", before, after, "bold")
  return Group(table, *_reasons(stats, "rejected"))


def _reasons(stats: dict[str, Any], title: str) -> list[Table]:
  """A table of reasons, unless there are none."""
  reasons = stats.get("rejected", {})
  table = Table("reason", *_right("records"), title=title)
  for reason, number in reasons.items():
    table.add_row(reason, f"{number:,}")
  return [table] if reasons else []


def _right(*names: str) -> list[Column]:
  return [Column(name, justify="right") for name in names]
