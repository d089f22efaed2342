"""The plan in the documents is the one that lies in the results."""

import io
import json
from pathlib import Path

from rich.console import Console

from datarater.meta.plan import Plan
from datarater.meta.workload import Assumptions
from datarater.report.plan import NOTES, show

ROOT = Path(__file__).parents[2]


def test_documents_show_the_committed_plan():
  values = json.loads((ROOT / "experiments" / "results" / "plan" / "paper_pile.json").read_text())
  plan = Plan(**values | {"assumptions": Assumptions(**values["assumptions"])})
  screen = io.StringIO()
  show(plan, Console(width=100, file=screen))
  lines = [line.strip() for line in screen.getvalue().splitlines()]
  documented = [
    line.strip() for line in (ROOT / "docs" / "paper-scale.md").read_text().splitlines()
  ]
  shown = [line for line in lines if line not in NOTES]
  assert len(shown) > 20
  for line in shown:
    assert line in documented
