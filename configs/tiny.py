"""A rater for speeches, meta-trained on the bundled corpus: the smallest run that shows something.

    datarater meta-train configs/tiny.py --run-dir runs/tiny

40 meta-steps in under a minute on 2 cores and 1.5 GB. Expect the mean rating of speeches to rise
above that of tables and HTML (`metrics.jsonl`, `rating_by_domain`); the order of the other domains
takes more steps (`--meta.steps 150`).
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="tiny",
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
      outer_batch=16,
      objective="target",
      learning_rate=3e-3,
      warmup_steps=5,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    checkpoint_every=20,
    cdf_documents=256,
  )
