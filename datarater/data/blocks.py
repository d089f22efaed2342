"""Blocks: runs of a shard's documents that are rated together, and kept or lost together."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

BLOCK_DOCUMENTS = 2048
BLOCK_CHARACTERS = 1 << 20
"""A block ends at either. Ratings depend on the block in their last bits, so these are fixed."""

T = TypeVar("T")


@dataclasses.dataclass
class Filling:
  """How full a block is."""

  most: int = BLOCK_DOCUMENTS
  most_characters: int = BLOCK_CHARACTERS
  number: int = 0
  characters: int = 0

  def add(self, characters: int) -> bool:
    """Counts a document of so many characters; whether the block ends with it."""
    self.number += 1
    self.characters += characters
    return self.number >= self.most or self.characters >= self.most_characters


def blocks(items: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
  """Cuts a stream; `characters` says how long an item's text is."""
  block: list[T] = []
  filling = Filling()
  for item in items:
    block.append(item)
    if filling.add(characters(item)):
      yield block
      block, filling = [], Filling()
  if block:
    yield block
