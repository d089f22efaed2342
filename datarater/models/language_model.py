"""The causal language model: next-token negative log-likelihood by token and by datapoint."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from datarater.config import ModelConfig
from datarater.models.transformer import Transformer
from datarater.types import Batch, Datapoint, LossesFn, PyTree, predicted_tokens, sum_by_datapoint


class LanguageModel(nn.Module):
  """Negative log-likelihood BxL in nats of each token given those before it in its segment.

  Position l holds the loss of predicting token l; it is 0 where `loss_mask_BxL` is False.
  `errors` gives 1 instead where another token is likelier, 0 where the token is the likeliest;
  `nll_and_errors` both; `features` BxLxW what logits are made of; `likeliest` the token int32 [B]
  that follows position `at_B` of each row.
  """

  config: ModelConfig
  vocab_size: int

  def setup(self):
    self.transformer = Transformer(self.config, self.vocab_size, causal=True)

  def __call__(self, batch: Batch) -> jax.Array:
    return _nll(self._logits(batch), batch)

  def errors(self, batch: Batch) -> jax.Array:
    return _errors(self._logits(batch), batch)

  def features(self, batch: Batch) -> jax.Array:
    return self.transformer(batch)

  def nll_and_errors(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
    logits = self._logits(batch)
    return _nll(logits, batch), _errors(logits, batch)

  def likeliest(self, batch: Batch, at_B: jax.Array) -> jax.Array:
    features_BxLxW = self.transformer(batch)
    last_Bx1xW = jnp.take_along_axis(features_BxLxW, at_B[:, None, None], axis=1)
    return jnp.argmax(self.transformer.decode(last_Bx1xW)[:, 0], axis=-1)

  def _logits(self, batch: Batch) -> jax.Array:
    return self.transformer.decode(self.transformer(batch)[:, :-1])


def _nll(logits: jax.Array, batch: Batch) -> jax.Array:
  chosen = jnp.take_along_axis(logits, batch.tokens_BxL[:, 1:, None], axis=-1)[..., 0]
  return _where_predicted(jax.nn.logsumexp(logits, axis=-1) - chosen, batch)


def _errors(logits: jax.Array, batch: Batch) -> jax.Array:
  wrong = (jnp.argmax(logits, axis=-1) != batch.tokens_BxL[:, 1:]).astype(logits.dtype)
  # The likeliest of logits that are not numbers is a token as well: divergence must not hide.
  wrong = jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), wrong, jnp.nan)
  return _where_predicted(wrong, batch)


def _where_predicted(values: jax.Array, batch: Batch) -> jax.Array:
  """A value for each token from the second on, as BxL with 0 where nothing is predicted."""
  return jnp.pad(jnp.where(batch.loss_mask_BxL[:, 1:], values, 0.0), ((0, 0), (1, 0)))


def init_language_model(
  config: ModelConfig, vocab_size: int, key: jax.Array, length: int
) -> PyTree:
  """Fresh float32 parameters; `length` only shapes the dummy batch."""
  init = jax.jit(LanguageModel(config, vocab_size).init)
  return init(key, dummy_batch(1, length, 1))["params"]


def token_nll_fn(config: ModelConfig, vocab_size: int) -> Callable[[PyTree, Batch], jax.Array]:
  """(theta, batch) -> nll_BxL, nats; 0 where nothing is predicted."""
  model = LanguageModel(config, vocab_size)

  def token_nll(theta: PyTree, batch: Batch) -> jax.Array:
    return model.apply({"params": theta}, batch)  # type: ignore[return-value]

  return token_nll


def nll_and_errors_fn(
  config: ModelConfig, vocab_size: int
) -> Callable[[PyTree, Batch], tuple[jax.Array, jax.Array]]:
  """(theta, batch) -> (nll_BxL, errors_BxL) of one forward pass; see `LanguageModel`."""
  model = LanguageModel(config, vocab_size)

  def nll_and_errors(theta: PyTree, batch: Batch) -> tuple[jax.Array, jax.Array]:
    return model.apply({"params": theta}, batch, method="nll_and_errors")  # type: ignore[return-value]

  return nll_and_errors


def likeliest_fn(
  config: ModelConfig, vocab_size: int
) -> Callable[[PyTree, Batch, jax.Array], jax.Array]:
  """(theta, batch, at_B) -> int32 [B], the likeliest token after position `at_B` of each row."""
  model = LanguageModel(config, vocab_size)

  def likeliest(theta: PyTree, batch: Batch, at_B: jax.Array) -> jax.Array:
    return model.apply({"params": theta}, batch, at_B, method="likeliest")  # type: ignore[return-value]

  return likeliest


def losses_fn(config: ModelConfig, vocab_size: int, datapoint: Datapoint) -> LossesFn:
  """(theta, batch) -> losses_BxD: mean nats over each datapoint's predicted tokens, 0 if none."""
  token_nll = token_nll_fn(config, vocab_size)

  def losses(theta: PyTree, batch: Batch) -> jax.Array:
    totals = sum_by_datapoint(token_nll(theta, batch), batch, datapoint)
    return totals / jnp.maximum(predicted_tokens(batch, datapoint), 1.0).astype(totals.dtype)

  return losses


def mean_loss_fn(token_nll: Callable[[PyTree, Batch], jax.Array]):
  """(theta, batch) -> mean nats over all predicted tokens of the batch: the outer loss L too."""

  def mean_loss(theta: PyTree, batch: Batch) -> jax.Array:
    nll_BxL = token_nll(theta, batch)
    return jnp.sum(nll_BxL) / jnp.maximum(jnp.sum(batch.loss_mask_BxL), 1).astype(nll_BxL.dtype)

  return mean_loss


def error_rate_fn(config: ModelConfig, vocab_size: int) -> Callable[[PyTree, Batch], jax.Array]:
  """(theta, batch) -> share of the predicted tokens that are not the likeliest, float32 scalar.

  A step function of theta: its derivative is zero wherever it has one. NaN where a logit is.
  """
  model = LanguageModel(config, vocab_size)

  def token_errors(theta: PyTree, batch: Batch) -> jax.Array:
    return model.apply({"params": theta}, batch, method="errors")  # type: ignore[return-value]

  return mean_loss_fn(token_errors)


def outer_loss_fn(
  name: Literal["nll", "error_rate"], config: ModelConfig, vocab_size: int
) -> Callable[[PyTree, Batch], jax.Array]:
  """(theta, batch) -> the outer loss that `meta.outer_loss` names, a scalar."""
  if name == "error_rate":
    return error_rate_fn(config, vocab_size)
  return mean_loss_fn(token_nll_fn(config, vocab_size))


def dummy_batch(rows: int, length: int, segments: int) -> Batch:
  """A batch of one full segment a row, all tokens 0: for shapes."""
  grid = jnp.zeros((rows, length), jnp.int32)
  ids = jnp.full((rows, segments), -1, jnp.int32).at[:, 0].set(0)
  positions = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), grid.shape)
  return Batch(grid, grid + 1, positions, ids, ids, jnp.zeros_like(ids))
