"""An inspection as tables for the terminal, and as one HTML page.

Texts, ids and names come from data: no control character, reversing mark or markup of theirs gets
through. In their place stand signs that can be seen.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import rich.box
from rich.console import Console, ConsoleRenderable, Group
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from datarater.report import html, style
from datarater.report.distributions import rating_distribution
from datarater.report.inspect import PROBABILITIES, Excerpt, Inspection, Spread
from datarater.report.inspect import Group as ExcerptGroup
from datarater.report.page import inline_svg, render_page, write_page
from datarater.report.selection import draw_histogram
from datarater.runtime.places import Place

_SHOWN = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_FEWER = (0.0, 0.1, 0.5, 0.9, 1.0)
_FEWEST = (0.5,)
_ENDLESS = 10_000  # columns: what a table would take if it could
_BLOCKS = " ▁▂▃▄▅▆▇█"
_NO_TEXTS = "Name the corpus as input to see documents."


def show(inspection: Inspection, console: Console, *, page: bool = False) -> None:
  """Prints an inspection; page: through the pager of the system."""
  if page:
    with console.pager(styles=True):
      console.print(terminal(inspection, console))
  else:
    console.print(terminal(inspection, console))


def write_inspection(inspection: Inspection, path: str | Place) -> None:
  """Writes the HTML page, atomically."""
  write_page(render(inspection), path)


def terminal(inspection: Inspection, console: Console) -> ConsoleRenderable:
  """Quantiles by domain, as many as there is room for; the histogram as a line; excerpts."""
  tables = [_table(inspection, shown) for shown in (_SHOWN, _FEWER, _FEWEST)]
  endless = console.options.update(max_width=_ENDLESS)
  fitting = (
    table for table in tables if console.measure(table, options=endless).maximum <= console.width
  )
  parts: list[ConsoleRenderable] = [next(fitting, tables[-1])]
  if inspection.counts:
    ends = _rating(inspection.edges[0]), _rating(inspection.edges[-1])
    parts.append(Text(f"{ends[0]} {_sparkline(inspection.counts)} {ends[1]}", style="dim"))
  for group in inspection.groups:
    parts.append(Text(f"\n{_title(group)}", style="bold"))
    for excerpt in group.excerpts:
      parts.append(
        Text("\n  ")
        .append(_rating(excerpt.rating), "bold")
        .append(f"  {style.label(excerpt.domain, 32)} · {_place(excerpt)}")
      )
      parts.append(Padding(Text(plain(excerpt)), (0, 2, 0, 4)))
  if not inspection.with_texts:
    parts.append(Text(_NO_TEXTS, style="dim"))
  return Group(*parts)


def render(inspection: Inspection) -> str:
  """The HTML page as text."""
  i = inspection
  context = {
    "title": f"Ratings by {style.label(i.scorer, 60)}",
    "headline": f"{i.overall.documents:,} documents rated by {style.label(i.scorer, 60)}",
    "facts": _facts(i),
    "figures": _figures(i),
    "probabilities": [_percent(p) for p in _SHOWN],
    "rows": [_row(spread, _SHOWN) for spread in (i.overall, *i.domains)],
    "left_out": i.domains_left_out,
    "groups": [
      {"title": _title(group), "cards": [_card(excerpt) for excerpt in group.excerpts]}
      for group in i.groups
    ],
    "no_texts": "" if i.with_texts else _NO_TEXTS,
  }
  return render_page("inspect_page.html", context)


def plain(excerpt: Excerpt) -> str:
  """The text on one line: signs for control characters and for ends of lines, and … where cut."""
  pieces, cut = _pieces(excerpt)
  line = "".join(piece for _, piece in pieces).replace("\n", " ").replace("\t", " ")
  return line + ("…" if cut else "")


def _table(inspection: Inspection, shown: Sequence[float]) -> Table:
  names = ("documents", "tokens", *(_percent(p) for p in shown))
  columns = [Column(name, justify="right", no_wrap=True) for name in names]
  title = f"{style.label(inspection.column, 60)} in {style.label(inspection.folder, 60)}"
  domain = Column("domain", min_width=10, overflow="ellipsis", no_wrap=True)
  table = Table(
    domain,
    *columns,
    title=Text(title),
    box=rich.box.SIMPLE_HEAD,
    pad_edge=False,
    title_justify="left",
  )
  for row, spread in enumerate((inspection.overall, *inspection.domains)):
    cells = [Text(cell) for cell in _row(spread, shown)]
    table.add_row(*cells, style="bold" if row == 0 else "")
  if inspection.domains_left_out:
    table.add_row(f"and {inspection.domains_left_out} more")
  return table


def _row(spread: Spread, shown: Sequence[float]) -> list[str]:
  """Name, documents, tokens, and the quantiles shown."""
  at = dict(zip(PROBABILITIES, spread.quantiles, strict=False))
  documents = f"{spread.documents:,}"
  if spread.unrated:
    documents += f" ({spread.unrated:,} unrated)"
  return [
    style.label(spread.name, 32),
    documents,
    "–" if spread.tokens is None else f"{spread.tokens:,}",
    *(_rating(at.get(p, math.nan), 3) for p in shown),
  ]


def _title(group: ExcerptGroup) -> str:
  where = f", {style.label(group.domain, 60)}" if group.domain else ""
  if group.quantile is None:
    return f"Rated near {_rating(group.target)}{where}"
  ends = {0.0: "The lowest rated", 0.5: "At the median", 1.0: "The highest rated"}
  title = ends.get(group.quantile, f"At the {_percent(group.quantile)} quantile")
  return f"{title}, {_rating(group.target)}{where}"


def _place(excerpt: Excerpt) -> str:
  """Id, shard and row, tokens."""
  tokens = "" if excerpt.tokens is None else f" · {excerpt.tokens:,} tokens"
  return (
    f"{style.label(excerpt.id, 60)} · {style.label(excerpt.shard, 60)} row {excerpt.row:,}{tokens}"
  )


def _pieces(excerpt: Excerpt) -> tuple[list[tuple[str, str]], bool]:
  """The text in pieces, as `html.excerpt` gives them, and whether it goes on."""
  pieces, cut = html.excerpt(excerpt.text, len(excerpt.text))
  return pieces, cut or len(excerpt.text) < excerpt.characters


def _card(excerpt: Excerpt) -> dict[str, Any]:
  pieces, cut = _pieces(excerpt)
  return {
    "rating": _rating(excerpt.rating),
    "domain": style.label(excerpt.domain, 60),
    "place": _place(excerpt),
    "pieces": pieces,
    "cut": cut,
    "code": html.is_code(excerpt.text),
  }


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
  overall = inspection.overall
  facts = [("folder", style.label(inspection.folder, 80)), ("column", inspection.column)]
  facts += [] if overall.tokens is None else [("tokens", f"{overall.tokens:,}")]
  facts += [("unrated", f"{overall.unrated:,}")] if overall.unrated else []
  return [*facts, ("mean rating", _rating(overall.mean))]


def _figures(inspection: Inspection) -> dict[str, Any]:
  figures: dict[str, Any] = {}
  if inspection.counts:
    with matplotlib.rc_context(style.STYLE):
      figure, axes = style.panel((440, 260))
      draw_histogram(axes, inspection.edges, {"rater": inspection.counts})
    figures["histogram"] = inline_svg(figure, "histogram")
  spreads = {spread.name: spread for spread in inspection.domains if spread.quantiles}
  if len(spreads) > 1:
    ratings = {
      name: {"mean": spread.mean, "quantiles": spread.quantiles} for name, spread in spreads.items()
    }
    figures["domains"] = inline_svg(rating_distribution(ratings), "domains")
  return figures


def _sparkline(counts: tuple[int, ...]) -> str:
  """One block a bin, its height the count's share of the largest; any count at all can be seen."""
  most = max(counts)
  return "".join(_BLOCKS[math.ceil(8 * count / most)] for count in counts)


def _percent(probability: float) -> str:
  if probability in (0.0, 1.0):
    return "min" if probability == 0.0 else "max"
  return f"{100 * probability:.4g}%"


def _rating(value: float, digits: int = 4) -> str:
  if math.isfinite(value):
    return f"{value:.{digits}g}".replace("-", "−")
  return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
