"""All experiments as one resumable queue, and the report of what they found.

    python -m experiments.suite --preset cpu

does whatever is left of the jobs of all experiments, each job once, and writes each figure as soon
as its jobs are done; then `experiments/RESULTS.md` and `experiments/results/suite_PRESET.html`.
`--report-only` writes these two from the results that are there.
"""

from collections.abc import Sequence
from pathlib import Path

import tyro
from tqdm import tqdm

from datarater.errors import InputError, require
from experiments import (
  clean_corpus,
  domain_order,
  fig1_compute_gain,
  fig3_noise,
  fig4_discard_sweep,
  fig5_curves,
  fig6_grid,
  fig7_mixture,
  fig8_worst_samples,
  fig9_inner_scale,
  fig10_perplexity,
  fig12_stability,
  fig14_heuristics,
  learning_rates,
  own_domain,
  packing_control,
  table2_tasks,
  weighting,
)
from experiments.ablations import EXPERIMENTS as ABLATIONS
from experiments.experiment import RESULTS, Experiment, Place, make_place, plain_errors
from experiments.queue import Engine, run_jobs, unfinished
from experiments.report import write_page, write_results
from experiments.scale import Preset

_MODULES = (
  learning_rates,
  fig4_discard_sweep,
  fig1_compute_gain,
  fig3_noise,
  fig5_curves,
  fig6_grid,
  table2_tasks,
  fig7_mixture,
  domain_order,
  fig8_worst_samples,
  fig9_inner_scale,
  fig10_perplexity,
  fig12_stability,
  fig14_heuristics,
  own_domain,
  clean_corpus,
  packing_control,
  weighting,
)
EXPERIMENTS: tuple[Experiment, ...] = (
  *(module.EXPERIMENT for module in _MODULES),
  *ABLATIONS.values(),
)
"""In the order of the report."""


def run_suite(place: Place, chosen: Sequence[Experiment]) -> None:
  """Does the jobs of `chosen` and of what comes before them, and reports each when it can be."""
  by_name = {experiment.name: experiment for experiment in EXPERIMENTS}
  waiting = {name: by_name[name] for each in chosen for name in (*each.after, each.name)}
  with tqdm(total=len(waiting), desc="experiments", position=1) as bar:
    while waiting:
      now = [e for e in waiting.values() if not set(e.after) & set(waiting)]
      jobs = {e.name: e.jobs(place) for e in now}
      left = {name: set(unfinished(of, place.root)) for name, of in jobs.items()}

      def report_finished(key: str = "", left: dict[str, set[str]] = left) -> None:
        for name, of in list(left.items()):
          of.discard(key)
          if not of:
            waiting.pop(name).report(place)
            del left[name]
            bar.update()

      report_finished()
      every = [job for name in list(left) for job in jobs[name]]
      run_jobs(every, place.root, place.workers, place.engine, place.minutes, report_finished)


def main(
  preset: Preset = "cpu",
  only: tuple[str, ...] = (),
  report_only: bool = False,
  run_dir: Path = Path("runs/experiments"),
  output: Path = Path("experiments/results"),
  results_file: Path = Path("experiments/RESULTS.md"),
  dataset: str = "",
  workers: int = 0,
  engine: Engine = "local",
  minutes: float = 0,
) -> None:
  """Reruns every figure and ablation at a scale, and writes the report of all.

  Stopped at any moment, the same command goes on. The cpu preset takes about four hours on two
  cores; each experiment can also be run alone, `python -m experiments.NAME`.

  Args:
    preset: cpu for two cores, gpu for one GPU, paper for a pod.
    only: Names of experiments, in place of all.
    report_only: Write the report of the results that are there, and run nothing.
    run_dir: Where raters and language models lie.
    output: Where each experiment's results.json and figure.png go, and the page.
    results_file: The report.
    dataset: The corpus, in place of the preset's.
    workers: Jobs at a time; 0 for as many as suit the device.
    engine: slurm sends each job to a cluster, through submitit.
    minutes: Begin no further job after so many; 0: none is too late.
  """
  with plain_errors():
    names = [experiment.name for experiment in EXPERIMENTS]
    unknown = sorted(set(only) - set(names))
    require(not unknown, f"experiments {unknown} are unknown; choose among {', '.join(names)}")
    chosen = [e for e in EXPERIMENTS if not only or e.name in only]
    try:
      if not report_only:
        place = make_place(preset, run_dir, output, dataset, workers, engine, minutes)
        run_suite(place, chosen)
    finally:
      write_results(EXPERIMENTS, output, results_file)
      page = output / f"suite_{preset}.html"
      there = [e for e in EXPERIMENTS if (output / e.name / preset / RESULTS).is_file()]
      if there:
        write_page(there, output, preset, page)
    if not there:
      raise InputError(f"{str(output)!r} holds no results of preset {preset!r}; run the suite")
    print(f"{results_file}\n{page}")


if __name__ == "__main__":
  tyro.cli(main, prog="python -m experiments.suite")
