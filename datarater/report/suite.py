"""Many experiments on one page: what was claimed, then each figure beside what others found."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from datarater.report.page import inline_svg, render_page


@dataclasses.dataclass(frozen=True)
class Section:
  """One experiment. paper: what the paper found. finding, difference: what we found."""

  title: str
  paper: str
  finding: str
  difference: str
  figure: Figure


def render_suite(
  title: str,
  facts: str,
  claims: Sequence[tuple[str, str, bool | None]],
  sections: Sequence[Section],
) -> str:
  """The page as text. claims: (what was hoped for, what was found, met or None)."""
  shown = [
    {**_texts(section), "figure": inline_svg(section.figure, f"section-{i}")}
    for i, section in enumerate(sections)
  ]
  context = {"title": title, "facts": facts, "claims": claims, "sections": shown}
  return render_page("suite_page.html", context)


def _texts(section: Section) -> dict[str, str]:
  names = ("title", "paper", "finding", "difference")
  return {name: getattr(section, name) for name in names}
