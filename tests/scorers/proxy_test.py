"""A language model to look through: features of documents, and what a pickle keeps."""

import pickle

import numpy as np
import pytest

from datarater.config import ModelConfig
from datarater.data.packing import assemble, cut
from datarater.data.tokenizers import ByteTokenizer
from datarater.models.language_model import LanguageModel, init_language_model
from datarater.scorers.proxy import Proxy, proxy_of

MODEL = ModelConfig(width=16, layers=2, heads=2, mlp_width=32)


@pytest.fixture(scope="module")
def proxy():
  import jax

  theta = init_language_model(MODEL, 257, jax.random.key(0), 32)
  return Proxy(MODEL, 32, ByteTokenizer(), jax.tree.map(np.asarray, theta))


def test_an_embedding_is_the_mean_of_the_documents_features(proxy):
  text = "sixteen letters!"
  chunk = cut(proxy.tokenizer.encode(text), proxy.tokenizer.separator_id, 32, 0)
  batch = assemble([chunk], 1, 32, 4)
  model = LanguageModel(MODEL, 257)
  features = np.asarray(model.apply({"params": proxy.theta}, batch, method="features"))
  found = proxy.embed(["another document", text, ""])
  assert found.shape == (3, 16)
  # 16 letters and the end
  np.testing.assert_allclose(found[1], features[0, 1:18].mean(axis=0), rtol=1e-4, atol=1e-5)
  assert np.isnan(found[2]).all()


def test_a_long_document_is_the_mean_of_its_chunks_by_tokens(proxy):
  first, second = "a" * 31, "b" * 10  # only the second has room for its end
  whole, *parts = proxy.embed([first + second, first, second])
  np.testing.assert_allclose(whole, (31 * parts[0] + 11 * parts[1]) / 42, rtol=1e-4, atol=1e-5)


def test_it_comes_back_from_arrays_and_a_pickle(proxy):
  texts = ["some text", "and more of it"]
  before = proxy.embed(texts)
  again = proxy_of(MODEL, 32, ByteTokenizer(), {**proxy.arrays(), "other": np.zeros(3)})
  for other in (again, pickle.loads(pickle.dumps(proxy))):
    assert other.fingerprint == proxy.fingerprint
    np.testing.assert_array_equal(other.embed(texts), before)
