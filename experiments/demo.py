"""The demo, kept as evidence: the figures in the README come from here.

    python -m experiments.demo

Runs `datarater demo` (or takes a finished run) and writes `results.json` and `figure.png`.
"""

from pathlib import Path

import tyro

from datarater.demo import demo, demo_config
from datarater.report.curves import learning_curves
from datarater.report.style import save_png
from datarater.runtime.atomic import write_json


def main(
  run_dir: Path = Path("runs/demo"), output: Path = Path("experiments/results/demo")
) -> None:
  """Keeps the demo's results.

  Args:
    run_dir: Folder of the run; a finished one is not run again.
    output: Where results.json and figure.png go.
  """
  results = demo(demo_config(), run_dir)
  write_json(output / "results.json", results)
  save_png(learning_curves(results["arms"]), output / "figure.png")
  print(output / "results.json")


if __name__ == "__main__":
  tyro.cli(main)
