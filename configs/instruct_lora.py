"""A rater of instruction data for conversations: inner models are LoRA adapters on a frozen base.

    datarater data prepare --input 'instructions/*.jsonl' --text-key messages --output data/instruct
    datarater data prepare --input 'conversations/*.jsonl' --text-key messages \\
        --output data/conversations
    datarater train configs/lm_tiny.py --run-dir runs/lm/base
    datarater meta-train configs/instruct_lora.py --run-dir runs/instruct

`--text-key messages` renders lists of {"role", "content"}; `--text-key prompt+response` two fields.
You provide both sets; the base here is a toy of 0.1M parameters on the bundled corpus, in place of
which goes a real one of the same shape as `inner`. 200 meta-steps take about three minutes on 2
cores and 1.2 GB at this size. Expect the outer loss to start at the base's loss on conversations,
and to fall; instructions that read like the conversations rise (dialogues cut from speeches as the
target, instructions from speeches, code and tables: 2.5, -1.7 and -3.0 after 60 meta-steps). Loss
is on prompts and responses.
"""

from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset
from datarater.variant_config import FrozenConfig, LoraConfig


def config() -> MetaTrainConfig:
  return MetaTrainConfig(
    name="instruct_lora",
    data=DataConfig(
      dataset="data/instruct",
      target_dataset="data/conversations",
      datapoint="document",
      length=128,
      segments=4,
    ),
    rater=preset("0.05m"),
    inner=preset("0.1m"),
    lora=LoraConfig(
      rank=4,
      alpha=8.0,
      projections=("query", "value"),
      base=FrozenConfig(run="runs/lm/base"),
    ),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3),
    meta=MetaConfig(
      steps=200,
      unroll_length=2,
      population=2,
      lifetime=50,
      inner_batch=16,
      outer_batch=16,
      objective="target",
      learning_rate=3e-3,
      warmup_steps=10,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    checkpoint_every=50,
    cdf_documents=256,
  )
