"""Finished runs of `datarater train`, a few steps long, for tests that ask trained models."""

import dataclasses
from pathlib import Path

from datarater.config import ModelConfig, TrainConfig
from datarater.data_config import DataConfig
from datarater.evaluation.arm import train_lm

CONFIG = TrainConfig(
  data=DataConfig(length=32, target_domain="speeches", test="test[:2%]"),
  model=ModelConfig(width=8, layers=1, heads=2, mlp_width=16),
  steps=2,
  batch=4,
  evaluations=1,
  evaluation_rows=1,
)


def train_tiny(folder: Path, **changed) -> Path:
  """Trains into `folder`, with these fields of `CONFIG` changed; returns it."""
  train_lm(dataclasses.replace(CONFIG, **changed), folder, progress=False)
  return folder
