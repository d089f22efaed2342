"""An experiment: one figure or table, the work that it needs, what it measures, how it is drawn.

    python -m experiments.fig6_grid --preset cpu

does what is left of its jobs, then writes `results.json` and `figure.png` below
`experiments/results/NAME/PRESET/`. Jobs are shared between experiments and kept in
`runs/experiments/PRESET/`: the same command again goes on.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import tyro
from matplotlib.figure import Figure

from datarater.config_io import from_json, to_json
from datarater.data.builders.text import SUMMARY
from datarater.errors import DivergedError, InputError, WorkerDiedError, require
from datarater.evaluation.results import environment
from datarater.report.style import save_png
from datarater.runtime.atomic import read_json, write_json
from experiments.jobs import Job
from experiments.queue import USUAL_CLUSTER, Engine, SlurmConfig, run_jobs, seconds_of, workers_for
from experiments.scale import SCALES, Preset, Scale

RESULTS, FIGURE = "results.json", "figure.png"
OUTPUT = Path("experiments/results")
Results = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Place:
  """Where an experiment works. root: of jobs. output: of results. scale: its preset.

  workers, engine, minutes, slurm: see `queue.run_jobs`. assumed: results by name that are
  taken in place of what lies below output: guesses, or choices made for other seeds.
  """

  scale: Scale
  root: Path
  output: Path
  workers: int = 0
  engine: Engine = "local"
  minutes: float = 0
  slurm: SlurmConfig = USUAL_CLUSTER
  assumed: Results | None = None

  def results(self, name: str) -> Results:
    """What an experiment that comes before has found at this scale."""
    if self.assumed and name in self.assumed:
      return self.assumed[name]
    require(
      self.has_results(name),
      f"{str(self.folder(name) / RESULTS)!r} does not exist, or is of other settings; run "
      f"`python -m experiments.{name} --preset {self.scale.name}` first",
    )
    return read_json(self.folder(name) / RESULTS, "results")

  def has_results(self, name: str) -> bool:
    """Whether an experiment has run at this scale."""
    path = self.folder(name) / RESULTS
    return path.is_file() and is_of(read_json(path, "results"), self.scale)

  def with_seeds(self, seeds: Sequence[int]) -> "Place":
    """The same for other seeds, with the choices that were made for this one's."""
    made = {name: self.results(name) for name in ("learning_rates", "fig4_discard_sweep")}
    scale = dataclasses.replace(self.scale, seeds=tuple(seeds))
    return dataclasses.replace(self, scale=scale, assumed=made)

  def run_jobs(self, jobs: Sequence[Job], **options: Any) -> None:
    """Does what is left of `jobs`; options: of `queue.run_jobs`."""
    run_jobs(jobs, self.root, self.workers, self.engine, self.minutes, slurm=self.slurm, **options)

  def folder(self, name: str) -> Path:
    """Of an experiment's results."""
    return self.output / name / self.scale.name


def is_of(results: Results, scale: Scale) -> bool:
  """Whether results are of a scale; what they know no setting for had its default."""
  try:
    return from_json(Scale, results["scale"]) == scale
  except InputError:  # of another shape
    return False


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One figure or table.

  name: of its module and of its results. title: what is shown. paper: what the paper found.
  jobs: the work. measure: JSON values, once it is done; `finding` is what we found, in a sentence,
  and `difference` where that differs from the paper. draw: the figure, of the results.
  after: experiments whose results its jobs are chosen by. module: how it is called, after
  `python -m experiments.`; empty: its name. dataset: what is opened where none is given; empty: the
  preset's. check: raises InputError for what it needs beside the corpus and lacks. table: Markdown
  of the results, for the report.
  """

  name: str
  title: str
  paper: str
  jobs: Callable[[Place], Sequence[Job]]
  measure: Callable[[Place], dict[str, Any]]
  draw: Callable[[Results], Figure]
  after: tuple[str, ...] = ()
  module: str = ""
  dataset: str = ""
  check: Callable[[Place], None] = lambda place: None
  table: Callable[[Results], str] | None = None

  def run(self, place: Place) -> Results:
    """Does what is left to do, here and in what comes before, then writes results and figure."""
    self.check(place)
    for name in self.after:
      if not place.has_results(name):
        importlib.import_module(f"experiments.{name}").EXPERIMENT.run(place)
    place.run_jobs(self.jobs(place))
    return self.report(place)

  def report(self, place: Place) -> Results:
    """Measures, once the jobs are done, and writes results and figure."""
    seconds = seconds_of(self.jobs(place), place.root)
    results = {
      "experiment": self.name,
      "preset": place.scale.name,
      "title": self.title,
      "paper": self.paper,
      **self.measure(place),
      "jobs": len(seconds),
      "job_seconds": sum(seconds.values()),
      "seconds_by_job": seconds,
      "workers": workers_for(place.workers),
      **environment(),
      "corpus": corpus_facts(place.scale.data.dataset),
      "scale": to_json(place.scale),
    }
    write_json(place.folder(self.name) / RESULTS, results)
    save_png(self.draw(results), place.folder(self.name) / FIGURE)
    return results


def main(experiment: Experiment) -> None:
  """Runs the command line of an experiment."""
  tyro.cli(command_line(experiment), prog=f"python -m experiments.{experiment.name}")


def command_line(experiment: Experiment) -> Callable[..., None]:
  """The function behind the command line of an experiment."""

  def run(
    preset: Preset = "cpu",
    run_dir: Path = Path("runs/experiments"),
    output: Path = OUTPUT,
    dataset: str = experiment.dataset,
    workers: int = 0,
    engine: Engine = "local",
    minutes: float = 0,
    slurm: SlurmConfig = USUAL_CLUSTER,
  ) -> None:
    with plain_errors():
      usual = dataset == experiment.dataset
      require_own_output(output, "" if usual else dataset)
      place = make_place(preset, run_dir, output, dataset, workers, engine, minutes, slurm)
      results = experiment.run(place)
      print(results["finding"])
      print(place.folder(experiment.name) / RESULTS)

  run.__doc__ = f"{experiment.title}.\n\n{_ARGUMENTS}"
  return run


_ARGUMENTS = """Stopped at any moment, the same command goes on.

