"""Tokens, segments and rows as datapoints: numbers, sums and domains by hand."""

import numpy as np
import pytest
from problems import pack

from datarater import types

BATCH = pack([[[11, 1, 2], [11, 4]], []], length=6, segments=2)
VALUES = np.arange(12, dtype=np.float32).reshape(2, 6)

BY_HAND = {
  "sequence": (
    [[1, 1, 1, 1, 1, 0], [0] * 6],
    [[10.0], [0.0]],
    [[3.0], [0.0]],
    [[0], [-1]],
  ),
  "document": (
    [[1, 1, 1, 2, 2, 0], [0] * 6],
    [[3.0, 7.0], [0.0, 0.0]],
    [[2.0, 1.0], [0.0, 0.0]],
    [[0, 1], [-1, -1]],
  ),
  "token": (
    [[1, 2, 3, 4, 5, 0], [0] * 6],
    [[0.0, 1.0, 2.0, 3.0, 4.0, 0.0], [0.0] * 6],
    [[0.0, 1.0, 1.0, 0.0, 1.0, 0.0], [0.0] * 6],
    [[-1, 0, 0, -1, 1, -1], [-1] * 6],
  ),
}


@pytest.mark.parametrize("datapoint", BY_HAND)
def test_datapoints_by_hand(datapoint):
  ids, sums, tokens, domains = BY_HAND[datapoint]
  np.testing.assert_array_equal(types.datapoint_ids(BATCH, datapoint), ids)
  np.testing.assert_array_equal(types.sum_by_datapoint(VALUES, BATCH, datapoint), sums)
  np.testing.assert_array_equal(types.predicted_tokens(BATCH, datapoint), tokens)
  np.testing.assert_array_equal(types.domain_by_datapoint(BATCH, datapoint), domains)
  assert types.datapoints_per_row(BATCH, datapoint) == len(tokens[0])
