"""Scores: what they are, their sign, what they do not depend on, folders, and what is refused."""

import dataclasses
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import QUICK
from small_proxies import CONFIG, LENGTH, MODEL, TARGET, made_text, proxy_of_seed

from datarater.data.documents import prepare_documents
from datarater.data.tokenizers import ByteTokenizer
from datarater.errors import InputError
from datarater.models.language_model import dummy_batch, losses_fn, token_nll_fn
from datarater.scorers.dsdm import DsdmScorer, features, scorer
from datarater.scorers.dsdm.features import Gradients
from datarater.scorers.dsdm.kernel import attribute
from datarater.scorers.fitted import Fitting, load_scorer
from datarater.scorers.target import Example, texts_target


@pytest.fixture(autouse=True, scope="module")
def _quick_to_compile():
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def pool():
  random = np.random.default_rng(0)
  return [made_text(random, ("abc", "0123456789", "xyz ")[i % 3]) for i in range(60)]


@pytest.fixture(scope="module")
def proxies():
  return (proxy_of_seed(0), proxy_of_seed(1))


@pytest.fixture(scope="module")
def fitted(pool, proxies):
  return DsdmScorer.fit(pool, TARGET, CONFIG, Fitting(proxies[:1]))


def map_examples(texts):
  return [Example(text) for text in texts]


def kernel_scores(gradients, pool):
  """By the formula, from gradients."""
  x, t = gradients(map_examples(pool)).values, gradients(TARGET[0].examples).values
  return attribute(x, t.mean(0, keepdims=True), CONFIG.ridge)[0]


def test_scores_are_those_of_the_kernel(pool, proxies, fitted):
  """The derivative forward equals projected gradients times the kernel's solution."""
  expected = kernel_scores(Gradients(proxies[0], CONFIG), pool)
  expected /= expected.std()
  np.testing.assert_allclose(fitted.score(pool), expected, rtol=1e-3, atol=1e-3)


def test_the_same_for_dense_projections_and_without_a_kernel(pool, proxies):
  config = dataclasses.replace(CONFIG, kind="dense", kernel=False)
  gradients = Gradients(proxies[0], config)
  x = gradients(map_examples(pool)).values
  t = gradients(TARGET[0].examples).values
  expected = x @ t.mean(0)
  fitted = DsdmScorer.fit(pool, TARGET, config, Fitting(proxies[:1]))
  np.testing.assert_allclose(fitted.score(pool), expected / expected.std(), rtol=1e-3, atol=1e-3)


def test_training_on_the_better_half_lowers_the_targets_loss_more(pool, proxies, fitted):
  """The sign, by doing it; and a copy of a target is among the best."""
  losses = losses_fn(MODEL, 257, "document")

  def batch_of(texts):
    (batch,) = prepare_documents(texts, ByteTokenizer(), proxies[0].shapes).batches
    return batch

  def mean(theta, batch):
    there = batch.document_ids_BxS >= 0
    return jnp.sum(jnp.where(there, losses(theta, batch), 0)) / jnp.sum(there)

  @functools.partial(jax.jit, compiler_options=QUICK)
  def step(theta, batch):
    return jax.tree.map(lambda p, g: p - 0.05 * g, theta, jax.grad(mean)(theta, batch))

  order = np.argsort(fitted.score(pool))
  after = []
  for half in (order[:30], order[30:]):
    theta, batch = proxies[0].theta, batch_of([pool[i][:31] for i in half])
    for _ in range(20):
      theta = step(theta, batch)
    after.append(float(jax.jit(mean)(theta, batch_of(TARGET[0].texts))))
  assert after[1] < after[0] - 0.05
  copy, others = fitted.score([TARGET[0].texts[0]]), fitted.score(pool)
  assert copy > np.quantile(others, 0.8)


def test_the_pools_order_does_not_matter(pool, proxies, fitted):
  config = dataclasses.replace(CONFIG, pool_documents=20)
  orders = (pool, pool[::-1])
  a, b = (DsdmScorer.fit(iter(p), TARGET, config, Fitting(proxies[:1])) for p in orders)
  assert a.fingerprint == b.fingerprint != fitted.fingerprint
  assert len(scorer.draw(pool, config)) == 20
  assert set(scorer.draw(pool, config)) < set(pool)
  other = dataclasses.replace(config, seed=1)
  assert set(scorer.draw(pool, config)) != set(scorer.draw(pool, other))
  assert sorted(scorer.draw(pool, dataclasses.replace(config, pool_documents=0))) == sorted(pool)


