"""Our transformer in PyTorch, as a practitioner would write it, with our parameters.

What the peers of the benchmarks share: the rater's (`torch_rater.py`) and the language model's
(`meta_step_suite`). One product makes query, key and value.
"""

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


class Transformer(nn.Module):
  """Features BxLxW, normalised, of rows that hold one document each."""

  angles: torch.Tensor

  def __init__(self, c: ModelConfig, vocab_size: int, length: int):
    super().__init__()
    self.width = c.width
    self.embedding = nn.Embedding(vocab_size, c.width)
    self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
    self.final_norm = nn.RMSNorm(c.width, eps=NORM_EPSILON)
    half = c.width // c.heads // 2
    frequency = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency[None].repeat(1, 2)
    angles = torch.stack([angle.cos(), angle.sin()])
    self.register_buffer("angles", angles, persistent=False)

  def forward(self, tokens_BxL: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """mask: what scaled_dot_product_attention takes; None lets every token see every other."""
    x = self.embedding(tokens_BxL) * self.width**0.5
    cos, sin = self.angles[:, : tokens_BxL.shape[1]]
    for block in self.blocks:
      x = block(x, cos, sin, mask)
    return self.final_norm(x)


def to_torch(transformer: PyTree) -> dict[str, np.ndarray]:
  """A tree like our transformer's parameters (or their gradient) under PyTorch's names."""
  named = {
    "embedding.weight": transformer["embedding"],
    "final_norm.weight": transformer["final_norm"]["scale"],
  }
  stacked = transformer["blocks"]
  for layer in range(len(stacked["mlp_in"]["kernel"])):
    block = f"blocks.{layer}."
    for norm in ("attention_norm", "mlp_norm"):
      named[f"{block}{norm}.weight"] = stacked[norm]["scale"][layer]
    for name in ("attention_out", "mlp_in", "mlp_out"):
      named[f"{block}{name}.weight"] = stacked[name]["kernel"][layer].T
    kernels = [np.asarray(stacked[name]["kernel"][layer]).T for name in ("query", "key", "value")]
    named[f"{block}qkv.weight"] = np.concatenate(kernels)
  return {name: np.array(value) for name, value in named.items()}


class LanguageModel(nn.Module):
  """Mean nats [B] over the tokens that each row predicts, all but its first."""

  mask: torch.Tensor

  def __init__(self, model: ModelConfig, vocab_size: int, length: int):
    super().__init__()
    self.transformer = Transformer(model, vocab_size, length)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    self.register_buffer("mask", causal, persistent=False)

  def forward(self, tokens_BxL: torch.Tensor) -> torch.Tensor:
    features = self.transformer(tokens_BxL, self.mask)[:, :-1]
    logits = features @ self.transformer.embedding.weight.T
    nll = nn.functional.cross_entropy(logits.transpose(1, 2), tokens_BxL[:, 1:], reduction="none")
    return nll.mean(1)
