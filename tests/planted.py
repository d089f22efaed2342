"""A place for experiments without training: raters are random networks, ratings go by domain."""

import dataclasses
import functools
import json

import jax
import numpy as np

from datarater.data.sources import open_source
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig
from datarater.evaluation.pool import RatedPool
from datarater.meta.trainer import METRICS
from datarater.models.rater import init_rater
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from experiments.arms import rater
from experiments.experiment import Place
from experiments.ratings import pools
from experiments.scale import CPU, HELDOUT

SCALE = dataclasses.replace(
  CPU,
  data=DataConfig(datapoint="sequence", length=64, segments=4, lm="lm[:20%]"),
  targets=("speeches", "literature"),
  meta=dataclasses.replace(CPU.meta, steps=8),
  rater="0.02m",
  snapshots=2,
  seeds=(0, 1),
  discard_fractions=(0.5,),
)
BEST_FIRST = {
  "speeches": "speeches literature jargon techdocs raw_html code lexdb tables",
  "literature": "literature speeches jargon techdocs raw_html code lexdb tables",
  HELDOUT: "code raw_html techdocs lexdb jargon speeches literature tables",
}
"""Domains by the ratings that are planted for an objective."""


def planted_place(folder):
  """On the bundled corpus; every rater of `SCALE`, and its ratings of the pool, are there."""
  place = Place(SCALE, folder / "runs", folder / "results", workers=1)
  source = open_source(SCALE.data, "lm")
  labels = [source.domains[source.domain_index(i)] for i in range(len(source))]
  for objective in SCALE.objectives:
    order = BEST_FIRST[objective].split()
    for seed, pool in zip(SCALE.seeds, pools(place, objective), strict=True):
      plant(rater(place, objective, seed), place.root)
      noise = np.random.default_rng(seed).uniform(-0.4, 0.4, len(labels))
      ratings = noise - [order.index(label) for label in labels]
      RatedPool(ratings, 1.0).save(pool.result_path(place.root), source)
  return place


def plant(job, root):
  """Writes what the job would: a rater, its snapshots, metrics."""
  steps, every = job.config.meta.steps, job.config.snapshot_every
  for step in range(every, steps, every) if every else ():
    _write(job.rater(root, step), job.config, step)
  rows = [
    {"step": i, "update_norm": [1.0 + i, 2.0], "skipped": 0, "seconds": 1.0}
    for i in range(1, steps + 1)
  ]
  job.folder(root).mkdir(parents=True, exist_ok=True)
  (job.folder(root) / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
  _write(job.rater(root), job.config, steps)


@functools.cache
def _network(model, vocab_size, length):
  return jax.tree.map(np.asarray, init_rater(model, vocab_size, jax.random.key(0), length))


def _write(folder, config, step):
  tokenizer = load_tokenizer(config.data.tokenizer)
  eta = _network(config.rater, tokenizer.vocab_size, config.data.length)
  random = np.random.default_rng([config.seed, step])
  kernel = random.normal(size=(config.rater.width, 1)).astype(np.float32)
  eta = eta | {"head": eta["head"] | {"kernel": kernel}}
  described = artifact.RaterConfig(
    model=config.rater,
    tokenizer=config.data.tokenizer,
    tokenizer_fingerprint=tokenizer.fingerprint,
    vocab_size=tokenizer.vocab_size,
    datapoint=config.data.datapoint,
    length=config.data.length,
    steps=config.meta.steps,
    seed=config.seed,
  )
  artifact.write_rater(folder, described, eta, RatingsCdf.of([0.0, 1.0]), "", tokenizer.save)
