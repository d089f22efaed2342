"""The yardstick copies what it has seen and nothing else; agreement by closed form; a small run."""

import functools

import numpy as np
import pytest

from experiments import domain_order
from experiments.domain_order import agreement
from experiments.yardstick import YardstickJob, conditional_bits, text_of

RANDOM = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
OTHER = np.random.default_rng(1).integers(0, 256, 4000, np.uint8).tobytes()


def test_bits_behind_a_context():
  same, other = conditional_bits(RANDOM, {"same": RANDOM, "other": OTHER}).values()
  assert same < 0.2
  assert other == pytest.approx(8.0, abs=0.1)
  assert conditional_bits(b"", {"x": RANDOM})["x"] == pytest.approx(8.0, abs=0.1)


def test_text_is_of_one_domain_and_goes_on_in_the_next_split(place):
  data = place.scale.data
  inner = text_of(data, ("inner",), "speeches", 1 << 30)
  assert text_of(data, ("inner",), "speeches", 1000) == inner[:1000]
  both = text_of(data, ("inner", "lm"), "speeches", len(inner) + 500)
  assert both[: len(inner)] == inner
  assert len(both) == len(inner) + 500
  assert b"citizens" in inner
  assert b"<div" not in inner


def test_agreement_is_with_fewer_bits():
  bits = {"a": 2.0, "b": 2.5, "c": 3.0}
  found = agreement(bits, {"a": [9.0, 0.0], "b": [5.0, 1.0], "c": [1.0, 2.0]})
  assert found["by_seed"] == pytest.approx([1.0, -1.0])


def target(bits, ratings):
  return {"bits_per_byte": bits, "ratings": ratings}


def test_differences_between_targets_agree_whatever_the_scale():
  one = target({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": [90.0], "b": [50.0], "c": [10.0]})
  two = target({"a": 3.0, "b": 2.2, "c": 1.0}, {"a": [0.0], "b": [0.4], "c": [1.0]})
  found = domain_order._differences({"one": one, "two": two}, ("one", "two"))
  assert found["agreement"]["mean"] == pytest.approx(1.0)
  assert found["yardstick"]["a"] > 0 > found["yardstick"]["c"]
  assert domain_order._differences({"one": one}, ("one",)) is None


def test_a_small_pool(place, monkeypatch):
  small = functools.partial(YardstickJob, context_bytes=20_000, target_bytes=8000)
  monkeypatch.setattr(domain_order, "YardstickJob", small)
  results = domain_order.EXPERIMENT.run(place)
  for name, found in results["targets"].items():
    assert min(found["bits_per_byte"], key=found["bits_per_byte"].get) == name
    assert max(found["bits_per_byte"].values()) < found["bits_per_byte_without"] + 0.1
    assert len(found["agreement"]["by_seed"]) == 2
    assert found["agreement"]["mean"] > found["agreement_without_target"]["mean"] > 0
  agreed = [found["agreement"]["mean"] for found in results["targets"].values()]
  assert results["met"] == (min(agreed) >= domain_order.CRITERION)
  assert results["between_targets"]["agreement"]["mean"] > 0
  assert (place.folder("domain_order") / "figure.png").read_bytes().startswith(b"\x89PNG")
