"""The data side of meta-training: batches for every member and update, from two seeded loaders."""

from typing import Any

import jax
import numpy as np

from datarater.config import MetaTrainConfig
from datarater.data.datasets import check_splits
from datarater.data.loader import train_loader
from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.types import Batch

INNER_STREAM, OUTER_STREAM = 1, 2
"""Numbers that set the loaders' seeds apart."""


class MetaInputs:
  """Batches of meta-step after meta-step; position and restore make it exactly resumable.

  tokenizer, inner (the pool's source) and domains (its domain names) serve what comes after.
  """

  def __init__(self, config: MetaTrainConfig):
    check_splits(config.data, ("inner", "outer"))
    self.tokenizer = load_tokenizer(config.data.tokenizer)
    self.inner = open_source(config.data, "inner")
    self.domains = self.inner.domains
    meta = config.meta
    self._shape = (meta.population, meta.unroll_length, meta.inner_batch)
    self._outer_shape = (meta.population, meta.outer_batch)
    outer = open_source(config.data, "outer")
    self._loaders = {
      "inner": train_loader(
        self.inner,
        self.tokenizer,
        config.data,
        int(np.prod(self._shape)),
        stream_seed(config.seed, INNER_STREAM),
      ),
      "outer": train_loader(
        outer,
        self.tokenizer,
        config.data,
        int(np.prod(self._outer_shape)),
        stream_seed(config.seed, OUTER_STREAM),
      ),
    }

  def next(self) -> tuple[Batch, Batch]:
    """(inner PxTxB, outer PxB), numpy arrays."""
    inner, outer = (next(self._loaders[name]) for name in ("inner", "outer"))
    return _folded(inner, self._shape), _folded(outer, self._outer_shape)

  def position(self) -> dict[str, Any]:
    """Where the loaders stand, as plain JSON values."""
    return {name: loader.get_state() for name, loader in self._loaders.items()}

  def restore(self, position: dict[str, Any]) -> None:
    """Goes on exactly where `position` was taken."""
    for name, loader in self._loaders.items():
      loader.set_state(position[name])

  def close(self) -> None:
    """Ends the loaders' threads."""
    for loader in self._loaders.values():
      loader.close()


def stream_seed(seed: int, stream: int) -> int:
  """A seed for one of a run's random streams, far from those of its other streams."""
  return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0] >> 1)


def _folded(batch: Batch, shape: tuple[int, ...]) -> Batch:
  return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), batch)
