"""The work that experiments share: raters, ratings of pools, language models.

A job is known by its settings: its folder is named by a digest of those that differ from their
defaults, so that two figures that ask for the same rater get the same one, once. Every job resumes.
"""

import abc
import dataclasses
import functools
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from datarater.config import MetaTrainConfig, TrainConfig
from datarater.data.datasets import absolute_ranges, dataset_of, open_dataset
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.errors import DivergedError
from datarater.evaluation.arm import RESULT, train_lm
from datarater.evaluation.downstream import evaluate_runs
from datarater.evaluation.pool import RatedPool, rate_pool
from datarater.meta.trainer import CHECKPOINTS, METRICS, RATER, meta_train, snapshot
from datarater.meta.workload import meta_step_flops
from datarater.models import cost
from datarater.runtime.artifact import CONFIG as RATER_CONFIG
from datarater.runtime.atomic import read_json, write_json
from datarater.runtime.metrics import read_metrics
from datarater.scorer_config import Keep, PerplexityConfig
from datarater.scorers.fitted import Fitting
from datarater.scorers.perplexity import PerplexityScorer
from datarater.scorers.proxy import load_proxy
from datarater.scorers.rater import load_rater

RATINGS = "ratings.safetensors"
DOCUMENT_TOKENS = 4000
"""Of a document of the small Pile, in bytes; a job's cost is only guessed, for the progress bar."""

Change = Literal["none", "shuffled", "inverted", "drawn"]
"""What is done to ratings: two faults, and Gumbel noise, whose top share is a draw without
replacement with chances that go with exp(rating) (Plackett-Luce)."""


class Job(abc.ABC):
  """A frozen dataclass of settings."""

  kind: ClassVar[str]
  """Folder of its like."""

  result_file: ClassVar[Path]
  """Below its own folder; is there when it is done."""

  @property
  @abc.abstractmethod
  def name(self) -> str:
    """For people."""

  @property
  def needs(self) -> "tuple[Job, ...]":
    """Jobs that come first."""
    return ()

  @property
  def flops(self) -> float:
    """About what it costs, for the progress bar."""
    return 0.0

  @abc.abstractmethod
  def run(self, root: Path) -> None:
    """Does it, or what is left of it; what it needs is done."""

  def folder(self, root: Path) -> Path:
    """Where its files are."""
    return root / self.kind / digest(self)

  def result_path(self, root: Path) -> Path:
    """The file whose presence says that it is done."""
    return self.folder(root) / self.result_file

  def is_done(self, root: Path) -> bool:
    """Whether its result is there."""
    return self.result_path(root).is_file()


@dataclasses.dataclass(frozen=True)
class RaterJob(Job):
  """Meta-trains a rater."""

  config: MetaTrainConfig
  kind = "raters"
  result_file = Path(RATER) / RATER_CONFIG

  @property
  def name(self) -> str:
    return f"rater {self.config.name}, seed {self.config.seed}"

  @property
  def flops(self) -> float:
    vocab_size = load_tokenizer(self.config.data.tokenizer).vocab_size
    return float(self.config.meta.steps * meta_step_flops(self.config, vocab_size))

  def rater(self, root: Path, step: int = 0) -> Path:
    """The rater's folder; step: as it was after that many meta-steps, 0 at the end."""
    return snapshot(self.folder(root), step) if step else self.folder(root) / RATER

  def run(self, root: Path) -> None:
    folder = self.folder(root)
    meta_train(self.config, folder, progress=False)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

  def metrics(self, root: Path) -> list[dict[str, Any]]:
    """The rows of its metrics, one a meta-step."""
    return read_metrics(self.folder(root) / METRICS)


class PoolJob(Job):
  """Rates a pool, the `lm` split of its `data`."""

  data: DataConfig
  kind = "ratings"
  result_file = Path(RATINGS)

  @abc.abstractmethod
  def rate(self, root: Path, source: Source) -> RatedPool:
    """The ratings of the pool."""

  def run(self, root: Path) -> None:
    source = open_source(self.data, "lm")
    self.rate(root, source).save(self.result_path(root), source)

  def ratings(self, root: Path) -> RatedPool:
    """What it found."""
    return RatedPool.load(self.result_path(root), open_source(self.data, "lm"))


@dataclasses.dataclass(frozen=True)
class RatingJob(PoolJob):
  """By a rater. step: of a snapshot, 0 for the end. change: of its ratings, see `Change`."""

  rater: RaterJob
  data: DataConfig
  step: int = 0
  change: Change = "none"

  @property
  def name(self) -> str:
    return f"ratings by {self.rater.name}"

  @property
  def needs(self) -> tuple[Job, ...]:
    return (self.rater,) if self.change == "none" else (self._unchanged,)

  @property
  def flops(self) -> float:
    config = self.rater.config
    row = cost.rating_flops(config.rater, config.data.length)
    return _tokens(self.data) * row / config.data.length if self.change == "none" else 0.0

  @property
  def _unchanged(self) -> "RatingJob":
    return dataclasses.replace(self, change="none")

  def rate(self, root: Path, source: Source) -> RatedPool:
    if self.change == "none":
      return rate_pool(load_rater(self.rater.rater(root, self.step)), source, progress=False)
    rated = RatedPool.load(self._unchanged.result_path(root), source)
    if self.change == "inverted":
      return dataclasses.replace(rated, ratings=-rated.ratings)
    random = np.random.default_rng(self.rater.config.seed)
    if self.change == "drawn":
      noise = random.gumbel(size=len(rated.ratings)).astype(np.float32)
      return dataclasses.replace(rated, ratings=rated.ratings + noise)
    return dataclasses.replace(rated, ratings=random.permutation(rated.ratings))


