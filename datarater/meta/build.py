"""From a config to a run's pure functions: the one place where models meet the meta-step."""

import dataclasses
from collections.abc import Callable

import jax

from datarater.config import MetaTrainConfig
from datarater.meta import estimators
from datarater.meta import step as meta_step
from datarater.models import language_model, mixture, rater
from datarater.training.optimizers import make_optimizer
from datarater.types import MetaState, PyTree, RateFn

ETA_KEY, POPULATION_KEY = 0, 1


def build(
  config: MetaTrainConfig, vocab_size: int
) -> tuple[Callable[[], MetaState], meta_step.MetaStepFn]:
  """(initial state as a function of nothing, the meta-step): pure, neither compiled."""
  datapoint = config.data.datapoint
  optimizer = make_optimizer(config.inner_optimizer)
  parts = rater_parts(config, vocab_size)
  problem = estimators.Problem(
    rate=parts.rate,
    losses=language_model.losses_fn(config.inner, vocab_size, datapoint),
    outer_loss=language_model.outer_loss_fn(config.meta.outer_loss, config.inner, vocab_size),
    optimizer=optimizer,
    datapoint=datapoint,
    microbatch=config.meta.microbatch,
  )
  root = jax.random.key(config.seed)
  key = jax.random.fold_in(root, POPULATION_KEY)
  length = config.data.length

  def init_inner(key: jax.Array) -> PyTree:
    return language_model.init_language_model(config.inner, vocab_size, key, length)

  def init() -> MetaState:
    eta = parts.init(jax.random.fold_in(root, ETA_KEY))
    return meta_step.init_state(config.meta, eta, init_inner, optimizer, key)

  estimate = estimators.make_estimator(config.meta, problem)
  step = meta_step.make_meta_step(
    config.meta, estimate, init_inner, optimizer, key, datapoint, config.mesh.member
  )
  return init, step


@dataclasses.dataclass(frozen=True)
class RaterParts:
  """A kind of rater. init: key -> eta. rate: of a batch, before the unroll."""

  init: Callable[[jax.Array], PyTree]
  rate: RateFn


def rater_parts(config: MetaTrainConfig, vocab_size: int) -> RaterParts:
  """The rater that `config.rater_kind` names."""
  if config.rater_kind == "mixture":
    # Without a pool to read, as in a plan, the domains are not known: one stands for all.
    domains = len(config.rater_domains) or 1
    return RaterParts(lambda key: mixture.init_mixture(domains), mixture.rate_domains)
  return RaterParts(
    lambda key: rater.init_rater(config.rater, vocab_size, key, config.data.length),
    rater.rate_fn(config.rater, vocab_size, config.data.datapoint),
  )
