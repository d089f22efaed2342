"""FLOPs and days of a study, by hand."""

import dataclasses

import pytest
from problems import MODEL, VOCAB, tiny_run

from datarater.errors import InputError
from datarater.meta.paper import paper_model
from datarater.meta.workload import Assumptions, meta_step_flops, workload
from datarater.models import cost


def test_tasks_cost_what_their_parts_cost():
  config = tiny_run()
  flops = workload(config, VOCAB, Assumptions(corpus_tokens=3_200.0, discard_fraction=0.75))
  step = cost.meta_step_flops(
    MODEL, MODEL, VOCAB, 32, unroll_length=2, inner_rows=4, outer_rows=4, datapoints=2
  )
  assert flops["meta_training"] == 6 * 2 * step
  assert flops["rating"] == 100 * cost.rating_flops(MODEL, 32, 2)
  rows = 48_000 * 256
  assert flops["lm_1b"] == rows * cost.training_flops(paper_model("1b"), VOCAB, 2_048)
  # Each row of 2,048 tokens that is kept costs the rating of four, of 64 rows of 32 tokens each.
  rating = rows * 4 * 64 * cost.rating_flops(MODEL, 32, 2)
  assert flops["lm_1b_filtered"] - flops["lm_1b"] == pytest.approx(rating, rel=1e-6)
  sizes = ("50m", "150m", "400m", "1b")
  names = {f"lm_{size}{suffix}" for size in sizes for suffix in ("", "_filtered")}
  assert flops.keys() == {"meta_training", "rating", *names}


@pytest.mark.parametrize(
  "settings",
  [
    {"estimator": "reverse"},
    {"estimator": "first_order"},
    {"estimator": "evolution", "evolution_pairs": 3},
    {"residuals": "keep"},
  ],
)
def test_the_estimator_decides_what_a_meta_step_costs(settings):
  config = dataclasses.replace(tiny_run(), meta=dataclasses.replace(tiny_run().meta, **settings))
  step = cost.meta_step_flops(
    MODEL, MODEL, VOCAB, 32, unroll_length=2, inner_rows=4, outer_rows=4, datapoints=2, **settings
  )
  assert meta_step_flops(config, VOCAB) == 2 * step != meta_step_flops(tiny_run(), VOCAB)


def test_more_documents_a_row_cost_more_to_rate():
  sequence = dataclasses.replace(
    tiny_run(), data=dataclasses.replace(tiny_run().data, datapoint="sequence")
  )
  by_sequence, by_document = (
    workload(config, VOCAB, Assumptions())["rating"] for config in (sequence, tiny_run())
  )
  assert by_sequence < by_document


def test_days_are_inverse_to_speed_utilisation_and_devices():
  assumptions = Assumptions(flops_per_second=2e12, utilisation=0.25)
  assert assumptions.days(86_400e12, 1) == pytest.approx(2.0)
  assert assumptions.days(86_400e12, 4) == pytest.approx(0.5)
  faster = dataclasses.replace(assumptions, flops_per_second=4e12)
  assert faster.days(86_400e12, 1) == pytest.approx(1.0)
  fuller = dataclasses.replace(assumptions, utilisation=0.5)
  assert fuller.days(86_400e12, 1) == pytest.approx(1.0)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("flops_per_second", 0.0),
    ("flops_per_second", float("inf")),
    ("corpus_tokens", -1.0),
    ("utilisation", 0.0),
    ("utilisation", 1.5),
    ("discard_fraction", 1.0),
    ("vocab_size", 0),
  ],
)
def test_impossible_assumptions_are_refused(field, value):
  with pytest.raises(InputError, match=f"{field} is {value}"):
    Assumptions(**{field: value})
