"""The language model: causal, blind to other segments and padding; losses in nats."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import (
  LENGTH,
  MODEL,
  QUICK,
  VOCAB,
  initial_parameters,
  pack,
  random_batch,
)

from datarater.models import language_model
from datarater.models.transformer import NORM_EPSILON, Transformer
from datarater.types import predicted_tokens

BATCH = pack([[[11, 1, 2, 3, 4], [11, 5, 6]], [[11, 7]], []])

token_nll = jax.jit(language_model.token_nll_fn(MODEL, VOCAB))


@pytest.fixture(scope="module")
def theta():
  return initial_parameters()[1]


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def norm(x, scale):
  return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + NORM_EPSILON) * scale


def softmax(x):
  e = np.exp(x - x.max(axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


def turn(x_LxHxK):
  """Rotary positions by complex numbers: pair k turns by the angle l · 10000^(-k/half)."""
  length, _, features = x_LxHxK.shape
  half = features // 2
  angle = np.arange(length)[:, None] * 10_000.0 ** (-np.arange(half) / half)
  turned = (x_LxHxK[..., :half] + 1j * x_LxHxK[..., half:]) * np.exp(1j * angle)[:, None]
  return np.concatenate([turned.real, turned.imag], axis=-1)


def plain_nll(theta, tokens):
  """Nats of each token of one document after the first, in float64 and in numpy alone."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), theta["transformer"])
  length, heads = len(tokens), MODEL.heads
  x = p["embedding"][tokens] * np.sqrt(MODEL.width)
  future = np.triu(np.ones((length, length), bool), 1)
  for layer in range(MODEL.layers):
    w = jax.tree.map(lambda a: a[layer], p["blocks"])  # noqa: B023 (called at once)
    h = norm(x, w["attention_norm"]["scale"])
    q, k, v = (
      (h @ w[name]["kernel"]).reshape(length, heads, -1) for name in ("query", "key", "value")
    )
    scores = np.einsum("qhk,shk->hqs", turn(q), turn(k)) / np.sqrt(q.shape[-1])
    scores[:, future] = -np.inf
    mixed = np.einsum("hqs,shk->qhk", softmax(scores), v).reshape(length, -1)
    x = x + mixed @ w["attention_out"]["kernel"]
    h = norm(x, w["mlp_norm"]["scale"]) @ w["mlp_in"]["kernel"]
    x = x + gelu(h) @ w["mlp_out"]["kernel"]
  probabilities = softmax(norm(x, p["final_norm"]["scale"]) @ p["embedding"].T)
  return -np.log(probabilities[np.arange(length - 1), tokens[1:]])


def test_losses_are_those_of_plain_numpy(theta):
  nll = np.asarray(token_nll(theta, BATCH))
  expected = np.zeros((3, LENGTH))
  expected[0, 1:5] = plain_nll(theta, [11, 1, 2, 3, 4])
  expected[0, 6:8] = plain_nll(theta, [11, 5, 6])
  expected[1, 1:2] = plain_nll(theta, [11, 7])
  np.testing.assert_allclose(nll, expected, rtol=1e-4, atol=1e-6)


def test_an_untrained_model_knows_little(theta):
  nll = np.asarray(token_nll(theta, BATCH))[np.asarray(BATCH.loss_mask_BxL)]
  assert 0.5 * np.log(VOCAB) < nll.mean() < 3 * np.log(VOCAB)


@pytest.mark.parametrize("causal", [True, False])
def test_what_each_position_sees_by_gradients(causal):
  """∂(features at l)/∂(input at m): nothing of the future, of another segment, of padding."""
  positions = list(range(LENGTH))  # each position has a row of the embedding to itself
  batch = pack([[positions[:5], positions[5:10]]])
  batch = batch.replace(tokens_BxL=np.arange(LENGTH, dtype=np.int32)[None])
  transformer = Transformer(MODEL, LENGTH, causal=causal)
  parameters = transformer.init(jax.random.key(0), batch)["params"]

  def features(embedding):
    return jnp.sin(transformer.apply({"params": parameters | {"embedding": embedding}}, batch)[0])

  jacobian = jax.jit(jax.jacrev(features), compiler_options=QUICK)(parameters["embedding"])
  influence_LxL = np.abs(jacobian).max(axis=(1, 3))
  segment = batch.segment_ids_BxL[0]
  expected = segment[:, None] == segment[None, :]
  if causal:
    expected &= np.tri(LENGTH, dtype=bool)
  np.testing.assert_array_equal(influence_LxL > 0, expected)


