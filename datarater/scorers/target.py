"""What a target is: examples of what should be likely, for scorers that choose data by it."""

import dataclasses
from collections.abc import Iterable, Sequence

from datarater.errors import require


@dataclasses.dataclass(frozen=True)
class Example:
  """text: wanted after `context`, which is given: a document has none, a question's answer has."""

  text: str
  context: str = ""

  @property
  def whole(self) -> str:
    """Context and text."""
    return self.context + self.text


@dataclasses.dataclass(frozen=True)
class Target:
  """One task or kind of text. Several targets weigh the same, however many examples each has.

  Raises InputError for one without an example that has text.
  """

  name: str
  examples: tuple[Example, ...]

  def __post_init__(self) -> None:
    require(
      any(example.text.strip() for example in self.examples),
      f"target {self.name!r} is empty; give at least one example with text",
    )

  @property
  def texts(self) -> list[str]:
    """Examples as documents."""
    return [example.whole for example in self.examples]


def texts_target(name: str, texts: Iterable[str]) -> Target:
  """A target of documents."""
  return Target(name, tuple(map(Example, texts)))


def require_targets(targets: Sequence[Target], scorer: str) -> None:
  """Raises InputError where a scorer that needs a target has none."""
  require(bool(targets), f"scorer {scorer!r} chooses data for a target; give one (--target FILES)")
