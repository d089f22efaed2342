"""The report of all experiments: `RESULTS.md`, and one HTML page a preset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datarater.report.html import duration
from datarater.report.page import write_page as write_html
from datarater.report.suite import Section, render_suite
from datarater.runtime.atomic import atomic_file, read_json
from experiments.claims import Claim, claims
from experiments.experiment import FIGURE, RESULTS, Experiment

PRESETS = ("cpu", "gpu", "paper")
_HEAD = """# Results

Every figure of the paper (Calian et al. 2025, arXiv 2505.17895) and the ablations it lacks, rerun
at the scale of the machine at hand. Made by `python -m experiments.suite`; each number is in the
`results.json` beside its figure, with seeds, settings, device and versions. Intervals are 95%
t-intervals over seeds.
"""


def found_results(
  experiments: Sequence[Experiment], output: Path, preset: str
) -> dict[str, Mapping[str, Any]]:
  """name → results, of those that are there."""
  paths = {e.name: output / e.name / preset / RESULTS for e in experiments}
  return {name: read_json(path, "results") for name, path in paths.items() if path.is_file()}


def write_results(experiments: Sequence[Experiment], output: Path, path: Path) -> None:
  """Writes `RESULTS.md`, see `results_text`."""
  with atomic_file(path) as file:
    file.write(results_text(experiments, output, path).encode())


def results_text(experiments: Sequence[Experiment], output: Path, path: Path) -> str:
  """Claims first, then each experiment with its figure, by preset; links are from `path`."""
  parts = [_HEAD]
  for preset in PRESETS:
    results = found_results(experiments, output, preset)
    if results:
      parts.append(_of_preset(preset, results, experiments, output, path))
  return "\n".join(parts)


def _of_preset(
  preset: str,
  results: Mapping[str, Mapping[str, Any]],
  experiments: Sequence[Experiment],
  output: Path,
  path: Path,
) -> str:
  first = next(iter(results.values()))
  lines = [f"## Preset {preset}", "", _facts(first, results), ""]
  checked = claims(results)
  if checked:
    lines += ["| claim | found | |", "|---|---|---|", *map(_row, checked), ""]
  for experiment in experiments:
    if experiment.name in results:
      figure = output / experiment.name / preset / FIGURE
      lines += _section(experiment, results[experiment.name], _relative(figure, path))
  return "\n".join(lines)


def _relative(figure: Path, path: Path) -> str:
  try:
    return figure.resolve().relative_to(path.resolve().parent).as_posix()
  except ValueError:
    return figure.resolve().as_posix()


def _facts(first: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
  scale = first["scale"]
  sizes = ", ".join(model["size"].upper() for model in scale["models"])
  return (
    f"Language models of {sizes} parameters, a rater of {scale['rater'].upper()}, inner models of "
    f"{scale['inner'].upper()}; {first['device']}. {len(results)} experiments."
  )


def _row(claim: Claim) -> str:
  mark = {True: "met", False: "**not met**", None: ""}[claim.met]
  return f"| {claim.text} | {claim.found} | {mark} |"


def _section(experiment: Experiment, results: Mapping[str, Any], figure: str) -> list[str]:
  called = experiment.module or experiment.name
  lines = [
    f"### {experiment.title}",
    "",
    f"![{experiment.title}]({figure})",
    "",
    f"**The paper.** {experiment.paper}",
    "",
    f"**Here.** {results['finding']} {_seeds(results)}",
    "",
  ]
  if experiment.table:
    lines += [experiment.table(results), ""]
  if results.get("difference"):
    lines += [f"**Where they differ.** {results['difference']}", ""]
  cost = duration(results["job_seconds"]) if results.get("job_seconds") else "no"
  lines += [
    f"`python -m experiments.{called} --preset {results['preset']}`: {results.get('jobs', 0)} "
    f"jobs, {cost} of work, much of it shared.",
    "",
  ]
  return lines


def _seeds(results: Mapping[str, Any]) -> str:
  seeds, raters = results.get("seeds", ()), results.get("rater_seeds")
  told = f"Seeds: {len(seeds)}"
  return f"{told} of language models, {len(raters)} of raters." if raters else f"{told}."


def write_page(experiments: Sequence[Experiment], output: Path, preset: str, path: Path) -> None:
  """Writes the page: all figures beside the paper's headline figures."""
  results = found_results(experiments, output, preset)
  sections = [
    Section(
      title=experiment.title,
      paper=experiment.paper,
      finding=f"{results[experiment.name]['finding']} {_seeds(results[experiment.name])}",
      difference=results[experiment.name].get("difference", ""),
      figure=experiment.draw(results[experiment.name]),
    )
    for experiment in experiments
    if experiment.name in results
  ]
  checked = [(c.text, c.found, c.met) for c in claims(results)]
  facts = _facts(next(iter(results.values())), results)
  write_html(render_suite(f"The paper's figures, preset {preset}", facts, checked, sections), path)
