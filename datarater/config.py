"""Settings of training and its evaluation: frozen dataclasses, checked when they are made.

A config file under `configs/` defines `config()` and returns one of the three top-level classes
here (`MetaTrainConfig`, `TrainConfig`, `DemoConfig`). The command line overrides any field
(`--meta.unroll-length 4`), JSON (`config_io.py`) carries it from run to run.
Defaults follow the paper (Calian et al. 2025, arXiv 2505.17895) where it states a value; sizes are
small.
"""

import dataclasses
from typing import Any, Literal

SPLITS = ("inner", "outer", "lm", "validation", "test")
TARGET_SPLITS = ("outer", "validation", "test")


class InputError(Exception):
  """The user gave something wrong: the message names the thing, its value and the remedy."""


class DivergedError(RuntimeError):
  """Training gave nothing finite for too long: the run failed, its input was fine; exit code 1."""


class WorkerDiedError(RuntimeError):
  """A worker process was killed from outside: the same command goes on; exit code 1."""


def require(holds: bool, message: str) -> None:
  """Raises InputError(message) unless `holds`."""
  if not holds:
    raise InputError(message)


def _at_least(config: Any, minimum: float, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    require(
      value >= minimum,
      f"{type(config).__name__}.{name} is {value}; give a number of at least {minimum}",
    )


def _fraction(config: Any, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    require(
      0.0 <= value < 1.0,
      f"{type(config).__name__}.{name} is {value}; give a number from 0 up to, not including, 1",
    )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """How text becomes tokens.

  Args:
    kind: `bytes` needs no file, the others read `path`.
    path: A tokenizer.json of Hugging Face, or a SentencePiece .model.
  """

  kind: Literal["bytes", "huggingface", "sentencepiece"] = "bytes"
  path: str = ""

  def __post_init__(self) -> None:
    require(
      self.kind == "bytes" or bool(self.path),
      f"TokenizerConfig.path is empty for kind {self.kind!r}; name the tokenizer's file",
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where text comes from and how it becomes rows of tokens.

  The five splits must not overlap.

  Args:
    dataset: `bundled`, a folder prepared as array_record, the output of `select` (its split is
      `train`), or a TFDS name (`c4/en:3.1.0`).
    target_dataset: Where outer, validation and test come from; empty: the same dataset.
    target_domain: Their domain; with target_dataset empty too, the pool's distribution.
    inner: TFDS split expression (`train[:60%]`) of the text that inner models train on.
    outer: Of the held-out text whose loss the rater learns to lower.
    lm: Of the pool that language models train on.
    validation: Of the held-out text to choose settings by.
    test: Of the held-out text to report once.
    exclude_domains: Domains left out of the pool (inner and lm).
    text_key: Feature that holds the text.
    id_key: Feature that holds the document's id.
    domain_key: Feature that holds its domain.
    tokenizer: How text becomes tokens.
    length: Tokens a row.
    segments: Most documents, or chunks of them, a row.
    datapoint: What gets one rating, a packed row or each document inside it.
    shuffle_window: Chunks shuffled together, so that a long document does not fill a batch.
    noise_levels: For the toy of Figure 3: fractions of tokens replaced at random in the pool. A
      document's level goes by its index, its domain becomes `noise_<level>`.
  """

  dataset: str = "bundled"
  target_dataset: str = ""
  target_domain: str = ""
  inner: str = "inner"
  outer: str = "outer"
  lm: str = "lm"
  validation: str = "validation"
  test: str = "test"
  exclude_domains: tuple[str, ...] = ()
  text_key: str = "text"
  id_key: str = "id"
  domain_key: str = "domain"
  tokenizer: TokenizerConfig = TokenizerConfig()
  length: int = 128
  segments: int = 8
  datapoint: Literal["sequence", "document"] = "sequence"
  shuffle_window: int = 2048
  noise_levels: tuple[float, ...] = ()

  def __post_init__(self) -> None:
    _at_least(self, 2, "length")
    _at_least(self, 1, "segments", "shuffle_window")
    for level in self.noise_levels:
      require(
        0.0 <= level <= 1.0, f"DataConfig.noise_levels holds {level}; give fractions from 0 to 1"
      )

  @property
  def has_target(self) -> bool:
    """Whether the held-out splits come from a chosen target instead of the pool's distribution."""
    return bool(self.target_dataset or self.target_domain)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A Chinchilla-style transformer: causal as a language model, bidirectional as a rater.

  Args:
    width: Features a token.
    layers: Blocks.
    heads: Of attention.
    mlp_width: Features between the two products of the feed-forward part.
    remat: Recompute each block in the backward pass: less memory, more time.
    attention: `cudnn` has no second derivative and is refused wherever meta-gradients flow.
    dtype: Of activations; parameters stay float32.
  """

  width: int = 64
  layers: int = 2
  heads: int = 4
  mlp_width: int = 256
  remat: bool = False
  attention: Literal["xla", "cudnn"] = "xla"
  dtype: Literal["float32", "bfloat16", "float64"] = "float32"

  def __post_init__(self) -> None:
    _at_least(self, 1, "width", "layers", "heads", "mlp_width")
    require(
      self.width % (2 * self.heads) == 0,
      f"ModelConfig.width is {self.width} with {self.heads} heads; give a width that is a multiple "
      "of twice the heads (rotary positions turn pairs of features)",
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """An Optax optimiser.

  Args:
    name: The rule.
    learning_rate: After warm-up.
    momentum: Of `momentum`.
    b1: Decay of Adam's first moment.
    b2: Decay of its second.
    eps: Added to its denominator.
    eps_root: Added inside the root of its denominator. At 0 the meta-gradient is NaN wherever a
      gradient is exactly zero (unused embedding rows).
    weight_decay: Decoupled, of `adamw`.
    clip_norm: Global-norm clip; 0 for none.
    warmup_steps: Linear.
    schedule: After warm-up; the cosine falls to zero at the run's end.
  """

  name: Literal["sgd", "momentum", "adam", "adamw"] = "adamw"
  learning_rate: float = 2e-3
  momentum: float = 0.9
  b1: float = 0.9
  b2: float = 0.99
  eps: float = 1e-8
  eps_root: float = 1e-12
  weight_decay: float = 0.0
  clip_norm: float = 0.0
  warmup_steps: int = 0
  schedule: Literal["constant", "cosine"] = "constant"

  def __post_init__(self) -> None:
    _at_least(
      self, 0, "learning_rate", "eps", "eps_root", "weight_decay", "clip_norm", "warmup_steps"
    )
    _fraction(self, "momentum", "b1", "b2")


@dataclasses.dataclass(frozen=True)
class MetaConfig:
  """Algorithm 1 of the paper, which has T = 2, 8 members, warm-up 100, decay 0.1 and clip 0.01.

  Args:
    steps: Meta-steps.
    unroll_length: T, inner updates differentiated through in one meta-step.
    population: Inner models.
    lifetime: Meta-steps until an inner model is re-initialised, at staggered ages (not stated in
      the paper).
    inner_batch: Rows a member and inner update.
    outer_batch: Rows a member and meta-step.
    objective: `heldout`, the pool's distribution; `target`, the target of the data config.
    estimator: `mixed` (forward over reverse), or `reverse`, the plain reference.
    learning_rate: Of the meta-update (not stated in the paper).
    warmup_steps: Linear.
    weight_decay: Decoupled, applied once to the averaged update.
    clip_norm: Global norm that each member's meta-gradient is clipped to; 0 for none.
    b1: Decay of meta-Adam's first moment.
    b2: Decay of its second.
    eps: Added to its denominator.
    reset_moments: Zero a member's meta-Adam moments when its model is re-initialised.
  """

  steps: int = 1000
  unroll_length: int = 2
  population: int = 8
  lifetime: int = 300
  inner_batch: int = 32
  outer_batch: int = 32
  objective: Literal["heldout", "target"] = "heldout"
  estimator: Literal["mixed", "reverse"] = "mixed"
  learning_rate: float = 1e-3
  warmup_steps: int = 100
  weight_decay: float = 0.1
  clip_norm: float = 0.01
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  reset_moments: bool = False

  def __post_init__(self) -> None:
    _at_least(
      self, 1, "steps", "unroll_length", "population", "lifetime", "inner_batch", "outer_batch"
    )
    _at_least(self, 0, "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "eps")
    _fraction(self, "b1", "b2")


@dataclasses.dataclass(frozen=True)
class MetaTrainConfig:
  """One meta-training run: it writes `config.json`, `metrics.jsonl`, `checkpoints/` and `rater/`.

  Args:
    name: Of the rater, for its card.
    seed: Of everything random in the run.
    data: Where text comes from.
    rater: The network that rates.
    inner: The language models that train inside.
    inner_optimizer: Their optimiser.
    meta: Algorithm 1.
    checkpoint_every: Meta-steps between checkpoints.
    keep_checkpoints: How many stay on disk.
    cdf_documents: Documents of the inner split rated at the end, for the CDF of ratings.
  """

  name: str = "datarater"
  seed: int = 0
  data: DataConfig = DataConfig()
  rater: ModelConfig = ModelConfig()
  inner: ModelConfig = ModelConfig()
  inner_optimizer: OptimizerConfig = OptimizerConfig()
  meta: MetaConfig = MetaConfig()
  checkpoint_every: int = 50
  keep_checkpoints: int = 2
  cdf_documents: int = 2048

  def __post_init__(self) -> None:
    _at_least(self, 0, "seed")
    _at_least(self, 1, "checkpoint_every", "keep_checkpoints", "cdf_documents")
    for role in ("rater", "inner"):
      require(
        getattr(self, role).attention != "cudnn",
        f"{role}.attention is 'cudnn', whose kernel has no second derivative; give 'xla' for "
        "meta-training",
      )
    require(
      self.meta.objective == "heldout" or self.data.has_target,
      "meta.objective is 'target' but the data names none; set data.target_domain or "
      "data.target_dataset",
    )
    require(
      self.meta.objective == "target" or not self.data.has_target,
      "meta.objective is 'heldout' but the data names a target "
      f"({self.data.target_domain or self.data.target_dataset!r}); set meta.objective to 'target', "
      "or empty data.target_domain and data.target_dataset",
    )


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
  """Which of the pool a language model trains on.

  Args:
    kind: Everything, a random share, or what the rater keeps.
    mode: `offline` rates the whole pool once and keeps its top share; `online` draws
      batch/(1-discard_fraction) rows and keeps the best of each batch. A random share is always
      taken offline.
    discard_fraction: Share to discard.
    rater: Folder of a rater.
  """

  kind: Literal["unfiltered", "random", "rater"] = "unfiltered"
  mode: Literal["offline", "online"] = "offline"
  discard_fraction: float = 0.5
  rater: str = ""

  def __post_init__(self) -> None:
    _fraction(self, "discard_fraction")
    require(
      self.kind != "rater" or bool(self.rater),
      "selection.kind is 'rater' but selection.rater is empty; name a rater folder",
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """A language model trained from scratch.

  It writes `config.json`, `curve.jsonl`, `checkpoints/` and `result.json`.

  Args:
    name: Of the run, for its progress bar.
    seed: Of everything random in the run.
    data: Where text comes from.
    model: The language model.
    optimizer: Its optimiser.
    selection: Which of the pool it trains on.
    steps: Updates.
    batch: Rows a step.
    evaluations: Points of the learning curve, the last at the end.
    evaluation_split: `validation` to choose by, `test` to report once.
    evaluation_rows: Most rows of each domain beside the target, 0 for all; the target is read
      whole.
    checkpoint_every: Steps between checkpoints.
  """

  name: str = "lm"
  seed: int = 0
  data: DataConfig = DataConfig()
  model: ModelConfig = ModelConfig()
  optimizer: OptimizerConfig = OptimizerConfig(name="adam", schedule="cosine")
  selection: SelectionConfig = SelectionConfig()
  steps: int = 1000
  batch: int = 32
  evaluations: int = 10
  evaluation_split: Literal["validation", "test"] = "test"
  evaluation_rows: int = 0
  checkpoint_every: int = 500

  def __post_init__(self) -> None:
    _at_least(self, 0, "seed", "evaluation_rows")
    _at_least(self, 1, "steps", "batch", "evaluations", "checkpoint_every")


@dataclasses.dataclass(frozen=True)
class DemoConfig:
  """The whole story: meta-train, score, select, train three arms over LM seeds, compare, report."""

  meta_train: MetaTrainConfig = MetaTrainConfig()
  train: TrainConfig = TrainConfig()
  lm_seeds: tuple[int, ...] = (0, 1, 2)

  def __post_init__(self) -> None:
    require(
      len(self.lm_seeds) >= 2, "DemoConfig.lm_seeds needs two seeds or more: an interval needs them"
    )
    require(
      self.meta_train.data == self.train.data,
      "meta_train.data and train.data differ; the demo compares language models on the rater's "
      "own data",
    )
