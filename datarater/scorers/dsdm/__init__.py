"""DsDm (`scorer`): datamodels estimated with TRAK.

rows → gradients → projection → features (X) → store → kernel (v) → scorer; lds says how well
predictions rank what training does.
"""

from datarater.scorers.dsdm.scorer import DsdmScorer

__all__ = ["DsdmScorer"]
