"""The benchmark's predictions are those of the derivation, and of what it traces."""

import pytest
from meta_step_suite.counts import (
  meta_gradient_flops,
  needed_flops,
  peak_flops,
  plain_flops,
  predicted_ratio,
  rows_that_fit,
)

from datarater.config import ModelConfig
from datarater.models.cost import language_model_flops

SIZES = (ModelConfig(width=32, layers=3, heads=2, mlp_width=64), 31, 16)
FORWARD = language_model_flops(*SIZES)


@pytest.mark.parametrize(
  ("unroll_length", "residuals", "passes"),
  [(1, "recompute", 9), (1, "keep", 8), (2, "recompute", 21), (2, "keep", 17), (4, "keep", 35)],
)
def test_counts_without_remat_are_those_of_the_derivation(unroll_length, residuals, passes):
  flops = meta_gradient_flops(*SIZES, unroll_length, residuals, True)
  assert flops == passes * FORWARD
  assert predicted_ratio(*SIZES, unroll_length, residuals) == passes / (3 * unroll_length)


def test_remat_makes_plain_steps_dearer_and_leaves_the_needed_flops():
  remat = ModelConfig(**vars(SIZES[0]) | {"remat": True})
  assert plain_flops(*SIZES) == 3 * FORWARD
  assert 3.5 * FORWARD < plain_flops(remat, *SIZES[1:]) < 4 * FORWARD
  assert needed_flops(remat, *SIZES[1:], 2) == needed_flops(*SIZES, 2) == 17 * FORWARD


@pytest.mark.parametrize(
  ("kind", "peak"),
  [
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA A100-SXM4-40GB", 312e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA L4", 121e12),
    ("cpu", None),
  ],
)
def test_peaks(kind, peak):
  assert peak_flops(kind) == peak


@pytest.mark.parametrize(("budget", "rows"), [(100, 8), (45, 2), (24, 1), (19, 0)])
def test_rows_that_fit(budget, rows):
  # 12 + 10 rows bytes: 22, 32, 52, 92
  assert rows_that_fit((1, 22.0), (2, 32.0), budget, 8) == rows
