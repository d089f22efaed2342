"""Projected gradients of examples under one proxy: what the kernel calls X."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datarater.config import ModelConfig
from datarater.data.documents import default_batch_tokens
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm.gradients import Sketch, sketch_fn
from datarater.scorers.dsdm.projection import Part, Projection
from datarater.scorers.dsdm.rows import OneARow, SeveralARow, pieces_of, weighted_batches
from datarater.scorers.proxy import Proxy
from datarater.scorers.target import Example
from datarater.types import PyTree

GROUP, GROUP_NUMBERS = 256, 1 << 26
"""Examples, and numbers of their gradients, that are held at once: for them signs are made once."""


class Features(NamedTuple):
  """values: float32 [N, k], NaN for an example without tokens. tokens: int64 [N], with a loss or
  context, as many as the proxy saw.
  """

  values: np.ndarray
  tokens: np.ndarray

  @property
  def counted(self) -> np.ndarray:
    """Values of the examples with tokens."""
    return self.values[self.tokens > 0]


class Gradients:
  """The gradient of an example's mean loss, nats a token, projected (`projection`).

  number: of the proxy in its ensemble; each has a projection of its own.
  """

  def __init__(self, proxy: Proxy, config: DsdmConfig, number: int = 0):
    key = jax.random.fold_in(jax.random.key(config.seed), number)
    self.projection = Projection(proxy.theta, config.projection, config.kind, key)
    self._proxy, self._rows = proxy, config.rows_a_document
    shapes = OneARow if config.kind == "dense" else SeveralARow
    self._shapes = shapes(proxy.length, default_batch_tokens())
    self._group = max(1, min(GROUP, GROUP_NUMBERS // self.projection.size))

  @property
  def dimension(self) -> int:
    """k."""
    return self.projection.dimension

  def __call__(self, examples: Sequence[Example]) -> Features:
    groups = range(0, len(examples), self._group)
    found = [self._of_group(examples[at : at + self._group]) for at in groups]
    found = found or [Features(np.zeros((0, self.dimension), np.float32), np.zeros(0, np.int64))]
    return Features(*map(np.concatenate, zip(*found, strict=True)))

  def direction(self, v_k: np.ndarray) -> PyTree:
    """Of θ, in which the derivative of an example's loss is φ·v; float32."""
    return self.projection.direction(v_k)

  def flops(self, tokens: np.ndarray) -> float:
    """Of the gradients of examples with so many tokens, and of their projection."""
    # Backwards to activations alone, or also to parameters.
    passes = 3 if self.projection.kind == "dense" else 2
    mixing = 2.0 * self.projection.size * self.dimension * np.count_nonzero(tokens)
    return passes * self._proxy.forward_flops(tokens) + mixing

  def _of_group(self, examples: Sequence[Example]) -> Features:
    pieces = pieces_of(examples, self._proxy.tokenizer, self._shapes.length, self._rows)
    tokens = np.zeros(len(examples), np.int64)
    for piece in pieces:
      tokens[piece.example] += len(piece.tokens) - 1
    # As many rows as ever, so that nothing compiles twice.
    kept_NxD = jnp.zeros((self._group, self.projection.size))
    for batch, weights_BxL, example_BxS in weighted_batches(pieces, self._shapes):
      kept_BxSxD = self._sketch(self._theta, self.projection.factors, batch, weights_BxL)
      kept_NxD = _added(kept_NxD, kept_BxSxD, example_BxS)
    values = np.array(self.projection.mix(kept_NxD))[: len(examples)]
    values[tokens == 0] = np.nan
    return Features(values, tokens)

  @functools.cached_property
  def _theta(self) -> PyTree:
    return jax.device_put(self._proxy.theta)

  @property
  def _sketch(self) -> Sketch:
    vocab_size = self._proxy.tokenizer.vocab_size
    return _compiled(self._proxy.model, vocab_size, tuple(self.projection.parts))


@functools.partial(jax.jit, donate_argnums=0)
def _added(total_NxD: jax.Array, kept_BxSxD: jax.Array, example_BxS: jax.Array) -> jax.Array:
  """Each segment's numbers added to its example's; those of no example (-1) left out."""
  number, size = total_NxD.shape
  example = jnp.where(example_BxS < 0, number, example_BxS).reshape(-1)
  return total_NxD.at[example].add(kept_BxSxD.reshape(-1, size), mode="drop")


@functools.lru_cache(maxsize=4)
def _compiled(model: ModelConfig, vocab_size: int, parts: tuple[Part, ...]) -> Sketch:
  """Once for all proxies of a kind."""
  return jax.jit(sketch_fn(model, vocab_size, parts))
