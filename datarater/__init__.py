"""DataRater for JAX: meta-learn which training data is worth training on.

meta_train(config, run_dir)      learn a rater (Calian et al. 2025)
load_rater(path).rate(texts)     rate text with it
score, select                    rate and filter a corpus of files
train_lm(config, run_dir)        train a language model on what was kept
"""

import importlib
from typing import TYPE_CHECKING, Any

from datarater.errors import InputError

if TYPE_CHECKING:
  from datarater.curation.score import score
  from datarater.curation.select import select
  from datarater.evaluation.arm import train_lm
  from datarater.meta.trainer import meta_train
  from datarater.scorers.rater import Rater, load_rater

__all__ = ["InputError", "Rater", "load_rater", "meta_train", "score", "select", "train_lm"]
__version__ = "0.1.0"

_HOMES = {
  "Rater": "scorers.rater",
  "load_rater": "scorers.rater",
  "meta_train": "meta.trainer",
  "score": "curation.score",
  "select": "curation.select",
  "train_lm": "evaluation.arm",
}


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used: JAX takes seconds to load, a config does not."""
  if name not in _HOMES:
    raise AttributeError(f"module 'datarater' has no attribute {name!r}")
  return getattr(importlib.import_module(f"datarater.{_HOMES[name]}"), name)
