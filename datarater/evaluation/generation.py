"""Greedy decoding: the likeliest token after another, until the document ends or a stop is met."""

from collections.abc import Sequence

import numpy as np

from datarater.data.packing import Chunk, assemble
from datarater.errors import require
from datarater.evaluation.trained import TrainedModel

ROWS = 8
"""Texts that are continued at once, each in a row of its own."""


def continue_greedily(
  model: TrainedModel, contexts: Sequence[str], stops: Sequence[str], most: int
) -> list[str]:
  """What the model says after each of at most `ROWS` contexts.

  It ends before the first of `stops`, before the separator that ends a document, or after `most`
  tokens. Each token is predicted from the last L - 1, so that no text is too long; the whole row is
  computed for each token, which is meant for the small models of this project.
  """
  require(len(contexts) <= ROWS, f"{len(contexts)} contexts at once; give {ROWS} or fewer")
  texts = [list(model.tokenizer.encode(context)) for context in contexts]
  said: list[list[int]] = [[] for _ in contexts]
  open_ = list(range(len(contexts)))
  for _ in range(most):
    if not open_:
      break
    next_B = _next_tokens(model, texts)
    for i in list(open_):
      texts[i].append(int(next_B[i]))
      said[i].append(int(next_B[i]))
      if next_B[i] == model.tokenizer.separator_id or _stop(model, said[i], stops) is not None:
        open_.remove(i)
  return [_until(model, tokens, stops) for tokens in said]


def _next_tokens(model: TrainedModel, texts: Sequence[Sequence[int]]) -> np.ndarray:
  """int32 [ROWS]; those of rows without a text mean nothing."""
  length, separator = model.shapes.length, model.tokenizer.separator_id
  rows = [[separator, *text[-(length - 1) :]] for text in texts]
  packed = [[Chunk(np.array(row, np.int32), i, 0, 0)] for i, row in enumerate(rows)]
  at_B = np.zeros(ROWS, np.int32)
  at_B[: len(rows)] = [len(row) - 1 for row in rows]
  batch = assemble(packed, ROWS, length, 1)
  return np.asarray(model.likeliest(model.theta, batch, at_B))


def _until(model: TrainedModel, tokens: Sequence[int], stops: Sequence[str]) -> str:
  return model.tokenizer.decode(np.array(tokens))[: _stop(model, tokens, stops)]


def _stop(model: TrainedModel, tokens: Sequence[int], stops: Sequence[str]) -> int | None:
  """Where the first stop begins in the text of `tokens`, None if there is none."""
  text = model.tokenizer.decode(np.array(tokens))
  found = [at for stop in stops if (at := text.find(stop)) >= 0]
  return min(found, default=None)
