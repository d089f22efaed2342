"""Scorers that are fitted to a pool and a target, and the folder that holds one.

    scorer = DsirScorer.fit(pool, [texts_target("news", texts)], DsirConfig())
    scorer.save("ratings/scorer")
    load_scorer("ratings/scorer").score(["some text"])

config.json         scorer, its settings, facts, and a sha256 of every other file; written last
model.safetensors   what was learned
tokenizer.*         of scorers that hold a language model; none for bytes
"""

import abc
import dataclasses
import functools
import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import safetensors.numpy

from datarater import scorer_config
from datarater.config_io import from_json, to_json
from datarater.data.fingerprints import DIGEST_BYTES
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError, require
from datarater.runtime.sealed import Sealed
from datarater.scorers.proxy import Proxy
from datarater.scorers.target import Target, require_targets

MODEL = "model.safetensors"
EXCLUDED = "excluded"
FOLDER = Sealed(
  "scorer",
  1,
  "give the folder that `datarater score --scorer` saved",
  "fit it again",
)

SCORERS: dict[str, tuple[str, str]] = {
  "classifier": ("classifier.ClassifierScorer", "ClassifierConfig"),
  "dsdm": ("dsdm.scorer.DsdmScorer", "DsdmConfig"),
  "dsir": ("dsir.DsirScorer", "DsirConfig"),
  "heuristics": ("heuristics.HeuristicsScorer", "HeuristicsConfig"),
  "perplexity": ("perplexity.PerplexityScorer", "PerplexityConfig"),
  "tsds": ("tsds.scorer.TsdsScorer", "TsdsConfig"),
}
"""name → (its class, below this package; that of its settings, in `scorer_config`)."""


@dataclasses.dataclass(frozen=True)
class Fitting:
  """What a fit may use beside pool and target.

  proxies: trained language models to look through. folder: where work is kept that later fits can
  use, or that a killed one goes on with; None: nowhere. progress: bars with the time left.
  """

  proxies: tuple[Proxy, ...] = ()
  folder: Path | None = None
  progress: bool = False


class FittedScorer(abc.ABC):
  """A scorer (`scorers.base`) that was fitted. Pickles by value.

  config: its settings. arrays: what was learned, by flat names. tokenizer: of its language model.
  facts: JSON values that it needs beside, or that say where it comes from (`fit`).
  """

  name: ClassVar[str]

  def __init__(
    self,
    config: Any,
    arrays: Mapping[str, np.ndarray],
    tokenizer: Tokenizer | None = None,
    facts: Mapping[str, Any] | None = None,
  ):
    self.config, self.arrays, self.tokenizer = config, dict(arrays), tokenizer
    self.facts = dict(facts or {})

  @classmethod
  @abc.abstractmethod
  def fit(
    cls,
    pool: Iterable[str],
    targets: Sequence[Target],
    config: Any,
    fitting: Fitting = Fitting(),
  ) -> Self:
    """The scorer for a pool, which is gone through as often as needed, and targets."""

  @classmethod
  def check(cls, targets: Sequence[Target], config: Any, fitting: Fitting) -> None:
    """Raises InputError for what a fit needs and is not given, before any work."""
    del config, fitting
    require_targets(targets, cls.name)

  @abc.abstractmethod
  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32 [N], larger is better; NaN for a text that cannot be rated."""

  @property
  def fit_flops(self) -> float:
    """Operations of the language models that the fit ran; counting words is not counted."""
    return float(self.facts.get("fit_flops", 0.0))

  def score_flops(self, tokens: np.ndarray) -> float:
    """Operations of language models to rate documents of so many tokens."""
    del tokens
    return 0.0

  @functools.cached_property
  def fingerprint(self) -> str:
    """sha256 of settings, facts and what was learned, less where it comes from."""
    facts = {name: value for name, value in self.facts.items() if name != "fit"}
    said = json.dumps([self.name, to_json(self.config), facts], sort_keys=True)
    digest = hashlib.sha256(said.encode())
    if self.tokenizer:
      digest.update(self.tokenizer.fingerprint.encode())
    for name, array in sorted(self.arrays.items()):
      digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

  @functools.cached_property
  def excluded(self) -> frozenset[bytes]:
    """Digests of texts that are not rated, as they are in the target as well."""
    rows = self.arrays.get(EXCLUDED, np.zeros((0, DIGEST_BYTES), np.uint8))
    return frozenset(row.tobytes() for row in rows)

  def but(
    self, *, facts: Mapping[str, Any] | None = None, excluded: Iterable[bytes] | None = None
  ) -> Self:
    """The same with more facts, or without ratings for some texts."""
    arrays = self.arrays
    if excluded is not None:
      joined = b"".join(sorted(excluded))
      arrays = {**arrays, EXCLUDED: np.frombuffer(joined, np.uint8).reshape(-1, DIGEST_BYTES)}
    facts = {**self.facts, **(facts or {})}
    return type(self)(self.config, arrays, self.tokenizer, facts)

  def save(self, folder: str | Path) -> None:
    """Writes the folder whole or not at all; an earlier one there is replaced."""
    tokenizer = self.tokenizer
    values = {
      "scorer": self.name,
      "config": to_json(self.config),
      "facts": self.facts,
      "tokenizer": tokenizer and to_json(TokenizerConfig(tokenizer.kind, tokenizer.file_name)),
    }

    def fill(partial: Path) -> None:
      arrays = {name: np.ascontiguousarray(array) for name, array in sorted(self.arrays.items())}
      safetensors.numpy.save_file(arrays, partial / MODEL)
      if tokenizer:
        tokenizer.save(partial)

    FOLDER.write(Path(folder), values, fill)

  @classmethod
  def load(cls, folder: str | Path) -> Self:
    """What `save` wrote; InputError where it is missing, damaged, or another scorer's."""
    scorer = load_scorer(folder)
    if not isinstance(scorer, cls):
      raise InputError(
        f"scorer {str(folder)!r} is of kind {scorer.name!r}, not {cls.name!r}; give another folder"
      )
    return scorer

  def __reduce__(self) -> tuple[Any, ...]:
    return type(self), (self.config, self.arrays, self.tokenizer, self.facts)


