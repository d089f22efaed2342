"""An online rater: it sees the text, the loss of the model in training on it, and by how much that
exceeds the loss of a reference model, as RHO-LOSS does.

    datarater train configs/lm_tiny.py --run-dir runs/lm/reference
    datarater meta-train configs/online_rho.py --run-dir runs/online
    datarater train configs/lm_tiny.py --run-dir runs/lm/online \\
        --selection.kind rater --selection.mode online --selection.rater runs/online/rater

40 meta-steps in about a minute on 2 cores and 1.5 GB, after half a minute for the reference. Expect
speeches, the target, to be rated highest (2.6) and tables lowest (-4.2), and the coefficients of
loss and excess to leave zero (`head` in the rater's model.safetensors). `score` refuses such a
rater: its ratings depend on the model in training, so that it can only choose of each oversampled
batch. Without a reference (`--rater-reference.run ''`) it sees the loss alone. The paper tried such
features without numbers.
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset
from datarater.variant_config import FrozenConfig


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="online_rho",
    data=DataConfig(target_domain="speeches", datapoint="document", length=128, segments=4),
    rater=preset("0.05m"),
    rater_kind="online",
    rater_reference=FrozenConfig(run="runs/lm/reference"),
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
