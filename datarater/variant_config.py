"""Settings of what differs from a rater of text and whole inner models: the variants."""

import dataclasses
from typing import Any, Literal

from datarater.errors import require, require_at_least

PROJECTIONS = ("query", "key", "value", "attention_out", "mlp_in", "mlp_out")
"""The matrices of a block, in the order in which they are used."""


@dataclasses.dataclass(frozen=True)
class FrozenConfig:
  """A trained language model that a run uses and never changes.

  Args:
    run: Folder of a `datarater train`; empty for none.
    fingerprint: sha256 of its parameters; empty: filled in when the run starts, so that the run
      goes on with no other.
  """

  run: str = ""
  fingerprint: str = ""


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Low-rank adapters on a frozen base model (Hu et al. 2021, arXiv 2106.09685).

  Args:
    rank: Of the change to each matrix; 0: no adapters, the whole model is trained.
    alpha: The change is alpha / rank times the product of the two adapter matrices.
    projections: Which matrices of each block have adapters.
    base: The frozen model.
  """

  rank: int = 0
  alpha: float = 16.0
  projections: tuple[
    Literal["query", "key", "value", "attention_out", "mlp_in", "mlp_out"], ...
  ] = ("query", "value")
  base: FrozenConfig = FrozenConfig()

  def __post_init__(self) -> None:
    require_at_least(self, 0, "rank")
    require(self.alpha > 0, f"LoraConfig.alpha is {self.alpha}; give a number above 0")
    require(
      bool(self.projections) and len(set(self.projections)) == len(self.projections),
      f"lora.projections is {self.projections}; give one or more of {', '.join(PROJECTIONS)}, each "
      "once",
    )
    require(
      (self.rank > 0) == bool(self.base.run),
      f"lora.rank is {self.rank} and lora.base.run {self.base.run!r}; give both, or neither",
    )


def require_fitting(config: Any) -> None:
  """Raises InputError where the variants of a `MetaTrainConfig` do not go with its other fields."""
  require(
    config.rater_kind != "mixture" or config.data.datapoint == "document",
    f"rater_kind is 'mixture' and data.datapoint {config.data.datapoint!r}, which may hold several "
    "domains or none; set data.datapoint to 'document'",
  )
  require(
    config.rater_kind == "mixture" or not config.rater_domains,
    f"rater_domains is {config.rater_domains} and rater_kind {config.rater_kind!r}; only a mixture "
    "has domains, set rater_kind to 'mixture'",
  )
  require(
    config.rater_kind == "online" or not config.rater_reference.run,
    f"rater_reference.run is {config.rater_reference.run!r} and rater_kind {config.rater_kind!r}; "
    "only an online rater sees it, set rater_kind to 'online'",
  )
  require(
    config.rater_kind != "online"
    or (config.data.datapoint != "token" and config.meta.microbatch == 0),
    f"rater_kind is 'online' with data.datapoint {config.data.datapoint!r} and meta.microbatch "
    f"{config.meta.microbatch}; set data.datapoint to 'document' or 'sequence', and "
    "meta.microbatch to 0",
  )
  require(
    config.lora.rank == 0
    or config.inner_optimizer.name not in ("adam", "adamw")
    or config.inner_optimizer.eps_root > 0,
    "inner_optimizer.eps_root is 0 with lora, whose first gradients are zero in half of its "
    "matrices: the meta-gradient would be NaN; give 1e-12",
  )
