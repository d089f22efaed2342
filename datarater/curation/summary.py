"""What a run says at its end: the counts as tables for the terminal."""

from typing import Any

from rich.console import Group
from rich.table import Column, Table

_MOST_DOMAINS = 40


def score_table(stats: dict[str, Any]) -> Group:
  """What a scoring run read, by domain; what it set aside, by reason."""
  table = Table("domain", *_right("documents", "bytes"), title="scored")
  for name, counts in stats.get("domains", {}).items():
    table.add_row(name, f"{counts['documents']:,}", f"{counts['bytes']:,}")
  total = (f"{stats.get('documents', 0):,}", f"{stats.get('bytes', 0):,}")
  table.add_row("all", *total, style="bold")
  return Group(table, *_reasons(stats, "set aside"))


def select_table(stats: dict[str, Any], title: str = "selected") -> Group:
  """The mixture before and after, and why the rest was rejected.

  Shares of the mixture are of tokens where they are known, else of bytes, else of documents.
  """
  before, after = stats.get("before", {}), stats.get("after", {})
  unit = next((u for u in ("tokens", "bytes") if u in before and u in after), "documents")
  table = Table(
    "domain", *_right("documents", "kept", "share", f"{unit} before", "after"), title=title
  )

  def add(name: str, old: dict[str, int], new: dict[str, int], style: str = "") -> None:
    documents, kept = old.get("documents", 0), new.get("documents", 0)
    shares = [
      part.get(unit, 0) / max(1, whole.get(unit, 0))
      for part, whole in ((old, before), (new, after))
    ]
    numbers = [f"{documents:,}", f"{kept:,}", f"{kept / max(1, documents):.1%}"]
    table.add_row(name, *numbers, *(f"{share:.1%}" for share in shares), style=style)

  domains = before.get("domains", {})
  largest = sorted(domains, key=lambda name: -domains[name].get(unit, 0))[:_MOST_DOMAINS]
  for name in sorted(largest):
    add(name, domains[name], after.get("domains", {}).get(name, {}))
  if len(domains) > len(largest):
    table.add_row(f"and {len(domains) - len(largest)} more", *[""] * 5, style="dim")
  add("all", before, after, "bold")
  return Group(table, *_reasons(stats, "rejected"), *_notes(stats))


def _notes(stats: dict[str, Any]) -> list[str]:
  """The cut, and the tokens kept."""
  notes = []
  if isinstance(stats.get("cut"), float):
    notes.append(f"least rating kept: {stats['cut']:.6g}")
  if "tokens" in stats.get("after", {}):
    notes.append(f"tokens kept: {stats['after']['tokens']:,} of {stats['before']['tokens']:,}")
  error = (stats.get("approximate") or {}).get("rank_error")
  if error is not None:
    most = max(error.values(), default=0.0) if isinstance(error, dict) else error
    notes.append(f"approximate: ranks are off by at most {most:.3%}")
  return notes


def _reasons(stats: dict[str, Any], title: str) -> list[Table]:
  """A table of reasons, unless there are none."""
  reasons = stats.get("rejected", {})
  table = Table("reason", *_right("records"), title=title)
  for reason, number in reasons.items():
    table.add_row(reason, f"{number:,}")
  return [table] if reasons else []


def _right(*names: str) -> list[Column]:
  return [Column(name, justify="right") for name in names]
