"""What a config leaves to be found out, found out: so that a run's `config.json` says it."""

import dataclasses

from datarater.config import MetaTrainConfig
from datarater.data.sources import open_source
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.errors import require
from datarater.meta.build import BASE, REFERENCE, frozen_configs
from datarater.training.frozen import FrozenModel, load_frozen
from datarater.types import PyTree
from datarater.variant_config import FrozenConfig

_FIELDS = {BASE: "lora.base", REFERENCE: "rater_reference"}
_SHAPE = ("width", "layers", "heads", "mlp_width")


def settled(config: MetaTrainConfig) -> tuple[MetaTrainConfig, PyTree]:
  """The config with a mixture's domains and the fingerprints of frozen models; and these models.

  They are numpy arrays, by name as in `FrozenMetaState`; None where there are none.
  Raises InputError where the config names other domains or models than there are.
  """
  if config.rater_kind == "mixture":
    config = dataclasses.replace(config, rater_domains=_domains(config))
  models = _frozen_models(config)
  for name, model in models.items():
    run = FrozenConfig(frozen_configs(config)[name].run, model.fingerprint)
    if name == BASE:
      config = dataclasses.replace(config, lora=dataclasses.replace(config.lora, base=run))
    else:
      config = dataclasses.replace(config, rater_reference=run)
  return config, {name: model.theta for name, model in models.items()} or None


def _domains(config: MetaTrainConfig) -> tuple[str, ...]:
  domains = open_source(config.data, "inner").domains
  require(
    config.rater_domains in ((), domains),
    f"rater_domains is {config.rater_domains}, but the domains of the inner split are {domains}; "
    "give these, or none",
  )
  return domains


def _frozen_models(config: MetaTrainConfig) -> dict[str, FrozenModel]:
  configs = frozen_configs(config)
  if not configs:
    return {}
  tokenizer = load_tokenizer(config.data.tokenizer)
  return {name: _frozen_model(config, name, tokenizer) for name in configs}


def _frozen_model(config: MetaTrainConfig, name: str, tokenizer: Tokenizer) -> FrozenModel:
  frozen = frozen_configs(config)[name]
  model = load_frozen(frozen, _FIELDS[name], tokenizer)
  differ = [
    f"{field} {getattr(model.config, field)} and not {getattr(config.inner, field)}"
    for field in _SHAPE
    if getattr(model.config, field) != getattr(config.inner, field)
  ]
  require(
    not differ,
    f"{_FIELDS[name]}.run {frozen.run!r} is of another architecture than inner: "
    f"{', '.join(differ)}; give a model like inner, or an inner like it",
  )
  return model
