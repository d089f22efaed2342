"""Blocks: runs of a shard's documents that are rated together, and kept or lost together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

BLOCK_DOCUMENTS = 2048
BLOCK_CHARACTERS = 1 << 20
"""A block ends at either. Ratings depend on the block in their last bits, so these are fixed."""

T = TypeVar("T")


def blocks(
  items: Iterable[T],
  characters: Callable[[T], int],
  most: int = BLOCK_DOCUMENTS,
  most_characters: int = BLOCK_CHARACTERS,
) -> Iterator[list[T]]:
  """Cuts a stream; `characters` says how long an item's text is."""
  block: list[T] = []
  size = 0
  for item in items:
    block.append(item)
    size += characters(item)
    if len(block) >= most or size >= most_characters:
      yield block
      block, size = [], 0
  if block:
    yield block
