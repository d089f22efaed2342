"""How the gradient of p parameters becomes k numbers: by a random linear map, never written out.

    φ = Sᵀ vec(L_jᵀ G_j R_j for each matrix j) / √d        G_j: the gradient of matrix j

S: random signs, d x k, made block by block from a key and the block's number. L_j, R_j: few random
orthogonal columns, scaled so that the mean of L Lᵀ is the identity; `dense` leaves both out, so
that d = p: the projection of TRAK (Park et al. 2023, arXiv 2303.14186, section 3.2; the division
is its reference's). `factored` never makes G_j (`gradients`): the projection of LoGra (Choe et al.
2024, arXiv 2405.13954, section 3.1), to WIDER times as many numbers as wanted, which the signs then
mix: a Kronecker product alone is too uneven for few numbers a matrix. Scales of norms are few, and
stay as they are in the first step.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datarater.types import PyTree

Kind = Literal["factored", "dense"]
Factors = dict[str, tuple[jax.Array | None, jax.Array | None]]
"""(L_j, R_j) of each part by its name; None for the identity."""

WIDER = 8
"""Numbers after the first of two steps, for each after the second."""
BLOCK = 1 << 22
"""Most signs made at once."""
WORD = 32
"""Signs in a random word."""


class Part(NamedTuple):
  """One parameter of one layer. name: what `gradients` knows it by. kept: shape of Lᵀ G R."""

  name: str
  shape: tuple[int, ...]
  kept: tuple[int, ...]

  @property
  def size(self) -> int:
    return math.prod(self.kept)


def parts_of(theta: PyTree, dimension: int, kind: Kind) -> list[Part]:
  """The parts of parameters in the order of their leaves, a stacked leaf layer by layer."""
  leaves = jax.tree_util.tree_leaves_with_path(theta)
  total = sum(leaf.size for _, leaf in leaves)
  parts = []
  for path, leaf in leaves:
    name = part_name(path)
    stacked = _is_stacked(path)
    shape = tuple(leaf.shape[stacked:])
    kept = shape
    if kind == "factored" and len(shape) == 2:
      kept = _kept(shape, WIDER * dimension * math.prod(shape) / total)
    layers = range(leaf.shape[0]) if stacked else [None]
    parts += [Part(layer_name(name, layer), shape, kept) for layer in layers]
  return parts


def part_name(path: Sequence[Any]) -> str:
  """Of a leaf: its module's, or its own where its module has many."""
  keys = [key.key for key in path]
  return keys[-2] if keys[-1] in ("kernel", "scale") else keys[-1]


def layer_name(name: str, layer: int | None) -> str:
  """Of one layer of a stacked leaf."""
  return name if layer is None else f"{name} {layer}"


def make_factors(parts: Sequence[Part], key: jax.Array) -> Factors:
  """L and R of each matrix; none for a scale."""
  matrices = [part for part in parts if len(part.shape) == 2]
  sides = [side for part in matrices for side in zip(part.shape, part.kept, strict=True)]
  ends = np.cumsum([rows * columns for rows, columns in sides])
  normal = np.asarray(jax.random.normal(key, (ends[-1],)))
  pieces = zip(np.split(normal, ends[:-1]), sides, strict=True)
  made = [_orthogonal(piece.reshape(side)) for piece, side in pieces]
  pairs = zip(made[::2], made[1::2], strict=True)
  return {part.name: pair for part, pair in zip(matrices, pairs, strict=True)}


