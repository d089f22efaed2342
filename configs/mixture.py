"""A mixture in place of a rater network: one logit a domain, learned by meta-gradients.

    datarater meta-train configs/mixture.py --run-dir runs/mixture
    datarater score --rater runs/mixture/rater --input 'corpus/*.jsonl' --output ratings
    datarater select --ratings ratings --output curated --temperature 1.0 --discard-fraction 0.5

100 meta-steps in about two minutes on 2 cores and 1.2 GB. Expect the logit of speeches, the target,
to become the largest (1.3) and those of HTML, code and tables the smallest (-0.7 to -1.2;
`rating_by_domain` in `metrics.jsonl`).
Scoring needs the domain of each document (`--domain-key`); one that the rater does not know has no
rating. The paper tried this weighting and found that by sequence better (Calian et al. 2025,
without numbers).
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="mixture",
    data=DataConfig(target_domain="speeches", datapoint="document", length=128, segments=4),
    rater_kind="mixture",
    inner=preset("0.1m"),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
    meta=MetaConfig(
      steps=100,
      unroll_length=2,
      population=2,
      lifetime=100,
      inner_batch=16,
      outer_batch=16,
      objective="target",
      learning_rate=3e-2,
      warmup_steps=5,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    checkpoint_every=50,
    cdf_documents=256,
  )
