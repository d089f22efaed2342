"""A trace of a few steps: all steps come, and the trace names them."""

import glob

import jax
import jax.numpy as jnp
import pytest

from datarater.runtime.profile import SKIPPED, TRACED, traced


def traced_steps(folder) -> list[int]:
  [path] = glob.glob(str(folder / "**" / "*.xplane.pb"), recursive=True)
  events = [
    event
    for plane in jax.profiler.ProfileData.from_file(path).planes
    for line in plane.lines
    for event in line.events
    if event.name == "step"
  ]
  return sorted(dict(event.stats)["step_num"] for event in events)


@pytest.mark.parametrize("steps", [SKIPPED + TRACED + 2, SKIPPED + 1])
def test_some_of_the_first_steps_are_traced(tmp_path, steps):
  f = jax.jit(lambda x: x @ x)
  seen = []
  for step in traced(range(10, 10 + steps), tmp_path):
    f(jnp.ones((8, 8)))
    seen.append(step)
  assert seen == list(range(10, 10 + steps))
  last = min(steps, SKIPPED + TRACED)
  assert traced_steps(tmp_path) == list(range(10 + SKIPPED, 10 + last))
  assert glob.glob(str(tmp_path / "**" / "perfetto_trace.json.gz"), recursive=True)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert list(traced(range(9), None)) == list(range(9))
  assert list(tmp_path.iterdir()) == []
