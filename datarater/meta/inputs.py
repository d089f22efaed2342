"""The data side of meta-training: two seeded streams of rows a member, laid out on the devices.

A member's rows depend on the seed, the stream and the member alone, not on the devices: a process
reads the streams of those members that its devices work on, and of each batch places its share.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from datarater.config import MetaTrainConfig
from datarater.data.datasets import check_splits
from datarater.data.loader import train_loader
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.meta import placement
from datarater.runtime.distributed import gather
from datarater.types import Batch

INNER_STREAM, OUTER_STREAM = 1, 2
"""Numbers that set the loaders' seeds apart."""


class MetaInputs:
  """Batches of meta-step after meta-step; position and restore make it exactly resumable.

  tokenizer, inner (the pool's source) and domains (its domain names) serve what comes after.
  """

  def __init__(self, config: MetaTrainConfig, mesh: Mesh):
    check_splits(config.data, ("inner", "outer"))
    self._config = config
    self.tokenizer = load_tokenizer(config.data.tokenizer)
    self.inner = open_source(config.data, "inner")
    self.domains = self.inner.domains
    inner, outer = placement.batches(config, mesh)
    self._streams = {
      "inner": self._stream(self.inner, inner, INNER_STREAM),
      "outer": self._stream(open_source(config.data, "outer"), outer, OUTER_STREAM),
    }

  def _stream(self, source: Source, batch: Batch, number: int) -> "_Stream":
    tokens = batch.tokens_BxL
    rows = int(np.prod(tokens.shape[1:-1]))
    # A window a member: each as large in proportion to the member's batch as one for all would be.
    window = -(-self._config.data.shuffle_window // self._config.meta.population)
    data = dataclasses.replace(self._config.data, shuffle_window=window)
    loaders = {
      member: train_loader(
        source,
        self.tokenizer,
        data,
        rows,
        stream_seed(self._config.seed, number, member),
      )
      for member in _members_here(tokens)
    }
    return _Stream(batch, loaders)

  def next(self) -> tuple[Batch, Batch]:
    """(inner PxTxB, outer PxB), arrays of all processes together."""
    return self._streams["inner"].next(), self._streams["outer"].next()

  def position(self) -> dict[str, Any]:
    """Where the loaders of all members stand, as plain JSON values; all processes ask together."""
    here = {name: stream.position() for name, stream in self._streams.items()}
    merged: dict[str, dict[str, Any]] = {name: {} for name in here}
    for positions in gather(here):
      for name, by_member in positions.items():
        merged[name] |= by_member
    return {name: dict(sorted(by_member.items())) for name, by_member in merged.items()}

  def restore(self, position: dict[str, Any]) -> None:
    """Goes on exactly where `position` was taken, on whatever devices that was."""
    for name, stream in self._streams.items():
      stream.restore(position[name])

  def close(self) -> None:
    """Ends the loaders' threads."""
    for stream in self._streams.values():
      stream.close()


class _Stream:
  """The loaders of the members that are at work here, and the global batch that they make up."""

  def __init__(self, batch: Batch, loaders: dict[int, Any]):
    self._batch, self._loaders = batch, loaders

  def next(self) -> Batch:
    rows = {member: next(loader) for member, loader in self._loaders.items()}
    # Numbers of the batch's fields stand for them: the same tree everywhere, of abstract leaves.
    leaves, tree = jax.tree.flatten(self._batch)
    by_member = {member: jax.tree.leaves(batch) for member, batch in rows.items()}

    def place(number: int, like: jax.ShapeDtypeStruct) -> jax.Array:
      def share(index: Any) -> np.ndarray:
        members = range(like.shape[0])[index[0]]
        whole = (by_member[member][number].reshape(like.shape[1:]) for member in members)
        return np.stack([x[index[1:]] for x in whole])

      return jax.make_array_from_callback(like.shape, like.sharding, share)

    return tree.unflatten(place(*leaf) for leaf in enumerate(leaves))

  def position(self) -> dict[str, Any]:
    return {str(member): loader.get_state() for member, loader in self._loaders.items()}

  def restore(self, position: dict[str, Any]) -> None:
    for member, loader in self._loaders.items():
      loader.set_state(position[str(member)])

  def close(self) -> None:
    for loader in self._loaders.values():
      loader.close()


def _members_here(batch: jax.ShapeDtypeStruct) -> list[int]:
  """Members whose rows, or some of them, lie on devices of this process."""
  assert batch.sharding is not None, "batches of a placement have shardings"
  indices = batch.sharding.addressable_devices_indices_map(batch.shape).values()
  everyone = range(batch.shape[0])
  return sorted({member for index in indices if index for member in everyone[index[0]]})


def stream_seed(seed: int, *stream: int) -> int:
  """A seed for one of a run's random streams, far from those of its other streams."""
  return int(np.random.SeedSequence([seed, *stream]).generate_state(1)[0] >> 1)
