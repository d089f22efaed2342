"""What a language model trains on: the `lm` split, whole, randomly thinned, or as a rater picks."""

import dataclasses
import functools
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from datarater.config import SelectionConfig, TrainConfig
from datarater.curation.rules import top_fraction
from datarater.data.loader import train_loader
from datarater.data.online import InformedFilter, OnlineFilter, oversampled_rows
from datarater.data.sources import Source, open_source
from datarater.data.tokenizers import Tokenizer
from datarater.errors import InputError, require
from datarater.evaluation.weighted import WeightedLoader
from datarater.models import cost
from datarater.runtime.atomic import atomic_file
from datarater.scorers.online import batch_rating
from datarater.scorers.random import RandomScorer
from datarater.scorers.rater import MixtureRater, OnlineRater, Rater, load_rater

_DIGEST_IDS = 32


@dataclasses.dataclass(frozen=True)
class Pool:
  """A loader for one language model, and what choosing its data costs.

  kept: indices of the pool's documents that offline selection keeps, None for all.
  rating_flops: spent once, before training. rating_flops_a_step: spent in every step, until they
  come to most_rating_flops.
  """

  loader: Any
  kept: np.ndarray | None = None
  rating_flops: float = 0.0
  rating_flops_a_step: float = 0.0
  most_rating_flops: float = math.inf

  def rating_flops_until(self, step: int) -> float:
    """FLOPs of ratings when `step` updates are done."""
    return self.rating_flops + min(self.rating_flops_a_step * step, self.most_rating_flops)


@dataclasses.dataclass(frozen=True)
class RatedPool:
  """The ratings of a pool and what they cost.

  ratings: float32 [N] in the source's order, larger is better. flops: of all. tokens: int32 [N],
  of each document; None where the scorer counts none.
  """

  ratings: np.ndarray
  flops: float
  tokens: np.ndarray | None = None

  def save(self, path: Path, source: Source) -> None:
    """Writes the ratings of `source` as safetensors, atomically."""
    arrays = {"ratings": np.asarray(self.ratings, np.float32), "flops": np.array([self.flops])}
    if self.tokens is not None:
      arrays["tokens"] = np.asarray(self.tokens, np.int32)
    content = safetensors.numpy.save(arrays, {"documents": _digest_of(source)})
    with atomic_file(path) as file:
      file.write(content)

  @classmethod
  def load(cls, path: Path, source: Source) -> "RatedPool":
    """Reads what `save` wrote; InputError for no such file, or ratings of other documents."""
    try:
      with safetensors.safe_open(path, "numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        documents = (file.metadata() or {}).get("documents")
    except (OSError, safetensors.SafetensorError) as error:
      raise InputError(
        f"selection.ratings {str(path)!r} cannot be read: {error}; rate the pool again"
      ) from error
    require(
      documents == _digest_of(source),
      f"selection.ratings {str(path)!r} rates other documents than the pool's {len(source)}; rate "
      "this pool",
    )
    return cls(arrays["ratings"], float(arrays["flops"][0]), arrays.get("tokens"))


def _digest_of(source: Source) -> str:
  """sha256 of all positions, and of the ids of a few: reading them all would take seconds."""
  positions = np.array([source.position(i) for i in range(len(source))], np.int64)
  few = np.linspace(0, len(source) - 1, _DIGEST_IDS).astype(int)
  ids = "\n".join(source[int(i)].id for i in few)
  return hashlib.sha256(positions.tobytes() + ids.encode("utf-8", "replace")).hexdigest()


def rate_pool(rater: Rater, source: Source, progress: bool = True) -> RatedPool:
  """Rates every document of a source; InputError for a domain that a mixture does not know."""
  texts = [source[i].text for i in range(len(source))]
  if isinstance(rater, MixtureRater):
    rater.require_domains(source.domains)
    domains = [source.domains[source.domain_index(i)] for i in range(len(source))]
    ratings, tokens = rater.score_domains(texts, domains)
    return RatedPool(ratings, 0.0, tokens)
  ratings, tokens = rater.score_with_tokens(texts, progress)
  rows = sum(-(-int(n) // (rater.config.length - 1)) for n in tokens)
  flops = rows * cost.rating_flops(rater.config.model, rater.config.length)
  return RatedPool(ratings, flops, tokens)


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
  if selection.kind == "ratings":
    rated = RatedPool.load(Path(selection.ratings), source)
  rated = rated or rate_pool(load_rater(selection.rater), source)
  if selection.mode == "weighted":
    kept = np.arange(len(source))
    loader = WeightedLoader(load(source, rows=config.batch), rated.ratings)
  else:
    kept = kept_by_rating(source, rated, selection, seed)
    loader = load(source.subset(kept), rows=config.batch)
  if selection.charge == "pool":
    return Pool(loader, kept, rated.flops)
  return Pool(loader, kept, 0.0, _drawn_flops_a_step(config, rated, kept), rated.flops)


def _drawn_flops_a_step(config: TrainConfig, rated: RatedPool, kept: np.ndarray) -> float:
  """FLOPs of rating as much of the pool as leaves one batch: a pass over what is kept takes all."""
  require(
    rated.tokens is not None,
    "selection.charge is 'drawn' but these ratings come without counts of tokens; set it to 'pool'",
  )
  batches = rated.tokens[kept].sum() / (config.batch * (config.data.length - 1))  # type: ignore[index]
  return rated.flops / batches


def kept_by_rating(
  source: Source, rated: RatedPool, selection: SelectionConfig, seed: int = 0
) -> np.ndarray:
  """Indices of the documents that offline selection keeps; the seed breaks ties."""
  ids = [str(source.position(i)) for i in range(len(source))]
  kept = np.flatnonzero(top_fraction(rated.ratings, ids, selection.discard_fraction, seed))
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
  data, length = config.data, config.data.length
  if isinstance(rater, OnlineRater):
    rater.require_same_tokens(data, tokenizer)
    rate = rater.rate_for(config.model)
    loader = InformedFilter(load(source, rows=drawn), rate, data.datapoint, config.batch)
    seen = rater.features_flops(config.model, length)
  else:
    rate = batch_rating(rater, data, tokenizer)
    loader = OnlineFilter(load(source, rows=drawn), rate, data.datapoint, config.batch)
    seen = 0
  row = cost.rating_flops(rater.config.model, length, data.datapoints_a_row)
  return Pool(loader, rating_flops_a_step=drawn * (row + seen))