def changed(batch, where_BxL):
  """The batch with other tokens where the mask says."""
  tokens = np.where(where_BxL, (batch.tokens_BxL + 3) % 11, batch.tokens_BxL)
  return batch.replace(tokens_BxL=tokens.astype(np.int32))


def test_later_tokens_change_no_loss(theta):
  batch = pack([[[11, *range(1, 11)]]])
  nll = token_nll(theta, batch)
  for first in range(1, 11):
    other = token_nll(theta, changed(batch, np.arange(LENGTH)[None] >= first))
    np.testing.assert_array_equal(nll[:, :first], other[:, :first])
    assert nll[0, first] != other[0, first]


def test_other_segments_and_padding_change_nothing(theta):
  nll = np.asarray(token_nll(theta, BATCH))
  ids = np.asarray(BATCH.segment_ids_BxL)
  for segment in (0, 1, 2):
    other = np.asarray(token_nll(theta, changed(BATCH, ids == segment)))
    np.testing.assert_array_equal(nll[ids != segment], other[ids != segment])
    assert segment == 0 or np.any(nll[ids == segment] != other[ids == segment])


def test_packed_documents_lose_what_they_lose_alone(theta):
  documents = [[11, 1, 2, 3, 4], [11, 5, 6], [11, 7, 8]]
  packed = np.asarray(token_nll(theta, pack([documents])))[0]
  alone = np.asarray(token_nll(theta, pack([[d] for d in documents])))
  start = 0
  for document, row in zip(documents, alone, strict=True):
    stop = start + len(document)
    np.testing.assert_allclose(packed[start:stop], row[: len(document)], rtol=2e-5, atol=1e-6)
    start = stop


@pytest.mark.parametrize("datapoint", ["sequence", "document"])
def test_losses_are_means_over_the_tokens_of_each_datapoint(theta, datapoint):
  nll = np.asarray(token_nll(theta, BATCH))
  losses = language_model.losses_fn(MODEL, VOCAB, datapoint)(theta, BATCH)
  if datapoint == "sequence":
    expected = [[np.mean([*nll[0, 1:5], *nll[0, 6:8]])], [nll[1, 1]], [0.0]]
  else:
    expected = [[nll[0, 1:5].mean(), nll[0, 6:8].mean(), 0.0], [nll[1, 1], 0, 0], [0, 0, 0]]
  np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_mean_loss_is_over_all_predicted_tokens(theta):
  nll = np.asarray(token_nll(theta, BATCH))
  mean_loss = language_model.mean_loss_fn(language_model.token_nll_fn(MODEL, VOCAB))
  np.testing.assert_allclose(mean_loss(theta, BATCH), nll.sum() / 7, rtol=1e-6)
  assert mean_loss(theta, pack([[], []])) == 0


def test_error_rate_is_the_share_of_tokens_that_are_not_the_likeliest(theta):
  error_rate = jax.jit(language_model.error_rate_fn(MODEL, VOCAB))
  tokens = np.tile(BATCH.tokens_BxL, (VOCAB, 1, 1))
  losses = np.full((VOCAB, *BATCH.tokens_BxL.shape), np.inf)
  for row, position in np.argwhere(BATCH.loss_mask_BxL):  # each token tried in each place
    tried = tokens.copy()
    tried[:, row, position] = np.arange(VOCAB)
    for token in range(VOCAB):
      batch = dataclasses.replace(BATCH, tokens_BxL=tried[token])
      losses[token, row, position] = token_nll(theta, batch)[row, position]
  likeliest = np.where(BATCH.loss_mask_BxL, losses.argmin(axis=0), BATCH.tokens_BxL)
  wrong = likeliest != BATCH.tokens_BxL
  np.testing.assert_allclose(error_rate(theta, BATCH), wrong.sum() / 7, rtol=1e-6)
  # Right once, and wrong elsewhere.
  row, position = np.argwhere(BATCH.loss_mask_BxL)[-1]
  tokens = BATCH.tokens_BxL.copy()
  tokens[row, position] = likeliest[row, position]
  wrong[row, position] = False
  corrected = dataclasses.replace(BATCH, tokens_BxL=tokens)
  np.testing.assert_allclose(error_rate(theta, corrected), wrong.sum() / 7, rtol=1e-6)
  assert wrong.any()


