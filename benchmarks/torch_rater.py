"""The rater's network in PyTorch, as a practitioner would write it: the peer of the throughput
benchmark.

A sequence classifier with dynamic padding: one document a row, each batch padded to its longest
row. It loads the parameters of ours, so that both can be held to the same ratings.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from datarater.config import ModelConfig
from datarater.models.attention import ROTARY_BASE
from datarater.models.transformer import NORM_EPSILON
from datarater.types import PyTree


def _rotate(x_BxHxLxK: torch.Tensor, cos_LxK: torch.Tensor, sin_LxK: torch.Tensor):
  a, b = x_BxHxLxK.chunk(2, dim=-1)
  return x_BxHxLxK * cos_LxK + torch.cat([-b, a], dim=-1) * sin_LxK


class Block(nn.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)); query, key and value are one product."""

  def __init__(self, c: ModelConfig):
    super().__init__()
    self.heads = c.heads
    self.attention_norm = nn.RMSNorm(c.width, eps=NORM_EPSILON)
    self.qkv = nn.Linear(c.width, 3 * c.width, bias=False)
    self.attention_out = nn.Linear(c.width, c.width, bias=False)
    self.mlp_norm = nn.RMSNorm(c.width, eps=NORM_EPSILON)
    self.mlp_in = nn.Linear(c.width, c.mlp_width, bias=False)
    self.mlp_out = nn.Linear(c.mlp_width, c.width, bias=False)

  def forward(self, x: torch.Tensor, cos, sin, mask) -> torch.Tensor:
    rows, length, width = x.shape
    qkv = self.qkv(self.attention_norm(x)).view(rows, length, 3, self.heads, width // self.heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + self.attention_out(mixed.transpose(1, 2).reshape(rows, length, width))
    h = nn.functional.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh")
    return x + self.mlp_out(h)


class TorchRater(nn.Module):
  """Ratings [B] of documents as rows of tokens; padding only where `lengths_B` says so."""

  angles: torch.Tensor

  def __init__(self, c: ModelConfig, vocab_size: int, length: int):
    super().__init__()
    self.width = c.width
    self.embedding = nn.Embedding(vocab_size, c.width)
    self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
    self.final_norm = nn.RMSNorm(c.width, eps=NORM_EPSILON)
    self.head = nn.Linear(c.width, 1, bias=False)
    half = c.width // c.heads // 2
    frequency = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency[None].repeat(1, 2)
    self.register_buffer("angles", torch.stack([angle.cos(), angle.sin()]))

  def forward(self, tokens_BxL: torch.Tensor, lengths_B: torch.Tensor | None = None):
    length = tokens_BxL.shape[1]
    x = self.embedding(tokens_BxL) * self.width**0.5
    seen_BxL = mask = None
    if lengths_B is not None:
      seen_BxL = torch.arange(length)[None] < lengths_B[:, None]
      mask = seen_BxL[:, None, None, :]
    cos, sin = self.angles[:, :length]
    for block in self.blocks:
      x = block(x, cos, sin, mask)
    x = self.final_norm(x)
    if seen_BxL is None or lengths_B is None:
      pooled = x.mean(1)
    else:
      pooled = (x * seen_BxL[..., None]).sum(1) / lengths_B[:, None]
    return self.head(pooled)[:, 0]


def torch_rater(config: ModelConfig, vocab_size: int, eta: PyTree, length: int) -> TorchRater:
  """The network in eval mode with our parameters, for rows of at most `length` tokens."""
  model = TorchRater(config, vocab_size, length)

  def put(parameter: torch.Tensor, value: np.ndarray) -> None:
    with torch.no_grad():
      parameter.copy_(torch.from_numpy(np.array(value)))

  transformer = eta["transformer"]
  put(model.embedding.weight, transformer["embedding"])
  put(model.final_norm.weight, transformer["final_norm"]["scale"])
  put(model.head.weight, eta["head"]["kernel"].T)
  stacked = transformer["blocks"]
  for layer, block in enumerate(model.blocks):
    assert isinstance(block, Block)
    for norm in ("attention_norm", "mlp_norm"):
      put(getattr(block, norm).weight, stacked[norm]["scale"][layer])
    for name in ("attention_out", "mlp_in", "mlp_out"):
      put(getattr(block, name).weight, stacked[name]["kernel"][layer].T)
    kernels = [stacked[name]["kernel"][layer].T for name in ("query", "key", "value")]
    put(block.qkv.weight, np.concatenate(kernels))
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
