"""A rater of tokens: one weight for each predicted token of a batch, in place of one a document.

    datarater meta-train configs/token.py --run-dir runs/token
    datarater score --rater runs/token/rater --input 'corpus/*.jsonl' --output ratings

40 meta-steps in under a minute on 2 cores and 1.5 GB. Expect the mean rating of tokens of speeches
to rise above that of tables. A document is rated by the mean over its predicted tokens, so that
`score`, `select` and `train` work as with any rater. The paper tried this weighting and found that
by sequence better (Calian et al. 2025, without numbers).
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="token",
    data=DataConfig(target_domain="speeches", datapoint="token", length=128, segments=4),
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
