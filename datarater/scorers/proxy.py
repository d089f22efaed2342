"""A trained language model that other scorers look through: its losses and its features."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from datarater.config import ModelConfig, TrainConfig
from datarater.config_io import from_json
from datarater.data.documents import RowShapes, default_batch_tokens, rate_documents
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.errors import InputError
from datarater.models import cost
from datarater.models.attention import for_inference
from datarater.models.language_model import LanguageModel, losses_fn
from datarater.runtime.atomic import read_json
from datarater.runtime.run_folder import CONFIG
from datarater.training.frozen import fingerprint
from datarater.training.lm import load_language_model
from datarater.types import Batch, PyTree

THETA = "theta"


@dataclasses.dataclass(frozen=True)
class Proxy:
  """model: its shape. length: of its rows. theta: numpy arrays. Pickles by value."""

  model: ModelConfig
  length: int
  tokenizer: Tokenizer
  theta: PyTree

  @functools.cached_property
  def fingerprint(self) -> str:
    """sha256 of the parameters and of the tokenizer."""
    return hashlib.sha256(
      f"{fingerprint(self.theta)} {self.tokenizer.fingerprint} {self.length}".encode()
    ).hexdigest()

  def nll(self, texts: Sequence[str], progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(mean nats a token float32 [N], tokens int32 [N]); NaN for a text without tokens."""
    return rate_documents(texts, self.tokenizer, self._nll_BxS, self.shapes, progress=progress)

  def embed(self, texts: Sequence[str], progress: bool = False) -> np.ndarray:
    """float32 [N, W]: the mean of the last features over what is predicted; NaN without tokens."""
    return self.embed_with_tokens(texts, progress)[0]

  def embed_with_tokens(
    self, texts: Sequence[str], progress: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    """(`embed`, tokens int32 [N])."""
    width = self.model.width
    return rate_documents(
      texts, self.tokenizer, self._embed_BxSxW, self.shapes, progress=progress, width=width
    )

  def forward_flops(self, tokens: np.ndarray) -> float:
    """Of one pass over documents of so many tokens: a third of a training step."""
    row = cost.training_flops(self.model, self.tokenizer.vocab_size, self.length) / 3
    return row * float(np.sum(-(-tokens.astype(np.int64) // (self.length - 1))))

  @functools.cached_property
  def shapes(self) -> RowShapes:
    """Of the batches that it sees."""
    return RowShapes(self.length, default_batch_tokens())

  def arrays(self) -> dict[str, np.ndarray]:
    """Its parameters by flat names, for a file."""
    flat = flax.traverse_util.flatten_dict({THETA: self.theta}, sep="/")
    return {name: np.asarray(value) for name, value in flat.items()}

  @functools.cached_property
  def _nll_BxS(self) -> Callable[[Batch], jax.Array]:
    model = for_inference(self.model)
    losses = jax.jit(losses_fn(model, self.tokenizer.vocab_size, "document"))
    return functools.partial(losses, self.theta)

  @functools.cached_property
  def _embed_BxSxW(self) -> Callable[[Batch], jax.Array]:
    model = LanguageModel(for_inference(self.model), self.tokenizer.vocab_size)

    @jax.jit
    def embed(theta: PyTree, batch: Batch) -> jax.Array:
      features_BxLxW = model.apply({"params": theta}, batch, method="features")
      return segment_means(features_BxLxW, batch)  # type: ignore[arg-type]

    return functools.partial(embed, self.theta)

  def __getstate__(self) -> dict[str, Any]:
    """Without what is compiled."""
    return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def segment_means(values_BxLxW: jax.Array, batch: Batch) -> jax.Array:
  """BxSxW: the mean over each segment's predicted tokens; 0 without any."""
  segments = batch.document_ids_BxS.shape[1]
  mine_BxLxS = batch.segment_ids_BxL[..., None] == jnp.arange(1, segments + 1)[None, None]
  mine_BxLxS = (mine_BxLxS & batch.loss_mask_BxL[..., None]).astype(values_BxLxW.dtype)
  sums_BxSxW = jnp.einsum("blw,bls->bsw", values_BxLxW, mine_BxLxS)
  return sums_BxSxW / jnp.maximum(mine_BxLxS.sum(axis=1), 1)[..., None]


def load_proxy(run_dir: str | Path) -> Proxy:
  """The language model of a finished `datarater train`; InputError for a folder without one."""
  folder = Path(run_dir)
  config = from_json(TrainConfig, read_json(folder / CONFIG, "run config"))
  tokenizer = load_tokenizer(config.data.tokenizer)
  try:
    theta = load_language_model(config, tokenizer.vocab_size, folder)
  except FileNotFoundError as error:
    raise InputError(f"{error}; give the folder of a finished `datarater train`") from error
  return Proxy(config.model, config.data.length, tokenizer, theta)


def proxy_of(
  model: ModelConfig, length: int, tokenizer: Tokenizer, arrays: Mapping[str, np.ndarray]
) -> Proxy:
  """What `arrays` came from; other names are left alone."""
  flat = {name: value for name, value in arrays.items() if name.startswith(f"{THETA}/")}
  return Proxy(model, length, tokenizer, flax.traverse_util.unflatten_dict(flat, sep="/")[THETA])