def test_proxies_are_averaged_each_on_its_own_scale(pool, proxies, fitted):
  both = DsdmScorer.fit(pool, TARGET, CONFIG, Fitting(proxies))
  first, second = (
    kernel_scores(Gradients(proxy, CONFIG, number), pool) for number, proxy in enumerate(proxies)
  )
  expected = (first / first.std() + second / second.std()) / 2
  np.testing.assert_allclose(both.score(pool), expected, rtol=1e-3, atol=2e-3)
  assert both.score_flops(np.array([5, 50])) == 2 * fitted.score_flops(np.array([5, 50])) > 0
  assert both.fit_flops > fitted.fit_flops > 0


def test_targets_weigh_the_same_however_many_examples_they_have(pool, proxies):
  gradients = Gradients(proxies[0], CONFIG)
  digits = texts_target("digits", ["0123456789"])
  mean, _ = scorer._target(gradients, [*TARGET, digits])
  a, b = (gradients(t.examples).values.mean(0) for t in (*TARGET, digits))
  np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5, atol=1e-9)


def test_only_the_wanted_text_of_a_question_has_a_gradient(proxies):
  gradients = Gradients(proxies[0], CONFIG)
  question = Example(" blue", context="The sky is")
  got = gradients([question, Example("The sky is blue"), Example(""), Example("x", "The sky is")])
  assert got.tokens.tolist() == [15, 16, 0, 11]
  assert np.isnan(got.values[2]).all()
  assert np.linalg.norm(got.values[0] - got.values[1]) > 0.1 * np.linalg.norm(got.values[0])
  w = np.random.default_rng(0).normal(size=gradients.dimension)
  w /= np.linalg.norm(got.values[0])
  direction = gradients.direction(w)

  tokens = np.zeros((1, LENGTH), np.int32)
  tokens[0, :16] = [256, *question.whole.encode()]
  ids = (np.arange(LENGTH) < 16).astype(np.int32)[None]
  batch = dummy_batch(1, LENGTH, 1)
  batch = dataclasses.replace(batch, tokens_BxL=tokens, segment_ids_BxL=ids)
  nll = jax.jit(token_nll_fn(MODEL, 257), compiler_options=QUICK)

  def loss(eps):  # of the five tokens after the context
    theta = jax.tree.map(lambda p, d: p + eps * d, proxies[0].theta, direction)
    return float(np.asarray(nll(theta, batch))[0, 11:16].mean())

  numeric = (loss(1e-2) - loss(-1e-2)) / 2e-2
  assert numeric == pytest.approx(got.values[0] @ w, rel=2e-2)


def test_long_documents_are_rated_whole_and_empty_ones_not(fitted):
  random = np.random.default_rng(1)
  text = made_text(random, "abc") * 20
  ratings, tokens = fitted.score_with_tokens([text, "", "abc"])
  assert np.isnan(ratings).tolist() == [False, True, False]
  assert tokens.tolist() == [len(text), 0, 3]
  assert ratings.dtype == np.float32


def test_it_comes_back_from_a_folder_and_from_a_pickle(tmp_path, pool, fitted):
  fitted.save(tmp_path / "scorer")
  for again in (load_scorer(tmp_path / "scorer"), pickle.loads(pickle.dumps(fitted))):
    assert isinstance(again, DsdmScorer)
    assert again.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(again.score(pool), fitted.score(pool))


def test_groups_do_not_matter(monkeypatch, pool, proxies):
  whole = Gradients(proxies[0], CONFIG)(map_examples(pool)).values
  monkeypatch.setattr(features, "GROUP", 23)
  parts = Gradients(proxies[0], CONFIG)(map_examples(pool)).values
  np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


def test_what_cannot_be_fitted_is_refused(pool, proxies):
  fit = DsdmScorer.fit
  with pytest.raises(InputError, match="target"):
    fit(pool, [], CONFIG, Fitting(proxies))
  with pytest.raises(InputError, match="datarater train"):
    fit(pool, TARGET, CONFIG, Fitting())
  with pytest.raises(InputError, match="at least two"):
    fit(["", "a"], TARGET, CONFIG, Fitting(proxies))
  nan = dataclasses.replace(proxies[0], theta=jax.tree.map(lambda x: x * np.nan, proxies[0].theta))
  with pytest.raises(InputError, match="losses are numbers"):
    fit(pool, TARGET, CONFIG, Fitting((nan,)))

  class Other(ByteTokenizer):
    def __init__(self):
      super().__init__()
      self.fingerprint = "other"

  other = dataclasses.replace(proxies[0], tokenizer=Other())
  with pytest.raises(InputError, match="2 tokenizers"):
    fit(pool, TARGET, CONFIG, Fitting((proxies[0], other)))
  for changes in ({"ridge": 0.0}, {"projection": 0}, {"pool_documents": 1}, {"seed": -1}):
    with pytest.raises(InputError, match=next(iter(changes))):
      dataclasses.replace(CONFIG, **changes)
