"""All variants of the benchmark solve one problem; its batches are what it says."""

import functools
import sys

import jax
import numpy as np
import pytest
from meta_step import main
from meta_step_suite.memory import growth
from meta_step_suite.problem import Case, Start, make_start, meta_gradient, state_bytes
from meta_step_suite.runs import DEFAULT, JAX_GRAD, MIXED, PEERS, REVERSE
from problems import MODEL, QUICK, tree_distance

from datarater.config import OptimizerConfig
from datarater.models.cost import language_model_parameters
from datarater.training.optimizers import make_optimizer

CASE = Case("tiny", MODEL, rows=2, length=16, unrolls=(1, 2))


@functools.cache
def start() -> Start:
  return make_start(CASE, warm_steps=3)


@functools.cache
def gradient(variant: str, remat: bool = False):
  function = jax.jit(meta_gradient(CASE, variant, 2, remat), compiler_options=QUICK)
  return function(start().theta, start().opt_state, *start().over(2), start().outer_B)


@pytest.mark.parametrize("variant", [*MIXED, REVERSE])
def test_ours_and_jax_grad_solve_one_problem(variant):
  grads, theta, opt_state = gradient(variant)
  expected = gradient(JAX_GRAD)
  assert tree_distance(grads, expected[0]) < 1e-4
  assert tree_distance((theta, opt_state), expected[1:]) < 1e-6
  assert np.abs(grads).min() > 0


def test_remat_reaches_the_model():
  assert tree_distance(gradient(JAX_GRAD, True)[0], gradient(JAX_GRAD)[0]) < 1e-4
  arguments = (start().theta, start().opt_state, *start().over(2), start().outer_B)
  traced = [str(jax.make_jaxpr(meta_gradient(CASE, JAX_GRAD, 2, r))(*arguments)) for r in (0, 1)]
  assert ["remat" in text or "checkpoint" in text for text in traced] == [False, True]


@pytest.mark.parametrize("peer", PEERS)
def test_pytorch_solves_it_too(peer):
  pytest.importorskip("torchopt", reason="PyTorch is an extra")
  from meta_step_suite.torch_peer import TorchMetaGradient

  ours = gradient(DEFAULT)[0]
  assert tree_distance(TorchMetaGradient(CASE, start(), peer, 2).run(2), ours) < 1e-4


@pytest.mark.parametrize("peer", PEERS)
def test_pytorchs_optimisers_are_ours(peer):
  torch = pytest.importorskip("torch", reason="PyTorch is an extra")
  pytest.importorskip("torchopt", reason="PyTorch is an extra")
  from meta_step_suite.torch_peer import OPTIMIZERS

  config = OptimizerConfig(name="adam", learning_rate=0.1, eps=0.01, eps_root=0.1)
  theta, grads, mu, nu = np.abs(np.random.default_rng(0).normal(size=(4, 5))).astype(np.float32)
  optimizer = make_optimizer(config)
  adam, *others = optimizer.init(theta)
  state = (adam._replace(mu=mu, nu=nu, count=np.int32(3)), *others)
  expected = theta + optimizer.update(grads, state, theta)[0]

  def tensor(x):
    return (torch.from_numpy(x).requires_grad_(),)

  theirs, start = OPTIMIZERS[peer](config, tensor(mu), tensor(nu), 3), tensor(theta)
  moved = theirs.step((start[0] * torch.from_numpy(grads)).sum(), start)
  np.testing.assert_allclose(moved[0].detach().numpy(), expected, rtol=1e-6)


def test_start_is_in_mid_training_and_reproducible():
  assert all(int(s.count) == 3 for s in start().opt_state if hasattr(s, "count"))
  np.testing.assert_array_equal(
    make_start(CASE, 0).inner_TxB.tokens_BxL, start().inner_TxB.tokens_BxL
  )


@pytest.mark.parametrize("vocab_size", [257, 31])
def test_rows_are_full(vocab_size):
  case = Case("tiny", MODEL, vocab_size, rows=16, length=512, unrolls=(8,))
  batch = make_start(case, 0).inner_TxB
  assert batch.tokens_BxL.shape == (8, 16, 512)
  assert (batch.segment_ids_BxL == 1).all()
  assert batch.tokens_BxL.max() < vocab_size
  assert len({row.tobytes() for row in batch.tokens_BxL.reshape(-1, 512)}) == 8 * 16


def test_state_is_parameters_two_moments_and_a_gradient():
  parameters = language_model_parameters(MODEL, CASE.vocab_size)
  assert state_bytes(CASE) == 4 * 4 * parameters + 2 * 4  # and two counts of steps


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_growth_is_the_peak_within_the_call():
  np.ones(32 << 20, np.uint8)  # freed before, a higher peak than what comes
  assert growth(lambda: np.ones(16 << 20, np.uint8)) == pytest.approx(16 << 20, rel=0.2)
  assert growth(lambda: None) < 1 << 20


def test_without_a_gpu_its_preset_says_what_it_would_measure(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["meta_step.py", "--preset", "gpu"])
  main()
  assert "150M" in capsys.readouterr().out
