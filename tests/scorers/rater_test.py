"""A rater rates texts of any length the same, whatever is rated beside them."""

import jax
import numpy as np
import pytest

from datarater.config import DataConfig, ModelConfig, TokenizerConfig
from datarater.data.tokenizers import load_tokenizer
from datarater.models.rater import init_rater, rate_fn
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.scorers.rater import load_rater

MODEL = ModelConfig(width=16, layers=2, heads=2, mlp_width=32)
LENGTH = 24
TEXTS = ["short", "a text that is longer than one row of twenty-four tokens " * 3, "ünïcode ✓", "x"]


@pytest.fixture(scope="module")
def rater(tmp_path_factory):
  tokenizer = load_tokenizer(TokenizerConfig())
  eta = init_rater(MODEL, tokenizer.vocab_size, jax.random.key(0), LENGTH)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 1))
  config = artifact.RaterConfig(
    MODEL, TokenizerConfig(), tokenizer.fingerprint, 257, "document", LENGTH, steps=0, seed=0
  )
  folder = tmp_path_factory.mktemp("run") / "rater"
  artifact.write_rater(folder, config, eta, RatingsCdf.of([0.0, 1.0]), "card", tokenizer.save)
  return load_rater(folder)


def test_ratings_are_float32_and_one_a_text(rater):
  ratings = rater.rate(TEXTS)
  assert ratings.dtype == np.float32
  assert ratings.shape == (len(TEXTS),)
  assert len(set(ratings.tolist())) == len(TEXTS)
  assert rater.rate([]).shape == (0,)


def test_an_empty_text_has_no_rating(rater):
  ratings, tokens = rater.score_with_tokens(["", "x"])
  assert np.isnan(ratings[0])
  assert np.isfinite(ratings[1])
  assert tokens.tolist() == [0, 1]


def test_company_does_not_matter(rater):
  alone = np.concatenate([rater.rate([text]) for text in TEXTS])
  many = rater.rate(TEXTS * 20)
  np.testing.assert_allclose(rater.rate(TEXTS), alone, atol=1e-5)
  np.testing.assert_allclose(many.reshape(20, -1), np.tile(alone, (20, 1)), atol=1e-5)


def test_a_long_text_is_the_token_mean_of_its_chunks(rater):
  pieces = ["a" * (LENGTH - 1), "b" * (LENGTH - 1), "c" * 5]
  whole = rater.rate(["".join(pieces)])[0]
  tokenizer = rater.tokenizer
  rate = rate_fn(MODEL, 257, "sequence")
  from datarater.data.packing import assemble, cut

  text = "".join(pieces)
  chunks = cut(tokenizer.encode(text), tokenizer.separator_id, LENGTH, len(text))
  ratings = [float(rate(rater._eta, assemble([[c]], 1, LENGTH, 1))[0, 0]) for c in chunks]
  sizes = [len(c.tokens) - 1 for c in chunks]
  assert len(chunks) == 3
  np.testing.assert_allclose(whole, np.average(ratings, weights=sizes), atol=1e-5)


def test_scorer_interface(rater):
  assert rater.name == "rater"
  assert len(rater.fingerprint) == 64
  np.testing.assert_array_equal(rater.score(TEXTS), rater.rate(TEXTS))
  rater.require_same_tokens(DataConfig(datapoint="document"), rater.tokenizer)
