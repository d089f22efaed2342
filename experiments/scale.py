"""What the experiments run at: presets of corpus, sizes, lengths and seeds.

    cpu     minutes on two cores: models of 0.04M to 0.6M parameters that read bytes
    gpu     one GPU, each job within ten minutes: models of 5M to 50M that read subwords
    paper   the settings of Calian et al. 2025, for a pod; we have not run it

A language model's schedule is the paper's (Adam, cosine to zero), scaled to a budget of tokens. Its
learning rate is the one that was best for the *unfiltered* arm (`learning_rates`), for all arms.
"""

import dataclasses
from typing import Literal

from datarater.config import (
  MetaConfig,
  MetaTrainConfig,
  ModelConfig,
  OptimizerConfig,
  TrainConfig,
)
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.meta import paper
from datarater.models.presets import preset

Preset = Literal["cpu", "gpu", "paper"]
HELDOUT = "same distribution"
"""The objective that has no target: held-out text like the pool's."""


@dataclasses.dataclass(frozen=True)
class LanguageModel:
  """A size of language model: its preset, budget of tokens, rows an update, rates to try."""

  size: str
  tokens: int
  batch: int
  learning_rates: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Scale:
  """Everything that differs between presets.

  data: its `lm` is the pool of final models. targets: domains to aim at, the headline's first.
  evaluation_rows, target_rows: of each held-out domain, and of each target. meta: of the headline's
  raters; ablation_steps: meta-steps of those that ablations vary. snapshots: of each rater. proxy:
  split of text that no final model trains on, for models that rate. suite, task_items: of
  downstream tasks.
  """

  name: Preset
  data: DataConfig
  targets: tuple[str, ...]
  models: tuple[LanguageModel, ...]
  evaluation_rows: int
  target_rows: int
  rater: str
  inner: str
  inner_optimizer: OptimizerConfig
  meta: MetaConfig
  ablation_steps: int
  inner_sizes: tuple[str, ...]
  rater_sizes: tuple[str, ...]
  seeds: tuple[int, ...] = (0, 1, 2)
  discard_fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
  snapshots: int = 4
  proxy: str = "inner"
  suite: str = "data/eval_suite"
  task_items: int = 300
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: bool = False

  @property
  def objectives(self) -> tuple[str, ...]:
    """Targets, and the pool's own distribution."""
    return (*self.targets, HELDOUT)

  @property
  def sizes(self) -> tuple[str, ...]:
    """Of the final language models, rising."""
    return tuple(each.size for each in self.models)

  def model(self, size: str) -> ModelConfig:
    """The shape of a size."""
    return dataclasses.replace(preset(size), dtype=self.dtype, remat=self.remat)

  def language_model(self, size: str) -> LanguageModel:
    """The language model of a size."""
    return self.models[self.sizes.index(size)]

  def steps(self, size: str) -> int:
    """Updates that the token budget of a size comes to."""
    model = self.language_model(size)
    return max(1, model.tokens // (model.batch * self.data.length))

  def rater_config(
    self, objective: str, seed: int, data: DataConfig | None = None
  ) -> MetaTrainConfig:
    """The headline's rater for an objective."""
    target = "" if objective == HELDOUT else objective
    data = dataclasses.replace(data or self.data, target_domain=target)
    kind = "target" if target else "heldout"
    return MetaTrainConfig(
      name=f"{self.name} {objective}",
      seed=seed,
      data=data,
      rater=self.model(self.rater),
      inner=self.model(self.inner),
      inner_optimizer=self.inner_optimizer,
      meta=dataclasses.replace(self.meta, objective=kind),
      checkpoint_every=max(1, self.meta.steps // 8),
      snapshot_every=max(1, self.meta.steps // self.snapshots),
      cdf_documents=512,  # rated at each snapshot
    )

  def train_config(
    self, size: str, learning_rate: float, seed: int, data: DataConfig | None = None
  ) -> TrainConfig:
    """A final language model on everything; held-out losses of every domain, the targets' well."""
    steps = self.steps(size)
    return TrainConfig(
      name=size,
      seed=seed,
      data=data or self.data,
      model=self.model(size),
      optimizer=OptimizerConfig(
        name="adam",
        learning_rate=learning_rate,
        warmup_steps=max(1, steps // 20),
        schedule="cosine",
      ),
      steps=steps,
      batch=self.language_model(size).batch,
      evaluations=8,
      evaluation_rows=self.evaluation_rows,
      evaluation_targets=self.targets,
      evaluation_target_rows=self.target_rows,
      validate=True,
      checkpoint_every=max(1, steps // 2),
    )


_RATES = (2e-3, 4e-3, 8e-3, 1.6e-2)

CPU = Scale(
  name="cpu",
  data=DataConfig(
    dataset="data/small_pile", datapoint="sequence", length=128, segments=4, lm="lm[:20%]"
  ),
  targets=("encyclopedia", "speeches"),
  models=(
    LanguageModel("0.05m", 983_040, 32, (4e-3, 8e-3, 1.6e-2, 3.2e-2)),
    LanguageModel("0.2m", 1_228_800, 32, _RATES),
    LanguageModel("0.6m", 1_310_720, 32, _RATES),
  ),
  evaluation_rows=32,
  target_rows=256,
  rater="0.05m",
  inner="0.1m",
  inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
  meta=MetaConfig(
    steps=300,
    unroll_length=2,
    population=2,
    lifetime=200,
    inner_batch=16,
    outer_batch=16,
    learning_rate=3e-3,
    warmup_steps=20,
    weight_decay=0.0,
    clip_norm=1.0,
  ),
  ablation_steps=75,
  inner_sizes=("0.05m", "0.1m", "0.2m"),
  rater_sizes=("0.02m", "0.05m", "0.2m"),
  discard_fractions=(0.25, 0.5, 0.75, 0.9),
)
GPU = Scale(
  name="gpu",
  data=DataConfig(
    dataset="data/small_pile",
    datapoint="sequence",
    length=512,
    segments=8,
    tokenizer=TokenizerConfig("huggingface", "data/small_pile_bpe/tokenizer.json"),
  ),
  targets=("encyclopedia", "speeches"),
  models=(
    LanguageModel("5m", 13_000_000, 32, (5e-4, 1e-3, 2e-3, 4e-3)),
    LanguageModel("10m", 16_000_000, 32, (5e-4, 1e-3, 2e-3, 4e-3)),
    LanguageModel("50m", 20_000_000, 32, (2.5e-4, 5e-4, 1e-3, 2e-3)),
  ),
  evaluation_rows=16,
  target_rows=256,
  rater="0.4m",
  inner="5m",
  inner_optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3),
  meta=MetaConfig(
    steps=1000,
    unroll_length=2,
    population=4,
    lifetime=500,
    inner_batch=16,
    outer_batch=16,
    learning_rate=1e-3,
    warmup_steps=100,
    weight_decay=0.0,
    clip_norm=1.0,
  ),
  ablation_steps=500,
  inner_sizes=("1m", "5m", "10m"),
  rater_sizes=("0.1m", "0.4m", "1m"),
)
PAPER = Scale(
  name="paper",
  data=DataConfig(
    dataset="data/pile",
    datapoint="sequence",
    length=paper.LENGTH,
    segments=paper.SEGMENTS,
    tokenizer=paper.TOKENIZER,
  ),
  targets=("Wikipedia (en)",),
  models=tuple(
    LanguageModel(
      size, final.steps * final.batch * paper.LENGTH, final.batch, (final.learning_rate,)
    )
    for size, final in paper.FINAL_MODELS.items()
  ),
  evaluation_rows=256,
  target_rows=2048,
  rater="50m",
  inner="400m",
  inner_optimizer=paper.INNER_OPTIMIZER,
  meta=paper.META,
  ablation_steps=paper.META.steps,
  inner_sizes=("50m", "150m", "400m"),
  rater_sizes=("10m", "50m", "150m"),
  dtype="bfloat16",
  remat=True,
)


def keeps_model(scale: Scale, size: str) -> bool:
  """Whether a final model's parameters are kept: the largest are asked tasks."""
  return size == scale.sizes[-1]


SCALES = {"cpu": CPU, "gpu": GPU, "paper": PAPER}
