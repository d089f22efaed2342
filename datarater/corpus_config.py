"""Settings of work on corpora: how documents are rated, how files are read, and where."""

import dataclasses
from typing import Any, Literal

from datarater.errors import require

EngineName = Literal["local", "ray"]
"""Where the work on a corpus is done; see `curation.engines`."""


@dataclasses.dataclass(frozen=True)
class RatingConfig:
  """How a trained rater rates whole documents.

  Args:
    pooling: How the ratings of a document's chunks, where it is longer than the rater's context,
      become one; the mean is weighted by tokens.
    dtype: Of activations; empty: as the rater was trained.
    batch_tokens: Rated at once on each device; 0: 2,048 on a CPU, whose caches they fit, and
      65,536 on accelerators. Ratings depend on it in their last bits.
  """

  pooling: Literal["mean", "max", "min", "first", "last"] = "mean"
  dtype: Literal["", "float32", "bfloat16"] = ""
  batch_tokens: int = 0

  def __post_init__(self) -> None:
    require(
      self.batch_tokens >= 0,
      f"RatingConfig.batch_tokens is {self.batch_tokens}; give 1 or more, or 0 for the default",
    )


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """How a corpus is read and what is written beside each rating.

  Args:
    text_key: Field of the text; dots lead into nested objects.
    id_key: Field of the id; where it is missing, the id comes from the text.
    domain_key: Field of the domain.
    signals: Write heuristics of the text too (words, sentences, C4's rules, ...), to filter by.
    fingerprints: Write hashes and MinHash signatures too, to remove duplicates by.
    max_record_mib: Larger records are set aside.
  """

  text_key: str = "text"
  id_key: str = "id"
  domain_key: str = "domain"
  signals: bool = False
  fingerprints: bool = False
  max_record_mib: float = 32.0

  @property
  def reading(self) -> dict[str, Any]:
    """Arguments of `data.formats.read_records`."""
    return {
      "text_key": self.text_key,
      "id_key": self.id_key,
      "domain_key": self.domain_key,
      "max_record_bytes": int(self.max_record_mib * (1 << 20)),
    }

  def __post_init__(self) -> None:
    require(bool(self.text_key), "ScoreConfig.text_key is empty; name the field of the text")
    require(
      self.max_record_mib > 0,
      f"ScoreConfig.max_record_mib is {self.max_record_mib}; give a number above 0",
    )
