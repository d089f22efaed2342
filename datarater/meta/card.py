"""The card of a rater: what it was trained on and for, and where not to trust it."""

from datarater.config import MetaTrainConfig
from datarater.meta.workload import rater_parameters
from datarater.runtime.quantiles import RatingsCdf
from datarater.variant_config import LoraConfig

_CARD = """# Rater `{name}`

Rates text: the higher, the more training on it lowered the loss on held-out text. Ratings have no
unit and no zero; compare them with each other only.

| | |
|---|---|
| trained on | `{dataset}`, split `{inner}`{excluded} |
| objective | {objective} |
| meta-steps | {steps}, {population} inner models, {unroll} updates a meta-step, seed {seed} |
| rater | {rater} |
| inner models | width {width}, {layers} layers, trained by {optimizer}{adapters} |
| ratings of its pool | median {median:.4g}, 5% to 95% {low:.4g} to {high:.4g}, of {count:,} |

## Limits

{limits}
- It knows the text it was trained on: on other domains or languages its ratings are a guess.
- It prefers what helped small models early in training; larger or longer-trained ones may want less
  filtering, or none. Compare with unfiltered and randomly thinned data before you rely on it.
- It inherits whatever bias its target holds. It does not judge truth, safety or licences.
"""

_NETWORK = "{parameters:,} parameters, one rating a {datapoint}, rows of {length} tokens"
_MIXTURE = "no network, one logit for each of {count} domains: {names}"

_ONLINE = ", and {features} of the model in training"
_FEATURES = ("", "the loss", "the loss and its excess over a reference model's")
_LORA = ", adapters of rank {rank} on a frozen base (sha256 {fingerprint})"

_LIMITS = {
  "network": "- A document longer than a row is rated in chunks, averaged by tokens.",
  "mixture": "- It rates a document by its domain alone: of other domains it says nothing.",
  "online": "- It rates batches for the model in training alone: `selection.mode = online`. Its\n"
  "  CDF is that of the ratings for one of the models it was trained with.",
}

_DATAPOINTS = {
  "sequence": "sequence",
  "document": "document",
  "token": "token (a document's is their mean over its predicted tokens)",
}


def rater_card(config: MetaTrainConfig, cdf: RatingsCdf, vocab_size: int) -> str:
  """Markdown text of `card.md`."""
  data, meta = config.data, config.meta
  target = data.target_domain or data.target_dataset
  last = len(cdf.quantiles) - 1
  return _CARD.format(
    name=config.name,
    dataset=data.dataset,
    inner=data.inner,
    excluded=f" without {', '.join(data.exclude_domains)}" if data.exclude_domains else "",
    objective=f"loss on the target `{target}`"
    if meta.objective == "target"
    else "loss on held-out text of the same distribution",
    steps=meta.steps,
    population=meta.population,
    unroll=meta.unroll_length,
    seed=config.seed,
    rater=_rater(config, vocab_size),
    adapters=_adapters(config.lora),
    limits=_LIMITS[config.rater_kind],
    width=config.inner.width,
    layers=config.inner.layers,
    optimizer=config.inner_optimizer.name,
    median=cdf.quantiles[last // 2],
    low=cdf.quantiles[last // 20],
    high=cdf.quantiles[last - last // 20],
    count=cdf.count,
  )


def _rater(config: MetaTrainConfig, vocab_size: int) -> str:
  domains = config.rater_domains
  if config.rater_kind == "mixture":
    return _MIXTURE.format(count=len(domains), names=", ".join(domains))
  network = _NETWORK.format(
    parameters=rater_parameters(config, vocab_size),
    datapoint=_DATAPOINTS[config.data.datapoint],
    length=config.data.length,
  )
  if not config.rater_features:
    return network
  return network + _ONLINE.format(features=_FEATURES[config.rater_features])


def _adapters(lora: LoraConfig) -> str:
  return _LORA.format(rank=lora.rank, fingerprint=lora.base.fingerprint) if lora.rank else ""
