"""Pages: a template of this folder in, one self-contained HTML file out.

Everything from data is escaped by Jinja2's autoescape. Pages hold no script and ask for none, nor
for any font, image or style from elsewhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from datarater.report import style
from datarater.runtime.atomic import atomic_file
from datarater.runtime.places import Place, place


def environment() -> jinja2.Environment:
  """The templates of this folder; a name that the context lacks is an error."""
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def render_page(template: str, context: Mapping[str, Any]) -> str:
  """The page as text; the colours come with it."""
  colours = {"light": style.PALETTE, "dark": style.PALETTE_DARK}
  return environment().get_template(template).render({**colours, **context})


def write_page(page: str, path: str | Place) -> None:
  """Writes the page, atomically; what UTF-8 cannot hold becomes a question mark."""
  with atomic_file(place(path)) as file:
    file.write(page.encode("utf-8", "replace"))


def inline_svg(figure: Figure, name: str) -> Markup:
  """The figure in the page's colours; name: unique on the page."""
  return Markup(style.to_svg(figure, name=name, themed=True))
