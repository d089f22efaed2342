"""Meta-gradients in float64: mixed against reverse, and both against finite differences."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from problems import UNUSED_TOKEN, make_case

from datarater.meta import estimators


def run(case, estimator, eta=None):
  step = jax.jit(estimators.ESTIMATORS[estimator](case.problem))
  return step(eta or case.eta, case.theta, case.opt_state, case.inner, case.outer)


@pytest.mark.parametrize("remat", [False, True], ids=["plain", "remat"])
@pytest.mark.parametrize("datapoint", ["sequence", "document"])
@pytest.mark.parametrize("T", [1, 2, 4])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_mixed_equals_reverse_and_finite_differences(optimizer, T, datapoint, remat):
  with jax.enable_x64(True):
    case = make_case(optimizer, T, datapoint, remat)
    mixed, window = run(case, "mixed")
    reverse_step = jax.jit(estimators.reverse(case.problem))
    rest = (case.theta, case.opt_state, case.inner, case.outer)
    reverse, reverse_window = reverse_step(case.eta, *rest)

    norm = optax.global_norm(reverse)
    assert norm > 1e-6
    assert jnp.isfinite(optax.global_norm(mixed))
    difference = optax.global_norm(jax.tree.map(jnp.subtract, mixed, reverse))
    assert difference / norm < 1e-9
    np.testing.assert_allclose(window.outer_loss, reverse_window.outer_loss, rtol=1e-12)

    direction = jax.tree.map(lambda g: g / norm, reverse)
    h = 1e-5

    def loss_at(step):
      eta = jax.tree.map(lambda e, d: e + step * d, case.eta, direction)
      return reverse_step(eta, *rest)[1].outer_loss

    numeric = (loss_at(h) - loss_at(-h)) / (2 * h)
    np.testing.assert_allclose(norm, numeric, rtol=1e-5)