class Projection:
  """The map for parameters like `theta`, one a key. k: `dimension`, but at most d, where S is left
  out. size: d. signs_key: of S.
  """

  def __init__(self, theta: PyTree, dimension: int, kind: Kind, key: jax.Array):
    self.kind = kind
    self._like = jax.eval_shape(lambda: theta)
    self.parts = parts_of(theta, dimension, kind)
    self.size = sum(part.size for part in self.parts)
    self.dimension = min(dimension, self.size)
    self.factors = make_factors(self.parts, jax.random.fold_in(key, 0))
    self.signs_key = jax.random.fold_in(key, 1)

  def mix(self, kept_NxD: jax.Array) -> jax.Array:
    """Nxk: the second step, Sᵀ x / √d."""
    if self.dimension == self.size:
      return kept_NxD
    return mix(kept_NxD, self.signs_key, self.dimension)

  def direction(self, v_k: np.ndarray) -> PyTree:
    """P v, like `theta`, float32: φ·v of any gradient g is g·(P v)."""
    kept_D = jnp.asarray(v_k, jnp.float32)
    if self.dimension < self.size:
      kept_D = unmix(kept_D, self.signs_key, self.size)
    kept_D = np.asarray(kept_D)
    wide: dict[str, np.ndarray] = {}
    at = 0
    for part in self.parts:
      piece = kept_D[at : at + part.size].reshape(part.kept)
      left, right = self.factors.get(part.name, (None, None))
      piece = piece if left is None else np.asarray(left) @ piece
      wide[part.name] = piece if right is None else piece @ np.asarray(right).T
      at += part.size

    def gather(path, leaf) -> np.ndarray:
      name = part_name(path)
      if not _is_stacked(path):
        return wide[name]
      return np.stack([wide[layer_name(name, layer)] for layer in range(leaf.shape[0])])

    return jax.tree_util.tree_map_with_path(gather, self._like)


@functools.partial(jax.jit, static_argnums=2)
def mix(x_NxD: jax.Array, key: jax.Array, dimension: int) -> jax.Array:
  """Sᵀ x / √d for each row x: N x dimension."""
  number, size = x_NxD.shape
  rows = block_rows(dimension)
  whole = size // rows

  def add(block: jax.Array, total: jax.Array) -> jax.Array:
    x = jax.lax.dynamic_slice(x_NxD, (0, block * rows), (number, rows))
    return total + x @ signs(key, block, rows, dimension)

  total = jnp.zeros((number, dimension), x_NxD.dtype)
  if whole:
    total = jax.lax.fori_loop(0, whole, add, total)
  if rest := size - whole * rows:
    last = signs(key, whole, rows, dimension)[:rest]
    total += x_NxD[:, whole * rows :] @ last
  return total / size**0.5


@functools.partial(jax.jit, static_argnums=2)
def unmix(v_k: jax.Array, key: jax.Array, size: int) -> jax.Array:
  """S v / √d, of `size` d: the transpose of `mix`."""
  rows = block_rows(v_k.shape[0])

  def block(number: jax.Array) -> jax.Array:
    return signs(key, number, rows, v_k.shape[0]) @ v_k

  return jax.lax.map(block, jnp.arange(-(-size // rows))).reshape(-1)[:size] / size**0.5


def signs(key: jax.Array, block: jax.Array | int, rows: int, dimension: int) -> jax.Array:
  """±1 [rows, dimension]: one block of S. Every bit of a random word is a sign."""
  shape = (rows // WORD, dimension)
  words = jax.random.bits(jax.random.fold_in(key, block), shape, jnp.uint32)
  places = jnp.arange(WORD, dtype=jnp.uint32)[None, :, None]
  bits = (words[:, None, :] >> places) & 1
  return (2.0 * bits.astype(jnp.float32) - 1.0).reshape(rows, dimension)


def block_rows(dimension: int) -> int:
  """Rows of S that are made at once."""
  return max(WORD, BLOCK // dimension // WORD * WORD)


def _is_stacked(path: Sequence[Any]) -> int:
  return int(any(key.key == "blocks" for key in path))


def _kept(shape: tuple[int, int], wanted: float) -> tuple[int, int]:
  """About `wanted` numbers, of rows and columns in the proportion of the matrix, at least one."""
  rows, columns = shape
  few = max(1, min(rows, round(wanted), round(math.sqrt(wanted * rows / columns))))
  return few, max(1, min(columns, round(wanted / few)))


def _orthogonal(normal: np.ndarray) -> jax.Array | None:
  """Q like a normal matrix, QᵀQ = rows/columns · I, uniformly at random; None for a square one."""
  rows, columns = normal.shape
  if rows == columns:
    return None
  q, r = np.linalg.qr(normal)
  return jnp.asarray(q * np.sign(np.diag(r)) * math.sqrt(rows / columns), jnp.float32)
