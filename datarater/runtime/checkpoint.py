"""Checkpoints of a run: a pytree of arrays and the positions of its data iterators, by Orbax.

All of Orbax is in this file: names of its v1 API still move. What a killed process leaves is either
a whole checkpoint or a temporary folder that is ignored and cleaned up.
"""

import contextlib
import json
import logging
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from datarater.errors import InputError
from datarater.types import PyTree

# Orbax reports each save at WARNING, and each error once more a thread; what it raises is enough.
logging.getLogger("absl").setLevel(logging.CRITICAL)

_REASON = re.compile(r"([^:\"]+) \[os_error_code=")
"""How TensorStore, below Orbax, says in a ValueError what the system answered."""

_REASON_LENGTH = 160
"""Characters kept of what Orbax says: it prints whole trees of parameters."""


class Checkpoints:
  """The checkpoints of one run folder; the newest `keep` stay. Use as a context manager."""

  def __init__(self, folder: Path, keep: int):
    self.folder = folder.absolute()
    policy = ocp.training.preservation_policies.LatestN(keep)
    self._checkpointer = ocp.training.Checkpointer(
      self.folder,  # type: ignore[arg-type]
      preservation_policy=policy,  # type: ignore[arg-type]
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
    # After a failed save, closing raises that failure again, and would hide the first.
    with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
      self._checkpointer.close()

  def latest(self) -> int | None:
    """The step of the newest whole checkpoint, None if there is none."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def path(self, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return self.folder / str(step)

  def save(self, step: int, state: PyTree, loaders: Mapping[str, Any]) -> None:
    """Writes state and iterator positions (plain JSON values) of a step; a step there is kept.

    Raises InputError where the system refuses, for want of space or of permission.
    """
    if step == self.latest():
      return
    positions = {name: json.dumps(position) for name, position in loaders.items()}
    try:
      self._checkpointer.save_checkpointables(step, {"state": state, "loaders": positions})
    except (OSError, ValueError) as error:
      reason = _REASON.search(str(error))
      if isinstance(error, ValueError) and not reason:
        raise
      said = reason.group(1).strip() if reason else str(error)
      raise InputError(
        f"checkpoint {str(self.path(step))!r} cannot be written: {said}; free space or name "
        "another run folder, and start the same command again"
      ) from error

  def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """(state, iterator positions) of a step; `like` gives structure, shapes and dtypes.

    Raises InputError if the checkpoint cannot be read as `like`.
    """
    abstract = jax.tree.map(ocp.arrays.to_shape_dtype_struct, like)
    try:
      loaded = self._checkpointer.load_checkpointables(step, {"state": abstract, "loaders": None})
    except (OSError, ValueError, KeyError, TypeError) as error:
      reason = textwrap.shorten(str(error), _REASON_LENGTH, placeholder=" ...")
      raise InputError(
        f"checkpoint {str(self.path(step))!r} cannot be read: {reason}; delete it to go on from "
        "the one before, or start a new run folder"
      ) from error
    return loaded["state"], {name: json.loads(text) for name, text in loaded["loaders"].items()}
