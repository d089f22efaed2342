"""What a language model trains on: the `lm` split, whole, randomly thinned, or as a rater picks."""

import dataclasses
import functools
from typing import Any

import numpy as np

from datarater.config import SelectionConfig, TrainConfig
from datarater.curation.rules import top_fraction
from datarater.data.loader import train_loader
from datarater.data.online import OnlineFilter, oversampled_rows
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import Tokenizer
from datarater.errors import require
from datarater.models import cost
from datarater.scorers.online import batch_rating
from datarater.scorers.random import RandomScorer
from datarater.scorers.rater import Rater, load_rater


@dataclasses.dataclass(frozen=True)
class Pool:
  """A loader for one language model, and what choosing its data costs.

  kept: indices of the pool's documents that offline selection keeps, None for all.
  rating_flops: spent once, before training. rating_flops_a_step: spent in every step (online).
  """

  loader: Any
  kept: np.ndarray | None = None
  rating_flops: float = 0.0
  rating_flops_a_step: float = 0.0


@dataclasses.dataclass(frozen=True)
class RatedPool:
  """The ratings of a pool, float32 [N] in the source's order, and the FLOPs that they cost."""

  ratings: np.ndarray
  flops: float


def rate_pool(rater: Rater, source: Source, progress: bool = True) -> RatedPool:
  """Rates every document of a source."""
  texts = [source[i].text for i in range(len(source))]
  ratings, tokens = rater.score_with_tokens(texts, progress)
  rows = sum(-(-int(n) // (rater.config.length - 1)) for n in tokens)
  return RatedPool(ratings, rows * cost.rating_flops(rater.config.model, rater.config.length))


def random_subset(source: Source, discard_fraction: float, seed: int) -> np.ndarray:
  """Indices of a random share of a source's documents, the same for one seed in every run."""
  ids = [str(source.position(i)) for i in range(len(source))]
  ratings = RandomScorer(seed).score_documents(ids, ids)
  return np.flatnonzero(top_fraction(ratings, ids, discard_fraction, seed))


def open_pool(
  config: TrainConfig, tokenizer: Tokenizer, seed: int, rated: RatedPool | None = None
) -> Pool:
  """The pool that `config.selection` asks for.

  seed: of the loader and of the random share. rated: ratings made before, for offline selection by
  a rater; without them the pool is rated here.
  """
  selection = config.selection
  source = open_source(config.data, "lm")
  load = functools.partial(train_loader, tokenizer=tokenizer, config=config.data, seed=seed)
  if selection.kind == "unfiltered":
    return Pool(load(source, rows=config.batch))
  if selection.kind == "random":
    kept = random_subset(source, selection.discard_fraction, seed)
    return Pool(load(source.subset(kept), rows=config.batch), kept)
  if selection.mode == "online":
    return _online_pool(config, load_rater(selection.rater), tokenizer, source, load)
  rated = rated or rate_pool(load_rater(selection.rater), source)
  kept = kept_by_rating(source, rated, selection)
  return Pool(load(source.subset(kept), rows=config.batch), kept, rated.flops)


def kept_by_rating(source: Source, rated: RatedPool, selection: SelectionConfig) -> np.ndarray:
  """Indices of the documents that offline selection keeps."""
  ids = [str(source.position(i)) for i in range(len(source))]
  kept = np.flatnonzero(top_fraction(rated.ratings, ids, selection.discard_fraction))
  require(
    len(kept) > 0,
    f"selection.discard_fraction is {selection.discard_fraction}, which leaves none of "
    f"{len(source)} documents; give a smaller one",
  )
  return kept


def _online_pool(
  config: TrainConfig, rater: Rater, tokenizer: Tokenizer, source: Source, load: Any
) -> Pool:
  drawn = oversampled_rows(config.batch, config.selection.discard_fraction)
  rate = batch_rating(rater, config.data, tokenizer)
  loader = OnlineFilter(load(source, rows=drawn), rate, config.data.datapoint, config.batch)
  datapoints = config.data.segments if config.data.datapoint == "document" else 1
  flops = drawn * cost.rating_flops(rater.config.model, config.data.length, datapoints)
  return Pool(loader, rating_flops_a_step=flops)
