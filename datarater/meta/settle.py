"""What a config leaves to be found out, found out: so that a run's `config.json` says it."""

import dataclasses

from datarater.config import MetaTrainConfig
from datarater.data.sources import open_source
from datarater.errors import require


def settled(config: MetaTrainConfig) -> MetaTrainConfig:
  """The config with the domains that a mixture is of.

  Raises InputError where it names others.
  """
  if config.rater_kind != "mixture":
    return config
  domains = open_source(config.data, "inner").domains
  require(
    config.rater_domains in ((), domains),
    f"rater_domains is {config.rater_domains}, but the domains of the inner split are {domains}; "
    "give these, or none",
  )
  return dataclasses.replace(config, rater_domains=domains)
