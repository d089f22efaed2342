"""What a study costs in FLOPs and in days: meta-training, rating a corpus, the final models.

FLOPs are those of the matrix products without recomputation (`models.cost`), so that the
utilisation is the usual model FLOP utilisation.
"""

import dataclasses

from datarater.config import MetaTrainConfig
from datarater.errors import require, require_at_least, require_fractions
from datarater.meta.paper import FINAL_MODELS, LENGTH, paper_model
from datarater.models import cost

SECONDS_A_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Assumptions:
  """What days are reckoned with.

  Args:
    flops_per_second: Peak of one device; the default is that of an H100 (SXM) in bfloat16.
    utilisation: Share of the peak that the work reaches.
    corpus_tokens: Tokens of the corpus to rate.
    discard_fraction: Of the filtered final models, which rate batch/(1-discard_fraction) rows a
      step.
    vocab_size: Tokens of the tokenizer, where its file is not there.
  """

  flops_per_second: float = 989e12
  utilisation: float = 0.4
  corpus_tokens: float = 100e9
  discard_fraction: float = 0.5
  vocab_size: int = 32_000

  def __post_init__(self) -> None:
    for name in ("flops_per_second", "corpus_tokens"):
      value = getattr(self, name)
      require(0 < value < float("inf"), f"{name} is {value}; give a number above 0")
    require(
      0 < self.utilisation <= 1,
      f"utilisation is {self.utilisation}; give a share above 0, at most 1",
    )
    require_fractions(self, "discard_fraction")
    require_at_least(self, 1, "vocab_size")

  def days(self, flops: float, devices: int) -> float:
    """Of `flops` on so many devices."""
    return flops / (self.flops_per_second * self.utilisation * devices) / SECONDS_A_DAY


def rater_parameters(config: MetaTrainConfig, vocab_size: int) -> int:
  """Of a mixture: its domains, as far as they are known."""
  if config.rater_kind == "mixture":
    return len(config.rater_domains)
  # The head has a row more for each feature of an online rater.
  return (
    cost.rater_parameters(config.rater, vocab_size) + config.rater_features * config.rater.width
  )


def inner_parameters(config: MetaTrainConfig, vocab_size: int) -> int:
  """What one inner model trains."""
  if config.lora.rank:
    return cost.adapter_parameters(config.inner, config.lora)
  return cost.language_model_parameters(config.inner, vocab_size)


def meta_step_flops(config: MetaTrainConfig, vocab_size: int) -> int:
  """FLOPs of one meta-step of the whole population."""
  meta = config.meta
  return meta.population * cost.meta_step_flops(
    config.inner,
    None if config.rater_kind == "mixture" else config.rater,
    vocab_size,
    config.data.length,
    unroll_length=meta.unroll_length,
    inner_rows=meta.inner_batch,
    outer_rows=meta.outer_batch,
    datapoints=config.data.datapoints_a_row,
    estimator=meta.estimator,
    residuals=meta.residuals,
    evolution_pairs=meta.evolution_pairs,
    lora=config.lora,
    features=config.rater_features,
  )


def rating_flops(config: MetaTrainConfig, tokens: float) -> float:
  """FLOPs of rating so many tokens in full rows."""
  if config.rater_kind == "mixture":
    return 0.0
  row = cost.rating_flops(config.rater, config.data.length, config.data.datapoints_a_row)
  return tokens / config.data.length * row


def final_model_flops(
  config: MetaTrainConfig, size: str, vocab_size: int, discard_fraction: float | None
) -> float:
  """FLOPs of one of the paper's final models; None for unfiltered.

  A filtered model trains as many steps as the other and rates the rows that it draws: those it
  trains on over 1 - `discard_fraction`.
  """
  final = FINAL_MODELS[size]
  row = cost.training_flops(paper_model(size), vocab_size, LENGTH)
  training = final.steps * final.batch * row
  if discard_fraction is None:
    return training
  drawn = final.tokens / (1 - discard_fraction)
  seen = drawn / LENGTH * _features_flops(config, size, vocab_size)
  return training + rating_flops(config, drawn) + seen


def _features_flops(config: MetaTrainConfig, size: str, vocab_size: int) -> float:
  """FLOPs of what an online rater sees of one row of a final model, and of its reference."""
  if not config.rater_features:
    return 0.0
  seen = [paper_model(size), *([config.inner] if config.rater_reference.run else [])]
  return float(sum(cost.language_model_flops(model, vocab_size, LENGTH) for model in seen))


def workload(
  config: MetaTrainConfig, vocab_size: int, assumptions: Assumptions
) -> dict[str, float]:
  """FLOPs by task: `meta_training`, `rating`, `lm_<size>` and `lm_<size>_filtered`."""
  tasks = {
    "meta_training": float(config.meta.steps * meta_step_flops(config, vocab_size)),
    "rating": rating_flops(config, assumptions.corpus_tokens),
  }
  for size in FINAL_MODELS:
    for suffix, fraction in (("", None), ("_filtered", assumptions.discard_fraction)):
      tasks[f"lm_{size}{suffix}"] = float(final_model_flops(config, size, vocab_size, fraction))
  return tasks
