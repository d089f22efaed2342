"""The command line: one verb a function. Exit codes: 0 done, 2 bad input, 1 a failure of ours."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from datarater.cli import data
from datarater.cli.curation import inspect, score, select
from datarater.cli.plan import plan_verb
from datarater.cli.tasks import tasks
from datarater.config import MetaTrainConfig, TrainConfig
from datarater.config_io import load_config_file
from datarater.errors import DivergedError, InputError, WorkerDiedError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = """Learns which training data is worth training on.

Start with `datarater demo`. Then: prepare your text (`data prepare`), see what a run takes
(`plan`), meta-train a rater (`meta-train`), rate a corpus (`score`), look at the ratings
(`inspect`), keep its better part (`select`), train on it and compare (`train`, `evaluate`), ask
what it knows (`tasks`)."""


def demo(run_dir: Path = Path("runs/demo"), quiet: bool = False) -> None:
  """The whole story on the bundled corpus, in a few minutes on two cores.

  Meta-trains a rater, filters with it, trains language models on unfiltered, randomly thinned and
  rater-filtered text over three seeds, and writes report.html and results.json. The same command
  again resumes.

  Args:
    run_dir: Folder of the run.
    quiet: No progress bars, no tables.
  """
  from datarater import demo as story

  _settle_in()
  story.demo(story.demo_config(), run_dir, progress=not quiet)


def _meta_train_verb(default: MetaTrainConfig) -> Callable[..., None]:
  def meta_train(
    config_file: Positional[Path],
    run_dir: Path,
    quiet: bool = False,
    profile: bool = False,
    distributed: bool = False,
    coordinator: str = "",
    processes: int = 0,
    process_id: int = -1,
    config: Annotated[MetaTrainConfig, arg(name="")] = default,
  ) -> None:
    """Meta-trains a rater; the same command again resumes, with more steps it goes on.

    Writes config.json, metrics.jsonl, checkpoints/, rater/ and report.html. On several devices with
    `--mesh.*`; on several hosts, the same command on each, with `--distributed`.

    Args:
      config_file: A Python file that defines config(), such as configs/tiny.py.
      run_dir: Folder of the run; of several processes, one that all of them see.
      quiet: No progress bars.
      profile: Trace three of the first steps into trace/; benchmarks/README.md says how to read it.
      distributed: One of several processes, which find each other (TPU pods, Slurm).
      coordinator: HOST:PORT of process 0, where they do not find each other.
      processes: How many there are; with coordinator.
      process_id: Which of them this is, from 0; with coordinator.
      config: Overrides of the config file.
    """
    from datarater.meta import trainer
    from datarater.report.run import write_run_report
    from datarater.runtime.distributed import is_first, joined

    del config_file  # read before, as the default of `config`
    several = distributed or coordinator or processes > 0 or process_id >= 0
    with joined(coordinator, processes, process_id) if several else contextlib.nullcontext():
      _settle_in()
      rater = trainer.meta_train(config, run_dir, not quiet, profile)
      if is_first():
        report = write_run_report(run_dir)
        if not quiet:
          print(f"rater: {rater}\nreport: {report}")

  return meta_train


def _train_verb(default: TrainConfig) -> Callable[..., None]:
  def train(
    config_file: Positional[Path],
    run_dir: Path,
    quiet: bool = False,
    config: Annotated[TrainConfig, arg(name="")] = default,
  ) -> None:
    """Trains a language model from scratch; the same command again resumes.

    On everything, on a random share, or on what a rater keeps (--selection.kind). Writes
    config.json, curve.jsonl, checkpoints/ and result.json.

    Args:
      config_file: A Python file that defines config(), such as configs/lm_tiny.py.
      run_dir: Folder of the run.
      quiet: No progress bars.
      config: Overrides of the config file.
    """
    from datarater.evaluation.arm import train_lm

    del config_file
    _settle_in()
    result = train_lm(config, run_dir, progress=not quiet)
    if not quiet:
      print(f"{result['bits_per_byte']:.4f} bits per byte, {result['flops']:.3g} FLOPs")

  return train


def evaluate(arm: tuple[Path, ...], baseline: tuple[Path, ...], output: Path | None = None) -> None:
  """Compares trained language models seed by seed.

  Prints the net compute gain (share of the baseline's FLOPs saved to reach its final loss, rating
  and oversampling included) and the difference in bits per byte with its 95% interval.

  Args:
    arm: Run folders of `datarater train`, one a seed.
    baseline: As many, of the same seeds.
    output: Write the comparison there, as JSON.
  """
  from datarater.evaluation.arm import read_result
  from datarater.evaluation.compare import compare_arms
  from datarater.report.tables import comparison as comparison_table
  from datarater.runtime.atomic import write_json

  arms = [[read_result(folder)[1] for folder in folders] for folders in (arm, baseline)]
  comparison = compare_arms(*arms)
  Console().print(comparison_table(comparison))
  if output is not None:
    write_json(output, comparison)


def report(run_dir: Positional[Path]) -> None:
  """Writes report.html of a run folder anew, from its results or its metrics.

  Args:
    run_dir: Folder of `datarater demo` or `datarater meta-train`.
  """
  from datarater.report.run import write_run_report

  print(write_run_report(run_dir))


CONFIGURED: dict[str, tuple[type, Callable[[Any], Callable[..., None]]]] = {
  "plan": (MetaTrainConfig, plan_verb),
  "meta-train": (MetaTrainConfig, _meta_train_verb),
  "train": (TrainConfig, _train_verb),
}
"""Verbs whose first argument is a config file, the defaults of all their other options."""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the verb that `arguments` (default: of the process) name; returns the exit code."""
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  try:
    arguments = data.joined(arguments)
    tyro.extras.subcommand_cli_from_dict(
      _verbs(arguments), prog="datarater", description=_DESCRIPTION, args=arguments or ["--help"]
    )
  except InputError as error:
    print(f"datarater: {error}", file=sys.stderr)
    return BAD_INPUT
  except KeyboardInterrupt:
    print("datarater: interrupted; the same command goes on from here", file=sys.stderr)
    return INTERRUPTED
  except (DivergedError, WorkerDiedError) as error:
    print(f"datarater: {error}", file=sys.stderr)
    return FAILED
  except Exception:
    traceback.print_exc()
    return FAILED
  return DONE


def _verbs(arguments: Sequence[str]) -> dict[str, Callable[..., None]]:
  verbs: dict[str, Callable[..., None]] = {"demo": demo, **data.VERBS}
  for name, (cls, make) in CONFIGURED.items():
    verbs[name] = make(_default_config(arguments, name, cls))
  more = (score, select, inspect, evaluate, tasks, report)
  return verbs | {verb.__name__: verb for verb in more}


def _default_config(arguments: Sequence[str], verb: str, cls: type) -> Any:
  """The config of the file that follows the verb; the class's own defaults for `--help` alone."""
  if list(arguments[:1]) != [verb] or len(arguments) < 2 or arguments[1].startswith("-"):
    return cls()
  return load_config_file(arguments[1], cls)


def _settle_in() -> None:
  """What a process that trains, and nothing else, does for speed."""
  import jax

  from datarater.runtime.memory import keep_freed_memory

  if jax.default_backend() == "cpu":
    keep_freed_memory()
