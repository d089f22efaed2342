"""Ratings that figures look at: of the pool by every seed's rater, and of packed rows."""

import contextlib

import numpy as np

from datarater.data.loader import train_loader
from datarater.data.sources import Source
from datarater.data.tokenizers import Tokenizer
from datarater.data_config import DataConfig
from datarater.scorers.rater import Rater
from datarater.types import Batch
from experiments.arms import rated_pool, rater
from experiments.experiment import Place
from experiments.jobs import RatingJob
from experiments.scale import HELDOUT

ROWS_A_BATCH = 64


def shown_objectives(place: Place) -> tuple[str, str]:
  """The headline's, and the pool's own distribution, which is the paper's."""
  return place.scale.objectives[0], HELDOUT


def pools(place: Place, objective: str) -> list[RatingJob]:
  """The pool that final models train on, rated by the rater of each seed."""
  return [rated_pool(place, rater(place, objective, seed)) for seed in place.scale.seeds]


def packed_rows(
  source: Source, tokenizer: Tokenizer, data: DataConfig, rows: int, seed: int
) -> list[Batch]:
  """Batches of packed rows as in training, `rows` of them or up to a batch more."""
  with contextlib.closing(train_loader(source, tokenizer, data, ROWS_A_BATCH, seed)) as loader:
    return [next(loader) for _ in range(-(-rows // ROWS_A_BATCH))]


def rate_rows(rater: Rater, batches: list[Batch]) -> np.ndarray:
  """float64 [rows]: the rating of each row as a whole; the rater's datapoint is `sequence`."""
  ratings = [np.asarray(rater.rate_batch(batch))[:, 0] for batch in batches]
  return np.concatenate(ratings).astype(np.float64)
