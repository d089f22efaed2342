"""The rater's network in PyTorch, as a practitioner would write it: the peer of the throughput
benchmark.

A sequence classifier with dynamic padding: one document a row, each batch padded to its longest
row. It loads the parameters of ours, so that both can be held to the same ratings.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch_transformer import Transformer, to_torch

from datarater.config import ModelConfig
from datarater.types import PyTree


class TorchRater(nn.Module):
  """Ratings [B] of documents as rows of tokens; padding only where `lengths_B` says so."""

  def __init__(self, c: ModelConfig, vocab_size: int, length: int):
    super().__init__()
    self.transformer = Transformer(c, vocab_size, length)
    self.head = nn.Linear(c.width, 1, bias=False)

  def forward(self, tokens_BxL: torch.Tensor, lengths_B: torch.Tensor | None = None):
    if lengths_B is None:
      return self.head(self.transformer(tokens_BxL).mean(1))[:, 0]
    seen_BxL = torch.arange(tokens_BxL.shape[1])[None] < lengths_B[:, None]
    x = self.transformer(tokens_BxL, seen_BxL[:, None, None, :])
    pooled = (x * seen_BxL[..., None]).sum(1) / lengths_B[:, None]
    return self.head(pooled)[:, 0]


def torch_rater(config: ModelConfig, vocab_size: int, eta: PyTree, length: int) -> TorchRater:
  """The network in eval mode with our parameters, for rows of at most `length` tokens."""
  model = TorchRater(config, vocab_size, length)
  named = {f"transformer.{name}": value for name, value in to_torch(eta["transformer"]).items()}
  named["head.weight"] = np.array(eta["head"]["kernel"]).T
  model.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})
  return model.eval()


def rate_padded(model: nn.Module, documents: Sequence[np.ndarray]) -> np.ndarray:
  """Ratings [N] of one batch of token arrays, padded to the longest; no mask if none is padded."""
  lengths = np.array([len(tokens) for tokens in documents])
  tokens = np.zeros((len(documents), lengths.max()), np.int64)
  for row, document in enumerate(documents):
    tokens[row, : len(document)] = document
  equal = lengths.min() == lengths.max()
  with torch.inference_mode():
    lengths_B = None if equal else torch.from_numpy(lengths)
    return model(torch.from_numpy(tokens), lengths_B).numpy()
