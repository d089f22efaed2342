"""Settings of text on its way into training: where it lies, its splits, how it becomes rows."""

import dataclasses
from typing import Literal

from datarater.errors import require, require_at_least

SPLITS = ("inner", "outer", "lm", "validation", "test")
TARGET_SPLITS = ("outer", "validation", "test")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """How text becomes tokens.

  Args:
    kind: `bytes` needs no file, the others read `path`.
    path: A tokenizer.json of Hugging Face, or a SentencePiece .model.
  """

  kind: Literal["bytes", "huggingface", "sentencepiece"] = "bytes"
  path: str = ""

  def __post_init__(self) -> None:
    require(
      self.kind == "bytes" or bool(self.path),
      f"TokenizerConfig.path is empty for kind {self.kind!r}; name the tokenizer's file",
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where text comes from and how it becomes rows of tokens.

  The five splits must not overlap.

  Args:
    dataset: `bundled`, a folder prepared as array_record, the output of `select` (its split is
      `train`), or a TFDS name (`c4/en:3.1.0`).
    target_dataset: Where outer, validation and test come from; empty: the same dataset.
    target_domain: Their domain; with target_dataset empty too, the pool's distribution.
    inner: TFDS split expression (`train[:60%]`) of the text that inner models train on.
    outer: Of the held-out text whose loss the rater learns to lower.
    lm: Of the pool that language models train on.
    validation: Of the held-out text to choose settings by.
    test: Of the held-out text to report once.
    exclude_domains: Domains left out of the pool (inner and lm).
    text_key: Feature that holds the text.
    id_key: Feature that holds the document's id.
    domain_key: Feature that holds its domain.
    tokenizer: How text becomes tokens.
    length: Tokens a row.
    segments: Most documents, or chunks of them, a row.
    datapoint: What gets one rating: a packed row, each document inside it, or each token.
    shuffle_window: Chunks shuffled together, so that a long document does not fill a batch.
    noise_levels: For the toy of Figure 3: fractions of tokens replaced at random in the pool. A
      document's level goes by its index, its domain becomes `noise_<level>`.
  """

  dataset: str = "bundled"
  target_dataset: str = ""
  target_domain: str = ""
  inner: str = "inner"
  outer: str = "outer"
  lm: str = "lm"
  validation: str = "validation"
  test: str = "test"
  exclude_domains: tuple[str, ...] = ()
  text_key: str = "text"
  id_key: str = "id"
  domain_key: str = "domain"
  tokenizer: TokenizerConfig = TokenizerConfig()
  length: int = 128
  segments: int = 8
  datapoint: Literal["sequence", "document", "token"] = "sequence"
  shuffle_window: int = 2048
  noise_levels: tuple[float, ...] = ()

  def __post_init__(self) -> None:
    require_at_least(self, 2, "length")
    require_at_least(self, 1, "segments", "shuffle_window")
    for level in self.noise_levels:
      require(
        0.0 <= level <= 1.0, f"DataConfig.noise_levels holds {level}; give fractions from 0 to 1"
      )

  @property
  def datapoints_a_row(self) -> int | None:
    """How many are pooled from a row's tokens; None where each token is one."""
    return {"sequence": 1, "document": self.segments, "token": None}[self.datapoint]

  @property
  def has_target(self) -> bool:
    """Whether the held-out splits come from a chosen target instead of the pool's distribution."""
    return bool(self.target_dataset or self.target_domain)
