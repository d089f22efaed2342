"""Model sizes by name. The paper gives totals only; shapes follow Chinchilla's table (Hoffmann et
al. 2022, table A9): head size 64 or 128, feed-forward four times the width.

The name says about how many parameters there are: in the small ones with a byte vocabulary (257),
in those of the paper with 32,000 tokens. `cost.language_model_parameters` is exact.
"""

from datarater.config import ModelConfig
from datarater.errors import require


def _model(width: int, layers: int, heads: int) -> ModelConfig:
  return ModelConfig(width=width, layers=layers, heads=heads, mlp_width=4 * width)


PRESETS = {
  "0.02m": _model(32, 1, 2),
  "0.05m": _model(48, 1, 2),
  "0.1m": _model(64, 2, 2),
  "0.2m": _model(80, 2, 2),
  "0.4m": _model(96, 3, 3),
  "0.6m": _model(128, 3, 4),
  "1m": _model(128, 5, 4),
  "5m": _model(256, 6, 4),
  "10m": _model(320, 8, 5),
  "50m": _model(576, 9, 9),
  "150m": _model(768, 18, 12),
  "400m": _model(1280, 18, 10),
  "1b": _model(1792, 25, 14),
}


def preset(name: str) -> ModelConfig:
  """The config of a named size."""
  require(name in PRESETS, f"model preset {name!r} is unknown; choose one of {', '.join(PRESETS)}")
  return PRESETS[name]
