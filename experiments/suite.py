"""All experiments as one resumable queue, and the report of what they found.

    python -m experiments.suite --preset cpu

does whatever is left of the jobs of all experiments, each job once, and writes each figure as soon
as its jobs are done; then `experiments/RESULTS.md` and `experiments/results/suite_PRESET.html`.
`--report-only` writes these two from the results that are there.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import tyro
from tqdm import tqdm

from datarater.errors import InputError, require
from experiments import (
  clean_corpus,
  compare_selectors,
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
  selector_claims,
  table2_tasks,
  weighting,
)
from experiments.ablations import EXPERIMENTS as ABLATIONS
from experiments.experiment import (
  OUTPUT,
  RESULTS,
  Experiment,
  Place,
  make_place,
  plain_errors,
  require_own_output,
)
from experiments.jobs import Job
from experiments.queue import (
  TERA,
  USUAL_CLUSTER,
  Engine,
  SlurmConfig,
  TimeUpError,
  progress_bar,
  unfinished,
)
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
  compare_selectors,
  selector_claims,
)
EXPERIMENTS: tuple[Experiment, ...] = (
  *(module.EXPERIMENT for module in _MODULES),
  *ABLATIONS.values(),
)
"""In the order of the report."""


def run_suite(place: Place, chosen: Sequence[Experiment]) -> None:
  """Does the jobs of `chosen` and of what comes before them, and reports each when it can be.

  What goes wrong in one experiment is told at the end, as InputError, and holds up no other.
  """
  by_name = {experiment.name: experiment for experiment in EXPERIMENTS}
  waiting = {name: by_name[name] for each in chosen for name in (*each.after, each.name)}
  for experiment in waiting.values():
    experiment.check(place)
  wrong: list[str] = []
  with progress_bar(_all_jobs(place, waiting.values())) as bar:
    while now := [e for e in waiting.values() if not set(e.after) & set(waiting)]:
      bar.total = bar.n + _tera(_all_jobs(place, waiting.values()))
      for experiment in now:
        del waiting[experiment.name]
      wrong += _run_stage(place, now, bar)
  require(not wrong, "; ".join(wrong))


def _run_stage(place: Place, experiments: Sequence[Experiment], bar: tqdm) -> list[str]:
  """Experiments whose jobs can be told; returns what went wrong."""
  wrong: list[str] = []
  jobs: dict[Experiment, Sequence[Job]] = {}
  for experiment in experiments:
    try:
      jobs[experiment] = experiment.jobs(place)
    except InputError as error:  # a choice that it rests on was not made
      wrong.append(f"{experiment.name}: {error}")
  left = {e: set(unfinished(of, place.root)) for e, of in jobs.items()}

  def report_finished(key: str = "") -> None:
    for experiment, of in list(left.items()):
      of.discard(key)
      if not of:
        del left[experiment]
        try:
          experiment.report(place)
        except InputError as error:
          wrong.append(f"{experiment.name}: {error}")

  report_finished()
  try:
    place.run_jobs([job for e in left for job in jobs[e]], on_done=report_finished, overall=bar)
  except TimeUpError:
    raise
  except InputError as error:
    wrong.append(str(error))
  return wrong


def _all_jobs(place: Place, experiments: Iterable[Experiment]) -> list[Job]:
  """What is left to do for `experiments`, with a guess at choices that are not made yet."""
  scale = place.scale
  middle = scale.discard_fractions[len(scale.discard_fractions) // 2]
  guesses = {
    "learning_rates": {"chosen": {each.size: each.learning_rates[0] for each in scale.models}},
    "fig4_discard_sweep": {"chosen": dict.fromkeys(scale.objectives, middle)},
  }
  assumed = {name: guess for name, guess in guesses.items() if not place.has_results(name)}
  guessed = dataclasses.replace(place, assumed=assumed)
  jobs = [job for each in experiments for job in each.jobs(guessed)]
  return list(unfinished(jobs, place.root).values())


def _tera(jobs: Iterable[Job]) -> float:
  return sum(job.flops for job in jobs) / TERA


def main(
  preset: Preset = "cpu",
  only: tuple[str, ...] = (),
  report_only: bool = False,
  run_dir: Path = Path("runs/experiments"),
  output: Path = OUTPUT,
  dataset: str = "",
  workers: int = 0,
  engine: Engine = "local",
  minutes: float = 0,
  slurm: SlurmConfig = USUAL_CLUSTER,
) -> None:
  """Reruns every figure and ablation at a scale, and writes the report of all.

  Stopped at any moment, the same command goes on. The cpu preset takes about 2.5 hours on two
  cores; each experiment can also be run alone, `python -m experiments.NAME`.

  Args:
    preset: cpu for two cores, gpu for one GPU, paper for a pod.
    only: Names of experiments, in place of all.
    report_only: Write the report of the results that are there, and run nothing.
    run_dir: Where raters and language models lie.
    output: Where each experiment's results.json and figure.png go; the report beside it.
    dataset: The corpus, in place of the preset's.
    workers: Jobs at a time; 0 for as many as suit the device.
    engine: slurm sends each job to a cluster, through submitit.
    minutes: Begin no further job after so many; 0: none is too late.
    slurm: What each job asks of a cluster.
  """
  with plain_errors():
    names = [experiment.name for experiment in EXPERIMENTS]
    unknown = sorted(set(only) - set(names))
    require(not unknown, f"experiments {unknown} are unknown; choose among {', '.join(names)}")
    chosen = [e for e in EXPERIMENTS if not only or e.name in only]
    require_own_output(output, dataset)
    if report_only:
      _write_reports(output, preset)
      return
    place = make_place(preset, run_dir, output, dataset, workers, engine, minutes, slurm)
    try:
      run_suite(place, chosen)
    finally:
      _write_reports(output, preset)


def _write_reports(output: Path, preset: Preset) -> None:
  """RESULTS.md beside the results, and their page, of what is there."""
  there = [e for e in EXPERIMENTS if (output / e.name / preset / RESULTS).is_file()]
  require(bool(there), f"{str(output)!r} holds no results of preset {preset!r}; run the suite")
  text, page = output.parent / "RESULTS.md", output / f"suite_{preset}.html"
  write_results(EXPERIMENTS, output, text)
  write_page(there, output, preset, page)
  print(f"{text}\n{page}")


if __name__ == "__main__":
  tyro.cli(main, prog="python -m experiments.suite")
