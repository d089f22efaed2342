"""A rater rates texts of any length the same, whatever is rated beside them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from datarater.config import ModelConfig
from datarater.corpus_config import RatingConfig
from datarater.data.packing import assemble, cut
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.errors import InputError
from datarater.models.rater import init_rater, rate_fn
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.scorers.rater import load_rater

MODEL = ModelConfig(width=16, layers=2, heads=2, mlp_width=32)
LENGTH = 24
TEXTS = ["short", "a text that is longer than one row of twenty-four tokens " * 3, "ünïcode ✓", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  tokenizer = load_tokenizer(TokenizerConfig())
  eta = init_rater(MODEL, tokenizer.vocab_size, jax.random.key(0), LENGTH)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 1))
  config = artifact.RaterConfig(
    MODEL, TokenizerConfig(), tokenizer.fingerprint, 257, "document", LENGTH, steps=0, seed=0
  )
  folder = tmp_path_factory.mktemp("run") / "rater"
  artifact.write_rater(folder, config, eta, RatingsCdf.of([0.0, 1.0]), "card", tokenizer.save)
  return folder


@pytest.fixture(scope="module")
def rater(folder):
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


def test_another_vocabulary_or_datapoint_is_refused(rater):
  """Where batches made elsewhere are rated: there token ids count, not text."""
  other = types.SimpleNamespace(fingerprint="another", vocab_size=1000)
  with pytest.raises(InputError, match=r"'bytes' with 1000 tokens.*'bytes' and 257; give"):
    rater.require_same_tokens(DataConfig(datapoint="document"), other)
  with pytest.raises(InputError, match="'sequence', but the rater was trained on 'document'"):
    rater.require_same_tokens(DataConfig(datapoint="sequence"), rater.tokenizer)


@pytest.mark.parametrize("change", [{"vocab_size": 300}, {"tokenizer_fingerprint": "another"}])
def test_a_folder_whose_tokenizer_is_not_its_own_is_refused(folder, tmp_path, change):
  copy = tmp_path / "rater"
  shutil.copytree(folder, copy)
  config = json.loads((copy / "config.json").read_text())
  (copy / "config.json").write_text(json.dumps(config | change))
  with pytest.raises(
    InputError, match=r"vocabulary of (257|300) tokens, but its tokenizer has 257"
  ):
    load_rater(copy)


def test_batches_are_rated_as_they_were_in_training(rater):
  """One rating a document of a packed row, the same as of the text by itself."""
  texts = ["abc", "de fg"]
  tokens = [rater.tokenizer.encode(text) for text in texts]
  chunks = [cut(t, 256, LENGTH, len(t), i)[0] for i, t in enumerate(tokens)]
  ratings = np.asarray(rater.rate_batch(assemble([chunks], 1, LENGTH, 3)))
  assert ratings.shape == (1, 3)
  np.testing.assert_allclose(ratings[0, :2], rater.rate(texts), atol=1e-5)
  assert ratings[0, 2] == 0


def test_a_rater_goes_to_another_process_as_the_name_of_its_folder(folder):
  rater = load_rater(folder, RatingConfig(pooling="max", batch_tokens=256))
  sent = pickle.dumps(rater)
  assert len(sent) < 1000
  copy = pickle.loads(sent)
  np.testing.assert_array_equal(copy.rate(TEXTS), rater.rate(TEXTS))
  assert copy.fingerprint == rater.fingerprint


def test_the_way_of_rating_is_part_of_the_fingerprint(folder, rater):
  half = load_rater(folder, RatingConfig(dtype="bfloat16"))
  assert half.fingerprint == rater.fingerprint + ' {"dtype": "bfloat16"}'
  assert not np.array_equal(half.rate(TEXTS), rater.rate(TEXTS))
  np.testing.assert_allclose(half.rate(TEXTS), rater.rate(TEXTS), atol=0.1)
  assert load_rater(folder, RatingConfig(pooling="first")).rate(TEXTS)[1] != rater.rate(TEXTS)[1]


def test_more_devices_change_no_bit(folder, rater):
  code = (
    "import jax, json, sys; from datarater.scorers.rater import load_rater; "
    "assert len(jax.local_devices()) == 3; "
    "print(json.dumps(load_rater(sys.argv[1]).rate(json.loads(sys.argv[2])).tolist()))"
  )
  texts = [f"{text} {i}" for i in range(300) for text in TEXTS]
  environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
  command = [sys.executable, "-c", code, str(folder), json.dumps(texts)]
  run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
  assert json.loads(run.stdout) == rater.rate(texts).tolist()
