"""Tables of a corpus that was built: sizes by split, what was set aside, sources."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from datarater.data_config import SPLITS


def corpus_tables(summary: Mapping[str, Any]) -> list[Table]:
  """The tables of `datarater data build small-pile`: domains, licences, sources.

  summary: the dataset's `datarater.json`.
  """
  account = summary["small_pile"]
  return [_sizes(account), _licences(account), _sources(summary["sources"])]


def _sizes(account: Mapping[str, Any]) -> Table:
  """A row a domain: megabytes, documents, % of its bytes in each split, documents set aside."""
  table = _table("Domains")
  reasons = sorted(account["rejected"])
  for column in ("MB", "documents", *(f"{split} %" for split in SPLITS)):
    table.add_column(column, justify="right")
  for reason in reasons:
    table.add_column(f"{reason.replace('-copy', ' copy')} dropped", justify="right")
  rows = dict(account["kept"])
  for name, splits in rows.items():
    _size_row(table, name, splits, [account["rejected"][r].get(name, 0) for r in reasons])
  total = {
    split: {unit: sum(own[split][unit] for own in rows.values()) for unit in ("bytes", "documents")}
    for split in SPLITS
  }
  table.add_section()
  _size_row(table, "all", total, [sum(account["rejected"][r].values()) for r in reasons])
  return table


def _size_row(table: Table, name: str, splits: Mapping[str, Any], dropped: list[int]) -> None:
  size = sum(cell["bytes"] for cell in splits.values())
  shares = [f"{100 * splits[split]['bytes'] / size:.1f}" for split in SPLITS]
  documents = sum(cell["documents"] for cell in splits.values())
  table.add_row(name, f"{size / 1e6:.1f}", f"{documents:,}", *shares, *map(str, dropped))


def _licences(account: Mapping[str, Any]) -> Table:
  table = _table("Licences: build it, do not pass it on")
  table.add_column("licence")
  for name, licence in account["licences"].items():
    table.add_row(name, licence)
  return table


def _sources(sources: list[Mapping[str, Any]]) -> Table:
  table = _table("Sources")
  for column in ("version", "registry", "files read"):
    table.add_column(column, justify="right" if column == "files read" else "left")
  for source in sources:
    table.add_row(
      source["name"], source["version"], source["registry"], f"{source['files_read']:,}"
    )
  return table


def _table(title: str) -> Table:
  """A table whose first column names its rows."""
  table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
  table.add_column("")
  return table
