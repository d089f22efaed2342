"""What a finished arm says of held-out text: target, pool and each domain, in both units."""

import dataclasses
import math

import pytest
from language_runs import CONFIG, train_tiny

from datarater.config import TrainConfig
from datarater.data.sources import open_source
from datarater.evaluation.arm import arm_result, read_result
from datarater.evaluation.pool import Pool


@pytest.mark.parametrize("target", ["speeches", ""])
def test_losses_of_target_pool_and_domains(tmp_path, target):
  config, result = read_result(
    train_tiny(tmp_path / "run", data=data_for(target), evaluation_target_rows=1)
  )
  everywhere = open_source(data_for(""), "test").domains
  held_out = result["held_out"]
  assert list(held_out) == (["target", "pool"] if target else ["target"])
  widest = held_out["pool" if target else "target"]
  # A byte is a token here, but for the separators: bits are nats a token, or a little more.
  for unit in ("by_domain", "nats_per_token_by_domain"):
    assert set(widest[unit]) == set(everywhere)
    assert {name: curve[-1] for name, curve in result[unit].items()} == widest[unit]
  for name, bits in widest["by_domain"].items():
    assert 1 - 1e-9 < bits * math.log(2) / widest["nats_per_token_by_domain"][name] < 1.1
  assert result["bits_per_byte"] == held_out["target"]["bits_per_byte"]
  assert result["nats_per_token"] == held_out["target"]["nats_per_token"]
  assert config.data.target_domain == target


def data_for(target: str):
  return dataclasses.replace(CONFIG.data, target_domain=target, test="test")


def test_a_curve_begun_by_an_older_version_still_ends():
  """Its points know no nats by domain."""
  old = {"bits_per_byte": 2.0, "nats_per_token": 1.5, "by_domain": {"a": 2.0}}
  new = old | {"nats_per_token_by_domain": {"a": 1.5}}
  curve = [
    {"step": k, "training_flops": 1.0 * k, "target": loss} for k, loss in ((1, old), (2, new))
  ]
  result = arm_result(TrainConfig(), Pool(None), curve)
  assert result["by_domain"] == {"a": [2.0, 2.0]}
  assert result["nats_per_token_by_domain"] == {"a": [None, 1.5]}
  assert result["held_out"] == {"target": new}
