"""Low-rank adapters: θ is what is trained, the base model a constant.

    W = W_0 + α/r · A B        A: in x r, random; B: r x out, zero at the start

so that the first loss is the base's. The sum is made once a batch, and the model runs as ever.
Source: Hu et al. 2021 (LoRA, arXiv 2106.09685), section 4.1.
"""

import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models.cost import projection_shape
from datarater.types import PyTree
from datarater.variant_config import PROJECTIONS, LoraConfig


def init_adapters(config: ModelConfig, lora: LoraConfig, key: jax.Array) -> PyTree:
  """{projection: {"a": layers x in x rank, "b": layers x rank x out}}, float32."""

  def adapter(projection: str) -> PyTree:
    rows, columns = projection_shape(config, projection)
    a_key = jax.random.fold_in(key, PROJECTIONS.index(projection))
    return {
      "a": jax.random.normal(a_key, (config.layers, rows, lora.rank)) * rows**-0.5,
      "b": jnp.zeros((config.layers, lora.rank, columns)),
    }

  return {projection: adapter(projection) for projection in lora.projections}


def merged(base: PyTree, adapters: PyTree, lora: LoraConfig) -> PyTree:
  """Parameters of the language model, like `base`."""
  blocks = dict(base["transformer"]["blocks"])
  for projection, adapter in adapters.items():
    # Kernels are parameters: a product rounded to bfloat16 would lose small changes.
    change = jnp.einsum(
      "lir,lro->lio", adapter["a"], adapter["b"], precision=jax.lax.Precision.HIGHEST
    )
    kernel = blocks[projection]["kernel"]
    blocks[projection] = {"kernel": kernel + lora.alpha / lora.rank * change}
  return {**base, "transformer": {**base["transformer"], "blocks": blocks}}
