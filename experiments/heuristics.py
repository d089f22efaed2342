"""The paper's 23 heuristics of packed rows, and linear models that explain ratings by them.

21 are signals of the row's text (`data.signals`), its documents a line apart; packing density and
the number of packed documents belong to the row. Columns are standardised, so coefficients compare.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from datarater.data.packing import chunks_of
from datarater.data.signals import SIGNALS, signals
from datarater.data.tokenizers import Tokenizer
from datarater.errors import InputError
from datarater.types import Batch
from experiments.statistics import standardised

HEURISTICS = ("packing_density", "packed_documents", *SIGNALS)
FOLDS = 5
PENALTY = (
  f"the largest whose mean squared error in {FOLDS}-fold cross-validation is within one standard "
  "error of the least"
)


@dataclasses.dataclass(frozen=True)
class LinearModel:
  """r2: on the rows it was fitted on. r2_validated: over held-out folds; None where not taken.

  coefficients: float [columns], standardised. penalty: of the Lasso, 0 for least squares.
  """

  r2: float
  r2_validated: float | None
  coefficients: np.ndarray
  penalty: float = 0.0


def heuristics(batches: Sequence[Batch], tokenizer: Tokenizer) -> np.ndarray:
  """float64 [rows, 23], the columns of `HEURISTICS`."""
  rows = []
  for batch in tqdm(batches, desc="heuristics", unit=" batches", delay=1.0):
    length = batch.tokens_BxL.shape[1]
    for chunks in chunks_of(batch):
      tokens = sum(len(chunk.tokens) for chunk in chunks)
      text = "\n".join(tokenizer.decode(chunk.tokens) for chunk in chunks)
      rows.append([tokens / length, len(chunks), *signals(text).values()])
  return np.array(rows)


def varying(table: np.ndarray) -> np.ndarray:
  """bool [columns]: those that differ between rows; the others explain nothing."""
  return np.ptp(table, axis=0) > 0


def least_squares(table: np.ndarray, ratings: np.ndarray) -> LinearModel:
  """Ordinary least squares. table: [rows, columns], each varying; ratings: [rows]."""
  linear, selection = _sklearn()
  x, y = _standardised(table, ratings)
  model = linear.LinearRegression().fit(x, y)
  scores = selection.cross_val_score(linear.LinearRegression(), x, y, cv=_folds(selection))
  return LinearModel(float(model.score(x, y)), float(scores.mean()), model.coef_)


def lasso(table: np.ndarray, ratings: np.ndarray) -> LinearModel:
  """Least squares with an L1 penalty: `PENALTY`."""
  linear, selection = _sklearn()
  x, y = _standardised(table, ratings)
  path = linear.LassoCV(cv=_folds(selection)).fit(x, y)
  errors = path.mse_path_.mean(axis=1)
  best = int(errors.argmin())
  tolerated = errors[best] + path.mse_path_[best].std(ddof=1) / np.sqrt(FOLDS)
  penalty = float(path.alphas_[errors <= tolerated].max())
  model = linear.Lasso(alpha=penalty).fit(x, y)
  scores = selection.cross_val_score(linear.Lasso(alpha=penalty), x, y, cv=_folds(selection))
  return LinearModel(float(model.score(x, y)), float(scores.mean()), model.coef_, penalty)


def _standardised(table: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return np.apply_along_axis(standardised, 0, table), standardised(ratings)


def _folds(selection: Any) -> Any:
  return selection.KFold(FOLDS, shuffle=True, random_state=0)


def _sklearn() -> tuple[Any, Any]:
  """(sklearn.linear_model, sklearn.model_selection)"""
  try:
    from sklearn import linear_model, model_selection
  except ImportError as error:
    raise InputError(
      "regressions need the package scikit-learn; install the extra: "
      "pip install 'datarater[experiments]'"
    ) from error
  return linear_model, model_selection
