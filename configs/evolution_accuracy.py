"""A rater for accuracy: evolution strategies on the share of tokens that are not the likeliest.

    datarater meta-train configs/evolution_accuracy.py --run-dir runs/evolution

The outer loss is a step function, so that nothing but `evolution` can lower it. A meta-step runs
the window 2 x 8 + 1 times: by the operation count 40 of them take about five minutes on 2 idle
cores (11 on busy ones), and 1.4 GB. Expect the error rate to fall from 0.93 to 0.69, and ratings
that are noisy but put speeches above tables: the perturbation is wide (1.0) and the outer batch
large, because one token more or less moves the error rate by one over its tokens. Lower `nll`
instead wherever that will do (`docs/estimators.md`).
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="evolution_accuracy",
    data=DataConfig(target_domain="speeches", datapoint="document", length=128, segments=4),
    rater=preset("0.05m"),
    inner=preset("0.1m"),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
    meta=MetaConfig(
      steps=40,
      unroll_length=2,
      population=2,
      lifetime=100,
      inner_batch=16,
      outer_batch=64,
      objective="target",
      outer_loss="error_rate",
      estimator="evolution",
      evolution_pairs=8,
      evolution_scale=1.0,
      learning_rate=3e-3,
      warmup_steps=5,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    checkpoint_every=20,
    cdf_documents=256,
  )
