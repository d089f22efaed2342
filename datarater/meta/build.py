"""From a config to a run's pure functions: the one place where models meet the meta-step."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from datarater.config import MetaTrainConfig
from datarater.meta import estimators, unroll
from datarater.meta import step as meta_step
from datarater.models import informed, language_model, lora, mixture, rater
from datarater.training.optimizers import make_optimizer
from datarater.types import (
  Batch,
  Datapoint,
  LossesFn,
  LossesWithConstants,
  MetaState,
  PyTree,
  RateFn,
  with_frozen,
)
from datarater.variant_config import FrozenConfig

ETA_KEY, POPULATION_KEY = 0, 1
BASE, REFERENCE = "base", "reference"
"""Names of frozen models: of adapters, and of an online rater."""


def build(
  config: MetaTrainConfig, vocab_size: int
) -> tuple[Callable[[], MetaState], meta_step.MetaStepFn]:
  """(initial state as a function of nothing, the meta-step): pure, neither compiled.

  Frozen models are zeros in the initial state: `trainer` puts in what it has read.
  """
  datapoint = config.data.datapoint
  optimizer = make_optimizer(config.inner_optimizer)
  root = jax.random.key(config.seed)
  key = jax.random.fold_in(root, POPULATION_KEY)
  shape = _models(config, vocab_size, None)

  def init() -> MetaState:
    eta = shape.rater.init(jax.random.fold_in(root, ETA_KEY))
    state = meta_step.init_state(config.meta, eta, shape.inner.init, optimizer, key)
    return with_frozen(state, _zeros(config, vocab_size))

  def step(state: MetaState, inner: Batch, outer: Batch):
    models = _models(config, vocab_size, getattr(state, "frozen", None))
    problem = estimators.Problem(
      rate=models.rater.rate,
      losses=models.inner.losses(datapoint),
      outer_loss=models.inner.outer_loss,
      optimizer=optimizer,
      datapoint=datapoint,
      rate_hook=models.rater.hook,
      microbatch=config.meta.microbatch,
    )
    estimate = estimators.make_estimator(config.meta, problem)
    meta = meta_step.make_meta_step(
      config.meta, estimate, models.inner.init, optimizer, key, datapoint, config.mesh.member
    )
    return meta(state, inner, outer)

  return init, step


@dataclasses.dataclass(frozen=True)
class InnerParts:
  """An inner model. init: key -> theta. losses: datapoint -> (theta, batch) -> losses_BxD."""

  init: Callable[[jax.Array], PyTree]
  losses: Callable[[Datapoint], LossesFn]
  outer_loss: estimators.OuterLossFn


@dataclasses.dataclass(frozen=True)
class RaterParts:
  """A kind of rater. init: key -> eta. rate: of a batch, before the unroll. hook: within it."""

  init: Callable[[jax.Array], PyTree]
  rate: RateFn
  hook: unroll.RateHook = unroll.constant_in_theta


@dataclasses.dataclass(frozen=True)
class _Models:
  inner: InnerParts
  rater: RaterParts


def _models(config: MetaTrainConfig, vocab_size: int, frozen: PyTree) -> _Models:
  inner = inner_parts(config, vocab_size, frozen)
  return _Models(inner, _rater_parts(config, vocab_size, inner, frozen))


def inner_parts(config: MetaTrainConfig, vocab_size: int, frozen: PyTree) -> InnerParts:
  """Whole language models, or adapters on the frozen one."""

  def parameters(theta: PyTree) -> PyTree:
    return lora.merged(frozen[BASE], theta, config.lora) if config.lora.rank else theta

  def init(key: jax.Array) -> PyTree:
    if config.lora.rank:
      return lora.init_adapters(config.inner, config.lora, key)
    return language_model.init_language_model(config.inner, vocab_size, key, config.data.length)

  def losses(datapoint: Datapoint) -> LossesFn:
    of_parameters = language_model.losses_fn(config.inner, vocab_size, datapoint)
    if not config.lora.rank:
      return of_parameters
    return LossesWithConstants(
      lambda base, theta, batch: of_parameters(lora.merged(base, theta, config.lora), batch),
      frozen and frozen[BASE],
    )

  outer_loss = language_model.outer_loss_fn(config.meta.outer_loss, config.inner, vocab_size)
  return InnerParts(init, losses, lambda theta, batch: outer_loss(parameters(theta), batch))


def _rater_parts(
  config: MetaTrainConfig, vocab_size: int, inner: InnerParts, frozen: PyTree
) -> RaterParts:
  """The rater that `config.rater_kind` names."""
  if config.rater_kind == "mixture":
    # Without a pool to read, as in a plan, the domains are not known: one stands for all.
    domains = len(config.rater_domains) or 1
    return RaterParts(lambda key: mixture.init_mixture(domains), mixture.rate_domains)
  number, datapoint = config.rater_features, config.data.datapoint
  init = rater.init_rater
  network = RaterParts(
    lambda key: init(config.rater, vocab_size, key, config.data.length, number),
    rater.rate_fn(config.rater, vocab_size, datapoint, number),
  )
  if not number:
    return network
  features = features_of(config, vocab_size, datapoint, inner, frozen)

  def hook(theta: PyTree, batch: Batch, coefficients_BxDxC: jax.Array) -> jax.Array:
    features_BxDxK = checkpoint_name(features(theta, batch), unroll.SAVED)
    return informed.informed_ratings(coefficients_BxDxC, features_BxDxK)

  return dataclasses.replace(network, hook=hook)


def features_of(
  config: MetaTrainConfig,
  vocab_size: int,
  datapoint: Datapoint,
  inner: InnerParts,
  frozen: PyTree,
) -> informed.FeaturesFn:
  """What an online rater sees of an inner model, by datapoint."""
  losses = inner.losses(datapoint)
  if not config.rater_reference.run:
    return informed.features_fn(losses, vocab_size)
  of_reference = language_model.losses_fn(config.inner, vocab_size, datapoint)
  return informed.features_fn(
    losses, vocab_size, lambda batch: of_reference(frozen[REFERENCE], batch)
  )


def _zeros(config: MetaTrainConfig, vocab_size: int) -> PyTree:
  """Frozen models of the right shapes; None where there are none."""
  names = frozen_configs(config)
  if not names:
    return None
  init, length = language_model.init_language_model, config.data.length
  shapes = jax.eval_shape(lambda: init(config.inner, vocab_size, jax.random.key(0), length))
  return {name: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes) for name in names}


def frozen_configs(config: MetaTrainConfig) -> dict[str, FrozenConfig]:
  """The frozen models that a run uses, by name; all are of the inner models' architecture."""
  named = {BASE: config.lora.base, REFERENCE: config.rater_reference}
  return {name: frozen for name, frozen in named.items() if frozen.run}
