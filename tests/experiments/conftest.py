"""One place with planted raters for all experiments, as they share ratings."""

import pytest
from planted import planted_place


@pytest.fixture(scope="session")
def place(tmp_path_factory):
  return planted_place(tmp_path_factory.mktemp("place"))
