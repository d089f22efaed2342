"""Strict JAX in every test: implicit rank promotion is an error. Helpers lie in `problems.py`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent))  # so that tests can `from problems import ...`

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def _free_compiled_programs():
  """Else a worker gathers gigabytes of them."""
  yield
  jax.clear_caches()