def test_one_pass_gives_losses_and_errors_and_the_token_that_follows(theta):
  nll, errors = language_model.nll_and_errors_fn(MODEL, VOCAB)(theta, BATCH)
  np.testing.assert_array_equal(nll, language_model.token_nll_fn(MODEL, VOCAB)(theta, BATCH))
  rate = language_model.error_rate_fn(MODEL, VOCAB)(theta, BATCH)
  np.testing.assert_allclose(np.sum(errors) / np.sum(BATCH.loss_mask_BxL), rate, rtol=1e-6)
  # What follows each position, put there, is no error.
  both = jax.jit(language_model.nll_and_errors_fn(MODEL, VOCAB))
  likeliest = jax.jit(language_model.likeliest_fn(MODEL, VOCAB))
  rows, length = BATCH.tokens_BxL.shape
  for at in range(length - 1):
    tokens = BATCH.tokens_BxL.copy()
    tokens[:, at + 1] = likeliest(theta, BATCH, np.full(rows, at))
    _, errors = both(theta, BATCH.replace(tokens_BxL=tokens))
    np.testing.assert_array_equal(errors[:, at + 1], 0)


def test_error_rate_of_nothing_is_zero_and_of_a_diverged_model_nan(theta):
  error_rate = language_model.error_rate_fn(MODEL, VOCAB)
  assert error_rate(theta, BATCH).dtype == jnp.float32
  assert error_rate(theta, pack([[], []])) == 0
  assert np.isnan(error_rate(jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), theta), BATCH))


def test_predicted_tokens():
  np.testing.assert_array_equal(predicted_tokens(BATCH, "sequence"), [[6], [1], [0]])
  by_document = [[4, 2, 0], [1, 0, 0], [0, 0, 0]]
  np.testing.assert_array_equal(predicted_tokens(BATCH, "document"), by_document)


def test_remat_is_a_free_switch(theta):
  """The same parameter tree, and the same losses and gradients; only then is it worth having."""
  other = dataclasses.replace(MODEL, remat=True)
  key = jax.random.key(3)
  shapes = [
    jax.eval_shape(lambda c=c: language_model.init_language_model(c, VOCAB, key, LENGTH))
    for c in (MODEL, other)
  ]
  assert shapes[0] == shapes[1]

  def both(config):
    loss = language_model.mean_loss_fn(language_model.token_nll_fn(config, VOCAB))
    return jax.value_and_grad(loss)

  batch = random_batch(0)
  texts = [str(jax.make_jaxpr(both(c))(theta, batch)) for c in (MODEL, other)]
  assert ["remat" in text or "checkpoint" in text for text in texts] == [False, True]
  plain, remat = (jax.jit(both(c), compiler_options=QUICK)(theta, batch) for c in (MODEL, other))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), remat, plain)


def test_bfloat16_runs_and_gives_float32_losses(theta):
  config = dataclasses.replace(MODEL, dtype="bfloat16")
  key = jax.random.key(3)
  shapes = jax.eval_shape(lambda: language_model.init_language_model(config, VOCAB, key, LENGTH))
  assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
  losses = jax.jit(language_model.losses_fn(config, VOCAB, "document"))(theta, BATCH)
  assert losses.dtype == jnp.float32
  expected = language_model.losses_fn(MODEL, VOCAB, "document")(theta, BATCH)
  np.testing.assert_allclose(losses, expected, rtol=0.05)
  assert np.any(np.asarray(losses) != np.asarray(expected))


def test_gradients_are_finite_with_padding_and_empty_rows(theta):
  loss = language_model.mean_loss_fn(language_model.token_nll_fn(MODEL, VOCAB))
  for batch in (BATCH, pack([[], [], []])):
    gradient = jax.jit(jax.grad(loss))(theta, batch)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))
