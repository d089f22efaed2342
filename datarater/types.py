"""Values that cross module borders, and the one legend of axes.

    B  rows of a batch              L  tokens a row
    S  most segments a row          a segment is a document, or a chunk of one
    D  datapoints a row             1 for `sequence`; S for `document`; L for `token`
    P  members of the population    T  inner updates of a meta-step
    V  vocabulary                   W  width of a model

A name carries its axes: `tokens_BxL`. A further leading axis (P, T) is put in front.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any
Datapoint = Literal["sequence", "document", "token"]


@flax.struct.dataclass
class Batch:
  """Packed rows of tokens. Segments are numbered from 1 in each row; 0 is padding.

  tokens_BxL: int32. The first token of every segment is the tokenizer's separator, so that each
    token of text is predicted from something.
  segment_ids_BxL: int32. positions_BxL: int32, from 0 in each segment.
  document_ids_BxS: int32, the record's index in its source, -1 where there is no segment.
  domain_BxS: int32, index into the source's domain names, -1 where there is no segment.
  bytes_BxS: int32, UTF-8 bytes of the text that each segment stands for.
  """

  tokens_BxL: Any
  segment_ids_BxL: Any
  positions_BxL: Any
  document_ids_BxS: Any
  domain_BxS: Any
  bytes_BxS: Any

  @property
  def loss_mask_BxL(self) -> Any:
    """True where the token is predicted: all but padding and the first token of a segment."""
    return (self.segment_ids_BxL > 0) & (self.positions_BxL > 0)


@flax.struct.dataclass
class WeightedBatch:
  """A batch and what each segment weighs: weights_BxS, 0 where there is none; they add to 1."""

  batch: Batch
  weights_BxS: Any


@flax.struct.dataclass
class InnerState:
  """One inner model, or a population with a leading axis P.

  theta: parameters. opt_state: of the inner optimiser. age: int32, meta-steps since the last
  (re-)initialisation. generation: int32, how often it was re-initialised.
  """

  theta: PyTree
  opt_state: PyTree
  age: jax.Array
  generation: jax.Array


@flax.struct.dataclass
class MetaState:
  """All that meta-training carries from one meta-step to the next.

  eta: the rater's parameters. moments: Adam's, one a member (leading axis P). members: the
  population. step: int32. skipped, skipped_in_row: int32, updates left out because something was
  not finite, in all and up to now without a break.
  """

  eta: PyTree
  moments: PyTree
  members: InnerState
  step: jax.Array
  skipped: jax.Array
  skipped_in_row: jax.Array


@flax.struct.dataclass
class FrozenMetaState(MetaState):
  """frozen: parameters, by name, of models that the run uses and never changes."""

  frozen: PyTree


def with_frozen(state: MetaState, frozen: PyTree) -> MetaState:
  """The state with frozen models; as it is without any (None)."""
  return state if frozen is None else FrozenMetaState(**_carried(state), frozen=frozen)


def without_frozen(state: MetaState) -> MetaState:
  """What checkpoints hold."""
  return MetaState(**_carried(state))


def _carried(state: MetaState) -> dict[str, Any]:
  return {field.name: getattr(state, field.name) for field in dataclasses.fields(MetaState)}


LossesFn = Callable[[PyTree, Batch], jax.Array]
"""(theta, batch) -> losses_BxD: mean nats over each datapoint's predicted tokens, 0 if none."""


@dataclasses.dataclass(frozen=True)
class LossesWithConstants:
  """A LossesFn with arrays that are never differentiated: function(constants, theta, batch).

  Apart, and not in a closure: what has a derivative of its own must not close over traced values.
  """

  function: Callable[[PyTree, PyTree, Batch], jax.Array]
  constants: PyTree

  def __call__(self, theta: PyTree, batch: Batch) -> jax.Array:
    return self.function(self.constants, theta, batch)


RateFn = Callable[[PyTree, Batch], jax.Array]
"""(eta, batch) -> ratings_BxD, float32, larger is better."""


def datapoint_ids(batch: Batch, datapoint: Datapoint) -> Any:
  """int32 BxL: the datapoint of each token counted from 1 in its row, 0 for padding."""
  if datapoint == "document":
    return batch.segment_ids_BxL
  there = batch.segment_ids_BxL > 0
  if datapoint == "token":
    return there * np.arange(1, there.shape[-1] + 1, dtype=np.int32)[None, :]
  return there * np.int32(1)


def datapoints_per_row(batch: Batch, datapoint: Datapoint) -> int:
  """D: 1 for `sequence`, S for `document`, L for `token`."""
  if datapoint == "token":
    return batch.tokens_BxL.shape[-1]
  return batch.document_ids_BxS.shape[-1] if datapoint == "document" else 1


def domain_by_datapoint(batch: Batch, datapoint: Datapoint) -> Any:
  """BxD: the domain of each datapoint, -1 where there is none; further leading axes stay.

  A packed row (`sequence`) counts for the domain of its first segment.
  """
  if datapoint == "document":
    return batch.domain_BxS
  if datapoint == "sequence":
    return batch.domain_BxS[..., :1]
  segments = jnp.maximum(batch.segment_ids_BxL - 1, 0)
  by_token = jnp.take_along_axis(batch.domain_BxS, segments, axis=-1)
  return jnp.where(batch.loss_mask_BxL, by_token, -1)


def sum_by_datapoint(values_BxL: Any, batch: Batch, datapoint: Datapoint) -> jax.Array:
  """BxD sums of a value a token over the tokens of each datapoint; padding is left out."""
  if datapoint == "token":
    return jnp.where(batch.segment_ids_BxL > 0, values_BxL, 0)
  ids_D = 1 + jnp.arange(datapoints_per_row(batch, datapoint))
  member_BxDxL = datapoint_ids(batch, datapoint)[:, None, :] == ids_D[None, :, None]
  # Sums of losses: by default GPUs and TPUs would round what enters the product.
  highest = jax.lax.Precision.HIGHEST
  return jnp.einsum(
    "bdl,bl->bd", member_BxDxL.astype(values_BxL.dtype), values_BxL, precision=highest
  )


def predicted_tokens(batch: Batch, datapoint: Datapoint) -> jax.Array:
  """float32 BxD: how many tokens of each datapoint carry loss; 0 where there is no datapoint."""
  return sum_by_datapoint(batch.loss_mask_BxL.astype(jnp.float32), batch, datapoint)
