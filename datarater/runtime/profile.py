"""A trace of a few steps of a run, by JAX's profiler: what the device did, and for how long."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import jax

SKIPPED, TRACED = 2, 3
"""Steps before the trace, which compile and fill caches, and steps in it."""


def traced(steps: Iterable[int], folder: Path | None) -> Iterator[int]:
  """The steps as they come; where `folder` is given, some of the first are traced into it.

  A run that ends sooner has what there was. The trace opens in Perfetto, XProf or TensorBoard.
  """
  if folder is None:
    yield from steps
    return
  tracing = False
  try:
    for number, step in enumerate(steps):
      if number == SKIPPED:
        # Python's own calls would hide the device's: thousands a step.
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
        tracing = True
      with jax.profiler.StepTraceAnnotation("step", step_num=step):
        yield step
      if tracing and number + 1 == SKIPPED + TRACED:
        tracing = _finish()
  finally:
    if tracing:
      _finish()


def _finish() -> bool:
  jax.block_until_ready(jax.live_arrays())  # else the last steps would be cut off
  jax.profiler.stop_trace()
  return False
