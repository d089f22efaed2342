"""The same-distribution objective of the paper's main results, on the bundled corpus.

    datarater meta-train configs/tiny_heldout.py --run-dir runs/tiny_heldout

Held-out text has all eight domains in proportion, so each has a claim. 300 meta-steps in under four
minutes on 2 cores and 1.5 GB. Expect small differences: tables of numbers fall below the rest, the
other domains stay within a few tenths of each other (with speeches as target: several units).
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="tiny_heldout",
    data=DataConfig(datapoint="document", length=128, segments=4),
    rater=preset("0.05m"),
    inner=preset("0.1m"),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
    meta=MetaConfig(
      steps=300,
      unroll_length=2,
      population=2,
      lifetime=100,
      inner_batch=16,
      outer_batch=16,
      objective="heldout",
      learning_rate=3e-3,
      warmup_steps=10,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    checkpoint_every=50,
    cdf_documents=256,
  )