def scorer_class(name: str) -> type[FittedScorer]:
  """By the name of its kind; InputError for an unknown one."""
  require(
    name in SCORERS, f"scorer {name!r} is unknown; choose one of {', '.join(sorted(SCORERS))}"
  )
  module, _, cls = SCORERS[name][0].rpartition(".")
  return getattr(importlib.import_module(f"datarater.scorers.{module}"), cls)


def config_class(name: str) -> type:
  """That of a scorer's settings."""
  scorer_class(name)
  return getattr(scorer_config, SCORERS[name][1])


def load_scorer(folder: str | Path) -> FittedScorer:
  """A saved scorer, whichever it is; InputError where it is missing, damaged, or newer."""
  folder = Path(folder)
  values = FOLDER.read(folder, (MODEL,))
  name = values.get("scorer")
  require(
    isinstance(name, str) and name in SCORERS,
    f"scorer {str(folder)!r} is of kind {name!r}, which is unknown here; {FOLDER.where}",
  )
  name = cast(str, name)
  try:
    config = from_json(config_class(name), values.get("config"))
  except InputError as error:
    raise InputError(f"scorer {str(folder)!r}: {error}; {FOLDER.remake}") from error
  arrays = safetensors.numpy.load_file(folder / MODEL)
  tokenizer = values.get("tokenizer")
  if tokenizer:
    path = str(folder / tokenizer["path"]) if tokenizer["path"] else ""
    tokenizer = load_tokenizer(TokenizerConfig(tokenizer["kind"], path))
  return scorer_class(name)(config, arrays, tokenizer, values.get("facts"))


def require_proxies(fitting: Fitting, scorer: str) -> None:
  """Raises InputError where a scorer that looks through language models has none."""
  require(
    bool(fitting.proxies),
    f"scorer {scorer!r} looks through a language model; give the folder of a finished `datarater "
    "train` (--proxy RUN), trained on text that is no part of the pool",
  )


def require_pool(size: int, scorer: str) -> None:
  """Raises InputError for a pool in which there is nothing to choose."""
  require(
    size >= 2,
    f"scorer {scorer!r} was given a pool of {size} document{'s' * (size != 1)}; give at least two",
  )
