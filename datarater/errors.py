"""What the user is told: errors that are not ours to mend, and the checks that raise them."""

from typing import Any


class InputError(Exception):
  """The user gave something wrong: the message names the thing, its value and the remedy."""


class DivergedError(RuntimeError):
  """Training gave nothing finite for too long: the run failed, its input was fine; exit code 1."""


class WorkerDiedError(RuntimeError):
  """A worker process was killed from outside: the same command goes on; exit code 1."""


def require(holds: bool, message: str) -> None:
  """Raises InputError(message) unless `holds`."""
  if not holds:
    raise InputError(message)


def require_at_least(config: Any, minimum: float, *names: str) -> None:
  """Raises InputError unless the named fields of a config are `minimum` or more."""
  for name in names:
    value = getattr(config, name)
    require(
      value >= minimum,
      f"{type(config).__name__}.{name} is {value}; give a number of at least {minimum}",
    )


def require_fractions(config: Any, *names: str) -> None:
  """Raises InputError unless the named fields of a config lie in [0, 1)."""
  for name in names:
    value = getattr(config, name)
    require(
      0.0 <= value < 1.0,
      f"{type(config).__name__}.{name} is {value}; give a number from 0 up to, not including, 1",
    )
