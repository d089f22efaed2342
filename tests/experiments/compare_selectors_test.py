"""What a comparison of selectors is summed up as."""

import pytest

from experiments.compare_selectors import compute_multipliers, ranked


def cells(**of):
  """One setting, two sizes with a share each, the same in both."""
  return {"near": {"small": {"0.5": of}, "large": {"0.5": {}, "0.9": of}}}


def test_ranks_and_ties():
  losses = {
    "best": [1.0, 2.0, 3.0],
    "as good": [1.1, 1.9, 3.1],
    "worse": [1.5, 2.5, 3.5 + 1e-6],
  }
  one = {"s": {"1m": {"0.5": {name: {"loss": loss} for name, loss in losses.items()}}}}
  found = ranked(one)
  assert list(found) == ["best", "as good", "worse"]
  assert [of["ranks"] for of in found.values()] == [[1], [2], [3]]
  assert [(of["first"], of["tied"]) for of in found.values()] == [(1, 1), (0, 1), (0, 0)]


def test_a_compute_multiplier_is_how_much_longer_everything_takes():
  found = compute_multipliers(
    cells(
      half={"flops_share": [0.5, 0.5]},
      mixed={"flops_share": [0.25, 0.5]},
      never={"flops_share": [0.5, None]},
    )
  )
  assert list(found) == ["small", "large"]
  assert found["large"] == {"half": 2.0, "mixed": pytest.approx(3.0), "never": None}
