"""A language model of 0.1M parameters on the bundled corpus, evaluated on held-out speeches.

    datarater train configs/lm_tiny.py --run-dir runs/lm/unfiltered
    datarater train configs/lm_tiny.py --run-dir runs/lm/random --selection.kind random
    datarater train configs/lm_tiny.py --run-dir runs/lm/rater \\
        --selection.kind rater --selection.rater runs/tiny/rater
    datarater evaluate --arm runs/lm/rater --baseline runs/lm/unfiltered

300 steps in about half a minute on 2 cores. `--selection.mode online` draws twice as many rows and
keeps the better half of every batch.
"""

from datarater.config import OptimizerConfig, SelectionConfig, TrainConfig
from datarater.data_config import DataConfig
from datarater.models.presets import preset


def config() -> TrainConfig:
  return TrainConfig(
    name="lm_tiny",
    data=DataConfig(target_domain="speeches", datapoint="document", length=128, segments=4),
    model=preset("0.1m"),
    optimizer=OptimizerConfig(name="adam", learning_rate=4e-3, warmup_steps=20, schedule="cosine"),
    selection=SelectionConfig(discard_fraction=0.5),
    steps=300,
    batch=32,
    evaluations=6,
    evaluation_rows=12,
  )
