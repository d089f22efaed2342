"""The figure of `compare_selectors`: loss on the target against what was discarded, by selector."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datarater.report.style import PALETTE, STYLE, panels


def draw(results: Mapping[str, Any]) -> Figure:
  """A panel a setting and size: losses less random's, a row a selector, a marker a share.

  The last panel: losses on the domains that are not the target, of the first setting.
  """
  cells = results["cells"]
  shown = [(setting, size) for setting, sizes in cells.items() for size in sizes]
  rows = list(results["ranks"])
  fractions = sorted({f for sizes in cells.values() for of in sizes.values() for f in of})
  shades = dict(zip(fractions, np.linspace(0.35, 1.0, len(fractions)), strict=True))
  first_setting, first_size = shown[0]
  with matplotlib.rc_context(STYLE):
    figure, grid = panels((1240, 120 + 26 * len(rows)), 1, len(shown) + 1)
    for axes, (setting, size) in zip(grid, shown, strict=False):
      title = (
        f"{setting.replace(', ', chr(10))}\n{size}" if ", " in setting else f"{setting}\n{size}"
      )
      _draw_panel(axes, cells[setting][size], rows, shades, "against_random", title)
    _draw_panel(
      grid[-1],
      cells[first_setting][first_size],
      rows,
      shades,
      "elsewhere_against_random",
      f"the other domains\n{first_size}, {first_setting}",
    )
    grid[0].set_yticks(range(len(rows)), rows[::-1])
    for axes in grid[1:]:
      axes.set_yticks(range(len(rows)), [])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    figure.supxlabel("bits per byte less those of a random share; below zero is better", size=11)
    return figure


def _draw_panel(
  axes: Axes,
  fractions: Mapping[str, Any],
  rows: list[str],
  shades: Mapping[str, float],
  key: str,
  title: str,
) -> None:
  for i, (fraction, of) in enumerate(fractions.items()):
    height = (i - (len(fractions) - 1) / 2) * 0.22
    for y, name in enumerate(reversed(rows)):
      if key not in of[name]:
        continue
      mean, half = of[name][key]["mean"], of[name][key]["half_width"]
      axes.errorbar(
        mean,
        y - height,
        xerr=half,
        fmt="o",
        markersize=4,
        elinewidth=1.1,
        color=PALETTE["rater" if "rater" in name else "unfiltered"],
        alpha=shades[fraction],
        label=f"{float(fraction):.0%} discarded" if name == "rater" else None,
      )
  axes.axvline(0, color=PALETTE["random"], linestyle=(0, (4, 2)), linewidth=1.2)
  axes.set_ylim(-0.6, len(rows) - 0.4)
  axes.grid(axis="x", visible=True)
  axes.margins(x=0.05)
  axes.set_title(title)
