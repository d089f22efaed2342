"""The report of a run folder: of `results.json` where there is one, else of its meta-training."""

import json
from pathlib import Path

from datarater.errors import require
from datarater.evaluation import results as parts
from datarater.report.html import write_report
from datarater.runtime.atomic import read_json

RESULTS, REPORT, CONFIG, METRICS = "results.json", "report.html", "config.json", "metrics.jsonl"


def write_run_report(run_dir: str | Path) -> Path:
  """Writes `report.html` into a run's folder and returns its path."""
  folder = Path(run_dir)
  require(
    (folder / CONFIG).is_file(),
    f"run folder {str(folder)!r} has no {CONFIG}; give the folder of a run",
  )
  if (folder / RESULTS).is_file():
    results = read_json(folder / RESULTS, "results")
  else:
    config = json.loads((folder / CONFIG).read_text())
    results = {
      "title": f"Meta-training of {config['name']}",
      "target": config["data"]["target_domain"],
      "meta_training": parts.meta_training(folder / METRICS),
      **parts.environment(),
      "config": config,
    }
  write_report(results, folder / REPORT)
  return folder / REPORT
