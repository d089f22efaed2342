"""The settings of Calian et al. 2025 (arXiv 2505.17895), as configs.

Stated there and taken over: T = 2, 8 inner models of 400M parameters, a rater of 50M, 128 inner
and 128 outer sequences of 2,048 tokens a member, 8,000 meta-steps, meta-Adam with decoupled decay
0.1, 100 steps of warm-up and clip 0.01; sizes, steps, batches and learning rates of the final
models.

Left open there and chosen here: lifetime and meta learning rate; the inner optimiser; betas,
warm-up and clip of the final models; the shapes behind the sizes (`models.presets`); the
tokenizer; the shares of the splits; the precision (bfloat16, with float32 master weights).
"""

import dataclasses

from datarater.config import (
  MeshConfig,
  MetaConfig,
  MetaTrainConfig,
  ModelConfig,
  OptimizerConfig,
  SelectionConfig,
  TrainConfig,
)
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.errors import require
from datarater.models.presets import preset

LENGTH = 2048
"""Tokens a sequence."""

SEGMENTS = 64
"""Most documents a sequence (open): C4 has texts of a few dozen tokens."""

TOKENIZER = TokenizerConfig(kind="sentencepiece", path="data/tokenizer_32k.model")
"""A SentencePiece model of about 32,000 tokens, which the user provides (the paper names none)."""


# Open in the paper: the rate is that of its final model of this size.
INNER_OPTIMIZER = OptimizerConfig(name="adam", learning_rate=1e-3, b2=0.99, warmup_steps=100)
META = MetaConfig(
  steps=8_000,
  unroll_length=2,
  population=8,
  lifetime=2_000,  # open; 4,000 updates, so that each member starts anew four times
  inner_batch=128,
  outer_batch=128,
  objective="heldout",
  learning_rate=1e-4,  # open
  warmup_steps=100,
  weight_decay=0.1,
  clip_norm=0.01,
)
"""Algorithm 1."""


@dataclasses.dataclass(frozen=True)
class FinalModel:
  """How one of the language models that the paper compares is trained. batch: sequences a step."""

  steps: int
  batch: int
  learning_rate: float

  @property
  def tokens(self) -> int:
    """That it trains on."""
    return self.steps * self.batch * LENGTH


FINAL_MODELS = {
  "50m": FinalModel(5_000, 128, 1e-3),
  "150m": FinalModel(12_000, 128, 1e-3),
  "400m": FinalModel(30_000, 128, 1e-3),
  "1b": FinalModel(48_000, 256, 2e-4),
}
"""By the name of their preset; Adam and a cosine for all."""


def paper_model(size: str) -> ModelConfig:
  """A preset in bfloat16, float32 master weights, its blocks rematerialised."""
  return dataclasses.replace(preset(size), remat=True, dtype="bfloat16")


def meta_train_config(name: str, data: DataConfig) -> MetaTrainConfig:
  """Meta-training on a corpus, for 64 devices."""
  return MetaTrainConfig(
    name=name,
    data=data,
    rater=paper_model("50m"),
    inner=paper_model("400m"),
    inner_optimizer=INNER_OPTIMIZER,
    meta=META,
    mesh=MeshConfig(member=8, data=8, model=1),
    checkpoint_every=100,
  )


def lm_config(
  size: str, data: DataConfig, selection: SelectionConfig | None = None, seed: int = 0
) -> TrainConfig:
  """One of the paper's final language models: `50m`, `150m`, `400m` or `1b`, from scratch."""
  require(
    size in FINAL_MODELS,
    f"final model {size!r} is none of the paper's; give one of {', '.join(FINAL_MODELS)}",
  )
  final = FINAL_MODELS[size]
  return TrainConfig(
    name=f"lm_{size}",
    seed=seed,
    data=data,
    model=paper_model(size),
    optimizer=OptimizerConfig(
      name="adam",
      learning_rate=final.learning_rate,
      b2=0.95,
      warmup_steps=final.steps // 50,
      clip_norm=1.0,
      schedule="cosine",
    ),
    selection=selection or SelectionConfig(),
    steps=final.steps,
    batch=final.batch,
    evaluations=20,
    checkpoint_every=1_000,
  )
