"""A context and what follows it, encoded as one text.

The tokens beyond those of the context alone are the continuation's; spaces that end the context go
to the continuation first. So does lm-evaluation-harness (`TemplateLM._encode_pair`).
"""

import numpy as np

from datarater.data.tokenizers import Tokenizer


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[np.ndarray, int]:
  """(int32 tokens of both, number of those that are context).

  Where there are any, at least one is the continuation's.
  """
  whole, kept = tokenizer.encode(context + continuation), context.rstrip()
  if not kept or not len(whole):
    return whole, 0
  # Where the tokenizer joins across the border, the last token is still the continuation's.
  return whole, min(len(tokenizer.encode(kept)), len(whole) - 1)
