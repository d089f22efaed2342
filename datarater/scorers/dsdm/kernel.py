"""From projected gradients to scores: the kernel of TRAK, in float64.

    score(z) = φ(z)·v        v = (Xᵀ X + λI)⁻¹ t        λ = ridge · tr(Xᵀ X) / k

X: gradients φ of the pool, n x k. t: gradient of the target's loss. To first order the loss after
training with z is lower the larger the score: the datamodel's weight is θ_z = -score, as the output
is the loss itself (Engstrom et al. 2024, arXiv 2401.12926, section 3.2; Park et al. 2023, arXiv
2303.14186, eq. 17). Scores have no scale of their own: here that of the pool's is 1.
"""

import numpy as np
import scipy.linalg

from datarater.errors import require


class Moments:
  """Of gradients that come block by block: their number n, Σ x and Σ x xᵀ."""

  def __init__(self, dimension: int):
    self.number = 0
    self.sum_k = np.zeros(dimension)
    self.products_kxk = np.zeros((dimension, dimension))

  def add(self, features_Nxk: np.ndarray) -> None:
    x = np.asarray(features_Nxk, np.float64)
    self.number += len(x)
    self.sum_k += x.sum(0)
    self.products_kxk += x.T @ x

  def deviation(self, v_k: np.ndarray) -> float:
    """Standard deviation of x·v."""
    square = v_k @ self.products_kxk @ v_k / self.number
    return float(np.sqrt(max(0.0, square - (self.sum_k @ v_k / self.number) ** 2)))


def require_numbers(moments: Moments, target: np.ndarray) -> None:
  """Raises InputError where no gradient of the pool differs from zero or one is not a number."""
  mean = np.trace(moments.products_kxk)
  require(
    bool(np.isfinite(mean) and mean > 0 and np.isfinite(target).all()),
    f"the pool's gradients have squares that add up to {mean}; give a proxy whose losses are "
    "numbers, and a pool of texts with tokens",
  )


def solve(moments: Moments, target_kxM: np.ndarray, ridge: float) -> np.ndarray:
  """(Xᵀ X + λI)⁻¹ t, float64 like `target_kxM`, columns of which are several targets."""
  products = moments.products_kxk
  damped = products + ridge * np.trace(products) / len(products) * np.eye(len(products))
  return scipy.linalg.solve(damped, np.asarray(target_kxM, np.float64), assume_a="pos")


def attribute(pool_Nxk: np.ndarray, target_Mxk: np.ndarray, ridge: float) -> np.ndarray:
  """Scores float64 [M, N] of N documents for each of M targets, before any scaling."""
  moments = Moments(pool_Nxk.shape[1])
  moments.add(pool_Nxk)
  return (np.asarray(pool_Nxk, np.float64) @ solve(moments, target_Mxk.T, ridge)).T


def gradient_products(pool_Nxk: np.ndarray, target_Mxk: np.ndarray) -> np.ndarray:
  """float64 [M, N]: products of gradients, without the kernel (TracIn at one checkpoint; Pruthi et
  al. 2020, arXiv 2002.08484).
  """
  return np.asarray(target_Mxk, np.float64) @ np.asarray(pool_Nxk, np.float64).T


def similarities(pool_NxW: np.ndarray, target_MxW: np.ndarray) -> np.ndarray:
  """float64 [M, N]: cosines of embeddings, as of `Proxy.embed`."""
  pool, target = (_directions(np.asarray(x, np.float64)) for x in (pool_NxW, target_MxW))
  return target @ pool.T


def _directions(x_NxW: np.ndarray) -> np.ndarray:
  return x_NxW / np.linalg.norm(x_NxW, axis=1, keepdims=True)
