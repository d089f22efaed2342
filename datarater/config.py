"""Settings of training and its evaluation: frozen dataclasses, checked when they are made.

A config file under `configs/` defines `config()` and returns one of the three top-level classes
here (`MetaTrainConfig`, `TrainConfig`, `DemoConfig`). The command line overrides any field
(`--meta.unroll-length 4`), JSON (`config_io.py`) carries it from run to run.
Defaults follow the paper (Calian et al. 2025, arXiv 2505.17895) where it states a value; sizes are
small.
"""

import dataclasses
from typing import Literal

from datarater.data_config import DataConfig
from datarater.errors import require, require_at_least, require_fractions
from datarater.variant_config import FrozenConfig, LoraConfig, require_fitting


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A Chinchilla-style transformer: causal as a language model, bidirectional as a rater.

  Args:
    width: Features a token.
    layers: Blocks.
    heads: Of attention.
    mlp_width: Features between the two products of the feed-forward part.
    remat: Recompute each block in the backward pass: less memory, more time.
    attention: `xla` computes all scores at once; `blockwise` a block at a time, in memory that
      grows with the length alone; `auto` takes `blockwise` for long rows. `cudnn`, a fused kernel,
      has no second derivative and is refused wherever meta-gradients flow.
    dtype: Of activations; parameters, losses and meta-gradients stay float32.
  """

  width: int = 64
  layers: int = 2
  heads: int = 4
  mlp_width: int = 256
  remat: bool = False
  attention: Literal["auto", "xla", "blockwise", "cudnn"] = "auto"
  dtype: Literal["float32", "bfloat16", "float64"] = "float32"

  def __post_init__(self) -> None:
    require_at_least(self, 1, "width", "layers", "heads", "mlp_width")
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
    require_at_least(
      self, 0, "learning_rate", "eps", "eps_root", "weight_decay", "clip_norm", "warmup_steps"
    )
    require_fractions(self, "momentum", "b1", "b2")


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
    microbatch: Rows of an inner batch whose gradients are computed at once and added up, 0 for all:
      less memory for the same result.
    objective: `heldout`, the pool's distribution; `target`, the target of the data config.
    outer_loss: `nll`, nats a token; `error_rate`, the share of tokens that are not the likeliest,
      which only `evolution` can lower.
    estimator: Of the meta-gradient. `mixed` (forward over reverse) and `reverse` (the plain
      reference) are exact; `first_order` leaves the Hessian products out; `evolution` only
      evaluates the loss.
    residuals: Of `mixed`. `recompute` the inner gradients' intermediate values in the backward
      pass, or `keep` them: up to a fifth fewer operations, memory that grows with the unroll.
    evolution_pairs: Antithetic pairs of perturbations a meta-step, of `evolution`.
    evolution_scale: Standard deviation of the perturbation of each rating.
    learning_rate: Of the meta-update (not stated in the paper).
    warmup_steps: Linear.
    schedule: After warm-up; the cosine falls to zero at the run's end (not in the paper), so that
      the run cannot be made longer.
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
  microbatch: int = 0
  objective: Literal["heldout", "target"] = "heldout"
  outer_loss: Literal["nll", "error_rate"] = "nll"
  estimator: Literal["mixed", "reverse", "first_order", "evolution"] = "mixed"
  residuals: Literal["recompute", "keep"] = "recompute"
  evolution_pairs: int = 8
  evolution_scale: float = 0.1
  learning_rate: float = 1e-3
  warmup_steps: int = 100
  schedule: Literal["constant", "cosine"] = "constant"
  weight_decay: float = 0.1
  clip_norm: float = 0.01
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  reset_moments: bool = False

  def __post_init__(self) -> None:
    require_at_least(
      self, 1, "steps", "unroll_length", "population", "lifetime", "inner_batch", "outer_batch"
    )
    require_at_least(self, 1, "evolution_pairs")
    require_at_least(
      self, 0, "microbatch", "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "eps"
    )
    require_fractions(self, "b1", "b2")
    require(
      self.evolution_scale > 0,
      f"MetaConfig.evolution_scale is {self.evolution_scale}; give a number above 0",
    )
    require(
      self.outer_loss == "nll" or self.estimator == "evolution",
      f"meta.outer_loss is {self.outer_loss!r}, which has no gradient, and meta.estimator is "
      f"{self.estimator!r}; set meta.estimator to 'evolution', or meta.outer_loss to 'nll'",
    )
    require(
      self.microbatch == 0 or self.inner_batch % self.microbatch == 0,
      f"meta.microbatch is {self.microbatch} and meta.inner_batch {self.inner_batch}; give a "
      "divisor of it, or 0",
    )
    require(
      self.microbatch == 0 or self.residuals == "recompute",
      f"meta.microbatch is {self.microbatch} and meta.residuals 'keep', which needs the memory of "
      "the whole batch all the same; set microbatch to 0, or residuals to 'recompute'",
    )
    require(
      self.residuals == "recompute" or self.estimator == "mixed",
      f"meta.residuals is {self.residuals!r} and meta.estimator is {self.estimator!r}; only "
      "'mixed' can keep them, set meta.residuals to 'recompute'",
    )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How devices share the work; the product is the number of devices, of all processes.

  The result does not depend on it, but for rounding, so that a run may go on with another mesh.

  Args:
    member: Groups of devices that the population is spread over; divides it.
    data: Shares of each batch; parameters and optimiser state are spread over it as well (FSDP).
    model: Shares of each matrix product.
  """

  member: int = 1
  data: int = 1
  model: int = 1

  def __post_init__(self) -> None:
    require_at_least(self, 1, "member", "data", "model")

  @property
  def devices(self) -> int:
    """How many the mesh needs."""
    return self.member * self.data * self.model


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
    mesh: How devices share the work.
    checkpoint_every: Meta-steps between checkpoints.
    keep_checkpoints: How many stay on disk.
    snapshot_every: Meta-steps between raters that are kept in `snapshots/`, 0 for none.
    cdf_documents: Documents of the inner split rated at the end, for the CDF of ratings.
    rater_kind: `network` reads the text. `mixture` is one logit a domain, without a network. An
      `online` network also sees the datapoint's loss under the inner model as it is.
    rater_domains: Of a mixture, in the order of its logits; empty: those of the inner split.
    rater_reference: A trained model by whose loss an online rater sees the inner model's excess.
    lora: Adapters that inner models are, instead of whole models.
  """

  name: str = "datarater"
  seed: int = 0
  data: DataConfig = DataConfig()
  rater: ModelConfig = ModelConfig()
  inner: ModelConfig = ModelConfig()
  inner_optimizer: OptimizerConfig = OptimizerConfig()
  meta: MetaConfig = MetaConfig()
  mesh: MeshConfig = MeshConfig()
  checkpoint_every: int = 50
  keep_checkpoints: int = 2
  snapshot_every: int = 0
  cdf_documents: int = 2048
  rater_kind: Literal["network", "mixture", "online"] = "network"
  rater_domains: tuple[str, ...] = ()
  rater_reference: FrozenConfig = FrozenConfig()
  lora: LoraConfig = LoraConfig()

  def __post_init__(self) -> None:
    require_at_least(self, 0, "seed", "snapshot_every")
    require_at_least(self, 1, "checkpoint_every", "keep_checkpoints", "cdf_documents")
    for role in ("rater", "inner"):
      require(
        getattr(self, role).attention != "cudnn",
        f"{role}.attention is 'cudnn', whose kernel has no second derivative; give 'auto', 'xla' "
        "or 'blockwise' for meta-training",
      )
    meta, mesh = self.meta, self.mesh
    require(
      meta.population % mesh.member == 0,
      f"mesh.member is {mesh.member} and meta.population {meta.population}; give a divisor of it",
    )
    for name in ("inner_batch", "outer_batch", "microbatch"):
      rows = getattr(meta, name)
      require(
        rows % mesh.data == 0,
        f"mesh.data is {mesh.data} and meta.{name} {rows}; give a divisor of it",
      )
    require(
      meta.objective == "heldout" or self.data.has_target,
      "meta.objective is 'target' but the data names none; set data.target_domain or "
      "data.target_dataset",
    )
    require(
      meta.objective == "target" or not self.data.has_target,
      "meta.objective is 'heldout' but the data names a target "
      f"({self.data.target_domain or self.data.target_dataset!r}); set meta.objective to 'target', "
      "or empty data.target_domain and data.target_dataset",
    )
    require_fitting(self)

  @property
  def rater_features(self) -> int:
    """How many numbers an online rater sees of the inner model; 0 for the other kinds."""
    return (1 + bool(self.rater_reference.run)) if self.rater_kind == "online" else 0


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
  """Which of the pool a language model trains on.

  Args:
    kind: Everything, a random share, what the rater keeps, or what ratings made before keep.
    mode: `offline` rates the whole pool once and keeps its top share; `online` draws
      batch/(1-discard_fraction) rows and keeps the best of each batch; `weighted` discards nothing,
      each document weighs in its batch as in meta-training. A random share is always taken offline.
    discard_fraction: Share to discard.
    rater: Folder of a rater.
    ratings: File that `RatedPool.save` wrote, of this pool.
    charge: How the FLOPs of offline ratings count: the whole `pool` before the first step, or what
      has been `drawn` of it so far, as in a pipeline that rates as it reads; never more than all.
  """

  kind: Literal["unfiltered", "random", "rater", "ratings"] = "unfiltered"
  mode: Literal["offline", "online", "weighted"] = "offline"
  discard_fraction: float = 0.5
  rater: str = ""
  ratings: str = ""
  charge: Literal["pool", "drawn"] = "pool"

  def __post_init__(self) -> None:
    require_fractions(self, "discard_fraction")
    require(
      self.kind != "rater" or bool(self.rater),
      "selection.kind is 'rater' but selection.rater is empty; name a rater folder",
    )
    require(
      self.kind != "ratings" or (bool(self.ratings) and self.mode != "online"),
      f"selection.kind is 'ratings' with selection.ratings {self.ratings!r} and selection.mode "
      f"{self.mode!r}; name a file of ratings, and set the mode to 'offline' or 'weighted'",
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
    evaluation_rows: Most rows of each domain beside the targets, 0 for all.
    evaluation_targets: Domains that are read as fully as data.target_domain.
    evaluation_target_rows: Most rows of the target and of each of them, 0 for all.
    validate: Evaluate the validation split as well, once, at the end: to choose by it.
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
  evaluation_targets: tuple[str, ...] = ()
  evaluation_target_rows: int = 0
  validate: bool = False
  checkpoint_every: int = 500

  def __post_init__(self) -> None:
    require_at_least(self, 0, "seed", "evaluation_rows", "evaluation_target_rows")
    require_at_least(self, 1, "steps", "batch", "evaluations", "checkpoint_every")


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
