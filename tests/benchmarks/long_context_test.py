"""The benchmark of long context runs what fits and records what does not."""

import jax.numpy as jnp
import long_context
import pytest

LIMIT = 250_000
"""Bytes that, at 64 tokens, forward passes stay below and Hessian products do not."""


@pytest.fixture(scope="module")
def rows():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(long_context, "MOST_BYTES", LIMIT)
    return long_context.attention_rows(64)


def test_a_program_beyond_the_limit_is_not_run(rows):
  assert len(rows) == 2 * 3
  for row in rows:
    skipped = row["temporaries"] > LIMIT
    assert ("skipped" in row) == skipped == (row["seconds"] is None)
  assert {"skipped" in row for row in rows} == {True, False}


def test_the_figure_names_what_did_not_run(rows):
  figure = long_context.draw(rows + [{**row, "length": 32, "cpu_seconds": 1.0} for row in rows])
  labels = [text.get_text() for axes in figure.axes for text in axes.texts]
  assert labels.count("xla: over 8 GB") == sum("skipped" in r for r in rows if _xla(r))
  assert sum(label.startswith("blockwise") for label in labels) == len(figure.axes)


def _xla(row):
  return row["implementation"] == "xla"


def test_temporaries_are_the_compilers():
  row = long_context.measured(lambda x: jnp.sum(jnp.sort(x)), jnp.arange(1000.0))
  assert row["temporaries"] >= 4000
  assert row["seconds"] > 0
