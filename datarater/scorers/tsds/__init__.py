"""TSDS: task-specific data selection by optimal transport and diversity."""

from datarater.scorers.tsds.sampling import draw
from datarater.scorers.tsds.scorer import TsdsScorer

__all__ = ["TsdsScorer", "draw"]
