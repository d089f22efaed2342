"""The same meta-gradient in PyTorch: `torch.autograd.grad(..., create_graph=True)` all the way.

Two optimisers: a differentiable Adam by hand, and TorchOpt's. Attention runs in SDPA's `math`
implementation, the one that has a second derivative. The first step costs no Hessian product
here either: autograd leaves out what the ratings do not depend on.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import torch
import torchopt
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch_transformer import LanguageModel, to_torch

from datarater.config import OptimizerConfig
from meta_step_suite.problem import ADAM, Case, Start
from meta_step_suite.runs import AUTOGRAD, TORCHOPT

Tensors = tuple[torch.Tensor, ...]


def prepare(platform: str) -> bool:
  """Sets PyTorch to all cores; False where it has no access to the platform."""
  torch.set_num_threads(os.cpu_count() or 1)
  return platform == "cpu" or (platform == "gpu" and torch.cuda.is_available())


class HandAdam:
  """Optax's Adam on a tuple of tensors, differentiable: every update makes new tensors."""

  def __init__(self, c: OptimizerConfig, mu: Tensors, nu: Tensors, count: int):
    self.c, self.mu, self.nu, self.count = c, mu, nu, count

  def step(self, loss: torch.Tensor, theta: Tensors) -> Tensors:
    """Parameters after one update."""
    c = self.c
    grads = torch.autograd.grad(loss, theta, create_graph=True)
    self.count += 1
    self.mu = tuple(c.b1 * m + (1 - c.b1) * g for m, g in zip(self.mu, grads, strict=True))
    self.nu = tuple(c.b2 * v + (1 - c.b2) * g * g for v, g in zip(self.nu, grads, strict=True))
    first, second = 1 - c.b1**self.count, 1 - c.b2**self.count
    return tuple(
      p - c.learning_rate * (m / first) / (torch.sqrt(v / second + c.eps_root) + c.eps)
      for p, m, v in zip(theta, self.mu, self.nu, strict=True)
    )


def torchopt_adam(c: OptimizerConfig, mu: Tensors, nu: Tensors, count: int) -> Any:
  """TorchOpt's functional Adam with a state of ours."""
  optimizer = torchopt.FuncOptimizer(
    torchopt.adam(c.learning_rate, (c.b1, c.b2), c.eps, eps_root=c.eps_root)
  )
  adam, *others = optimizer.impl.init(mu)
  counts = [torch.full_like(count_0, count) for count_0 in adam.count]
  optimizer.load_state_dict((adam._replace(mu=mu, nu=nu, count=counts), *others))
  return optimizer


OPTIMIZERS: dict[str, Callable[..., Any]] = {AUTOGRAD: HandAdam, TORCHOPT: torchopt_adam}


class TorchMetaGradient:
  """The meta-gradient of the first `unroll_length` ratings, from the start that ours has too."""

  def __init__(self, case: Case, start: Start, kind: str, unroll_length: int, device: str = "cpu"):
    def tensors(tree: Any) -> Tensors:
      named = to_torch(tree["transformer"])
      return tuple(torch.from_numpy(named[name]).to(device) for name in self._names)

    self._model = LanguageModel(case.model, case.vocab_size, case.length).to(device)
    prefix = "transformer."
    self._names = [name.removeprefix(prefix) for name, _ in self._model.named_parameters()]
    self._theta = tensors(start.theta)
    (adam,) = (s for s in start.opt_state if isinstance(s, optax.ScaleByAdamState))
    moments = tensors(adam.mu), tensors(adam.nu), int(adam.count)
    self._optimizer = lambda: OPTIMIZERS[kind](ADAM, *moments)
    ratings, inner = start.over(unroll_length)
    self._ratings = torch.from_numpy(ratings).to(device)
    self._inner = torch.from_numpy(inner.tokens_BxL.astype(np.int64)).to(device)
    self._outer = torch.from_numpy(start.outer_B.tokens_BxL.astype(np.int64)).to(device)

  def _losses(self, theta: Tensors, tokens: torch.Tensor) -> torch.Tensor:
    named = {f"transformer.{name}": p for name, p in zip(self._names, theta, strict=True)}
    return torch.func.functional_call(self._model, named, (tokens,))

  def run(self, times: int = 1) -> np.ndarray:
    """The gradient TxBx1, computed `times` times."""
    with sdpa_kernel(SDPBackend.MATH):
      for _ in range(times - 1):
        self._gradient()
      return self._gradient().cpu().numpy()

  def peak_bytes(self) -> int:
    """Bytes that one gradient adds at its peak, by CUDA's allocator."""
    self.run()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    self.run()
    return torch.cuda.max_memory_allocated() - before

  def _gradient(self) -> torch.Tensor:
    theta: Tensors = tuple(p.detach().requires_grad_() for p in self._theta)
    ratings = self._ratings.detach().requires_grad_()
    optimizer = self._optimizer()
    for tokens, ratings_Bx1 in zip(self._inner, ratings, strict=True):
      weights = torch.softmax(ratings_Bx1[:, 0], 0)
      theta = optimizer.step(weights @ self._losses(theta, tokens), theta)
    outer_loss = self._losses(theta, self._outer).mean()
    return torch.autograd.grad(outer_loss, ratings)[0]