Args:
  preset: cpu for two cores, gpu for one GPU, paper for a pod.
  run_dir: Where raters and language models lie; shared by all experiments.
  output: Where results.json and figure.png go.
  dataset: The corpus, in place of the preset's.
  workers: Jobs at a time; 0 for as many as suit the device.
  engine: slurm sends each job to a cluster, through submitit.
  minutes: Begin no further job after so many; 0: none is too late.
  slurm: What each job asks of a cluster.
"""


def make_place(
  preset: Preset,
  run_dir: Path,
  output: Path,
  dataset: str = "",
  workers: int = 0,
  engine: Engine = "local",
  minutes: float = 0,
  slurm: SlurmConfig = USUAL_CLUSTER,
) -> Place:
  """From what the command line says; InputError where the corpus, the tokenizer or a device that
  fits the preset is not there.
  """
  scale = SCALES[preset]
  require(
    preset == "cpu" or engine != "local" or jax.default_backend() != "cpu",
    f"preset {preset!r} needs an accelerator, and JAX sees CPUs alone; give --preset cpu, or send "
    "the jobs elsewhere with --engine slurm",
  )
  if dataset:
    scale = dataclasses.replace(scale, data=dataclasses.replace(scale.data, dataset=dataset))
  folder = scale.data.dataset
  require(
    "/" not in folder or Path(folder).is_dir(),
    f"dataset {folder!r} does not exist; build it with `datarater data build small-pile --out "
    f"{folder}`, or name another with --dataset",
  )
  tokenizer = scale.data.tokenizer.path
  require(
    not tokenizer or Path(tokenizer).is_file(),
    f"tokenizer {tokenizer!r} does not exist; train it with `datarater data tokenizer --dataset "
    f"{folder} --out {Path(tokenizer).parent}`",
  )
  root = run_dir / preset
  _require_same_corpus(root, folder)
  return Place(scale, root, output, workers, engine, minutes, slurm)


def require_own_output(output: Path, dataset: str) -> None:
  """Raises InputError where results on a corpus of the user's would overwrite the preset's."""
  require(
    not dataset or output != OUTPUT,
    f"--dataset is {dataset!r} and --output {str(output)!r}, which holds results on the preset's "
    "corpus; give another --output",
  )


def corpus_facts(dataset: str) -> dict[str, Any]:
  """Which corpus it was: its name, and the sha256 of its summary, which names its sources."""
  path = Path(dataset) / SUMMARY
  digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
  return {"dataset": dataset, "summary_sha256": digest}


def _require_same_corpus(root: Path, dataset: str) -> None:
  """Notes the corpus that jobs below `root` are done on; InputError where it has changed."""
  path = root / f"corpus_{hashlib.sha256(dataset.encode()).hexdigest()[:8]}.json"
  mine = corpus_facts(dataset)
  if not path.is_file():
    write_json(path, mine)
  require(
    read_json(path, "corpus") == mine,
    f"{dataset!r} was built anew, and {str(root)!r} holds raters and language models of what was "
    "there before; give another --run-dir",
  )


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
  """What the user can mend ends the program with one line and exit code 2."""
  try:
    yield
  except InputError as error:
    print(f"experiments: {error}", file=sys.stderr)
    sys.exit(2)
  except (DivergedError, WorkerDiedError) as error:
    print(f"experiments: {error}", file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print("experiments: interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(130)
