"""Instruction data as text: lists of messages, or fields that take turns, each under its role."""

from collections.abc import Mapping, Sequence
from typing import Any

BETWEEN = "\n\n"
"""Between turns."""

_ROLES = ("user", "assistant")


def render(messages: Sequence[tuple[str, str]]) -> str:
  """Turns (role, content) as text.

  >>> render([("user", "2 + 2?"), ("assistant", "4")])
  'User: 2 + 2?\\n\\nAssistant: 4'
  """
  return BETWEEN.join(f"{role.capitalize()}: {content}" for role, content in messages)


def rendered_messages(value: Any) -> str | None:
  """The text of a list of {"role": ..., "content": ...}; None where it is something else."""
  if not isinstance(value, list) or not value:
    return None
  turns = []
  for message in value:
    if not isinstance(message, Mapping):
      return None
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
      return None
    turns.append((role, content))
  return render(turns)


def rendered_turns(contents: Sequence[Any]) -> str | None:
  """The text of fields that take turns, the user's first; None unless all are strings."""
  if not all(isinstance(content, str) for content in contents):
    return None
  roles = (_ROLES[i % 2] for i in range(len(contents)))
  return render(list(zip(roles, contents, strict=True)))