@dataclasses.dataclass(frozen=True)
class PerplexityJob(PoolJob):
  """By the perplexity that a language model gives, which was trained on other text."""

  model: "ModelJob"
  data: DataConfig
  keep: Keep

  @property
  def name(self) -> str:
    return f"ratings by {self.keep} perplexity"

  @property
  def needs(self) -> tuple[Job, ...]:
    return (self.model,)

  @property
  def flops(self) -> float:
    return pass_flops(self.model, self.data)

  def rate(self, root: Path, source: Source) -> RatedPool:
    texts = [source[i].text for i in range(len(source))]
    fitting = Fitting((load_proxy(self.model.folder(root)),))
    scorer = PerplexityScorer.fit(texts, [], PerplexityConfig(self.keep), fitting)
    ratings, tokens = scorer.score_with_tokens(texts)
    return RatedPool(ratings, scorer.score_flops(tokens), tokens)


@dataclasses.dataclass(frozen=True)
class ModelJob(Job):
  """Trains a language model.

  pool: whose ratings its selection cuts, where `selection.kind` is `ratings`. keeps_model: its
  parameters stay on disk.
  """

  config: TrainConfig
  pool: PoolJob | None = None
  keeps_model: bool = False
  kind = "models"
  result_file = Path(RESULT)

  @property
  def name(self) -> str:
    return f"language model {self.config.name}, seed {self.config.seed}"

  @property
  def needs(self) -> tuple[Job, ...]:
    return (self.pool,) if self.pool else ()

  @property
  def flops(self) -> float:
    config = self.config
    vocab_size = load_tokenizer(config.data.tokenizer).vocab_size
    row = cost.training_flops(config.model, vocab_size, config.data.length)
    return float(row * config.batch * config.steps)

  def is_done(self, root: Path) -> bool:
    there = not self.keeps_model or (self.folder(root) / CHECKPOINTS).is_dir()
    return super().is_done(root) and there

  def run(self, root: Path) -> None:
    config, folder = self.config, self.folder(root)
    if super().is_done(root):  # by one that did not keep the model
      shutil.rmtree(folder)
    if self.pool:
      path = str(self.pool.result_path(root))
      selection = dataclasses.replace(config.selection, ratings=path)
      config = dataclasses.replace(config, selection=selection)
    try:
      train_lm(config, folder, progress=False)
    except DivergedError as error:  # is a result too: of a learning rate that is too high
      write_json(self.result_path(root), {"seed": config.seed, "diverged": str(error)})
    if not self.keeps_model:
      shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)

  def result(self, root: Path) -> dict[str, Any]:
    """Its `result.json`."""
    return read_json(self.result_path(root), "result")


@dataclasses.dataclass(frozen=True)
class TaskJob(Job):
  """Asks a language model the tasks of a suite, `limit` items each."""

  model: ModelJob
  suite: str
  limit: int
  kind = "tasks"
  result_file = Path("tasks.json")

  @property
  def name(self) -> str:
    return f"tasks for {self.model.name}"

  @property
  def needs(self) -> tuple[Job, ...]:
    return (self.model,)

  @property
  def flops(self) -> float:
    return self.model.flops / 4

  def run(self, root: Path) -> None:
    partial = self.folder(root) / "partial.json"
    partial.parent.mkdir(parents=True, exist_ok=True)
    found = evaluate_runs(
      [self.model.folder(root)], self.suite, limit=self.limit, output=partial, progress=False
    )
    (tasks,) = (run["tasks"] for run in found["runs"].values())
    write_json(self.result_path(root), tasks)
    partial.unlink(missing_ok=True)

  def result(self, root: Path) -> dict[str, Any]:
    """task → its numbers, as `evaluation.downstream.task_result` gives them."""
    return read_json(self.result_path(root), "tasks")


@functools.cache
def digest(job: Job) -> str:
  """Names a job by its settings and those of what it needs; fields at their defaults are left out,
  so that a new field with a default renames nothing.
  """
  text = json.dumps(_settings(job), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _settings(value: Any) -> Any:
  if isinstance(value, tuple | list):
    return [_settings(each) for each in value]
  if not dataclasses.is_dataclass(value):
    return value
  found: dict[str, Any] = {"class": type(value).__name__}
  for field in dataclasses.fields(value):
    mine = getattr(value, field.name)
    # A run's name is for people, where ratings lie follows from the pool, what stays is no result.
    named = field.name == "name" and isinstance(value, MetaTrainConfig | TrainConfig)
    if named or field.name in ("ratings", "keeps_model"):
      continue
    if mine != field.default:
      found[field.name] = _settings(mine)
  return found


def pass_flops(model: ModelJob, data: DataConfig) -> float:
  """About what a forward pass of a language model over a pool costs: a third of training on it."""
  config = model.config
  return _tokens(data) * model.flops / (3 * config.steps * config.batch * config.data.length)


@functools.lru_cache
def _tokens(data: DataConfig) -> int:
  """Of a pool, about."""
  ranges = absolute_ranges(open_dataset(dataset_of(data, "lm")), data.lm, "lm")
  return DOCUMENT_TOKENS * sum(stop - start for _, start, stop in ranges)
