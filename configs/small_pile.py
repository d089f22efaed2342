"""A rater on the small Pile, for encyclopedia articles: the headline's rater of `experiments/`.

    datarater data build small-pile --out data/small_pile
    datarater meta-train configs/small_pile.py --run-dir runs/small_pile

300 meta-steps in about three minutes on 2 cores and 1.5 GB. Expect encyclopedia, speeches, essays
and forum posts above the rest, number tables and search indexes at the bottom (`metrics.jsonl`).

Other aims:
    --data.target-domain speeches                                   another target
    --data.exclude-domains encyclopedia                             its own domain not in the pool
    --data.target-domain '' --meta.objective heldout                the pool's own distribution
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="small_pile",
    data=DataConfig(
      dataset="data/small_pile", target_domain="encyclopedia", length=128, segments=4
    ),
    rater=preset("0.05m"),
    inner=preset("0.1m"),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
    meta=MetaConfig(
      steps=300,
      unroll_length=2,
      population=2,
      lifetime=200,
      inner_batch=16,
      outer_batch=16,
      objective="target",
      learning_rate=3e-3,
      warmup_steps=20,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
  )
