"""Likelihoods of packed texts against one plain forward pass for each text alone."""

import dataclasses

import jax
import numpy as np
import pytest

from datarater.config import ModelConfig
from datarater.data.documents import RowShapes
from datarater.data.packing import Chunk, assemble
from datarater.data.tokenizers import ByteTokenizer
from datarater.errors import InputError
from datarater.evaluation import likelihood
from datarater.evaluation.likelihood import windows
from datarater.evaluation.trained import TrainedModel
from datarater.models import language_model

CONFIG = ModelConfig(width=16, layers=2, heads=2, mlp_width=32)
LENGTH = 32


@pytest.fixture(scope="module")
def model() -> TrainedModel:
  """Untrained, its weights scaled up so that its choices are not even."""
  tokenizer = ByteTokenizer()
  theta = language_model.init_language_model(
    CONFIG, tokenizer.vocab_size, jax.random.key(0), LENGTH
  )
  return TrainedModel(
    name="tiny",
    tokenizer=tokenizer,
    theta=jax.tree.map(lambda x: 2 * x, theta),
    shapes=RowShapes(LENGTH, 4 * LENGTH),
    score=jax.jit(language_model.nll_and_errors_fn(CONFIG, tokenizer.vocab_size)),
    likeliest=jax.jit(language_model.likeliest_fn(CONFIG, tokenizer.vocab_size)),
  )


_alone = jax.jit(language_model.token_nll_fn(CONFIG, ByteTokenizer().vocab_size))


def plainly(model: TrainedModel, tokens, start: int) -> float:
  """Log-likelihood of tokens[start:]: one forward pass of one text in one row."""
  row = np.concatenate([[model.tokenizer.separator_id], tokens]).astype(np.int32)
  nll_L = _alone(model.theta, assemble([[Chunk(row, 0, 0, 0)]], 1, LENGTH, 1))[0]
  return -float(np.sum(np.asarray(nll_L, np.float64)[1 + start :]))


def pairs(seed: int = 0, number: int = 40) -> list[tuple[str, str]]:
  """Short random pairs that fit a row, some with characters of several bytes."""
  rng = np.random.default_rng(seed)
  words = ["an", "ox", "é", "字", "\U0001f600", "b"]
  text = lambda most: " ".join(rng.choice(words, rng.integers(1, most)))  # noqa: E731
  return [(text(4), " " + text(3)) for _ in range(number)]


def test_packed_equals_item_by_item(model):
  asked = pairs()
  found = likelihood.continuation_likelihoods(model, asked)
  for (context, continuation), log, cut, split in zip(
    asked, found.log, found.cut, found.split, strict=True
  ):
    tokens = model.tokenizer.encode(context + continuation)
    expected = plainly(model, tokens, len(context.encode()))
    assert log == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert not cut
    assert not split


def test_greedy_is_what_decoding_gives(model):
  """The greedy continuation is greedy; with its last token changed it is not."""
  tokens = list(model.tokenizer.encode("ab"))
  for _ in range(3):
    batch = assemble([[Chunk(np.array([256, *tokens], np.int32), 0, 0, 0)]], 1, LENGTH, 1)
    tokens.append(int(model.likeliest(model.theta, batch, np.array([len(tokens)]))[0]))
  segments = [likelihood.Segment(np.array([256, *tokens], np.int32), 3)]
  tokens[-1] = (tokens[-1] + 1) % 256
  segments.append(likelihood.Segment(np.array([256, *tokens], np.int32), 3))
  _, errors = likelihood.score_segments(model, segments)
  np.testing.assert_array_equal(errors, [0, 1])


def test_a_long_context_is_cut_from_the_left(model):
  context, continuation = "x" * 50 + "0123456789" * 4, " abc"
  found = likelihood.continuation_likelihoods(model, [(context, continuation), ("ab", " c")])
  kept = (context + continuation)[-(LENGTH - 1) :]
  expected = plainly(model, model.tokenizer.encode(kept), LENGTH - 1 - 4)
  assert found.log[0] == pytest.approx(expected, rel=1e-6, abs=1e-5)
  np.testing.assert_array_equal(found.cut, [True, False])
  np.testing.assert_array_equal(found.split, [False, False])


def test_a_row_that_is_just_full_is_not_cut(model):
  found = likelihood.continuation_likelihoods(
    model, [("x" * (LENGTH - 3), " y"), ("x" * (LENGTH - 2), " y")]
  )
  np.testing.assert_array_equal(found.cut, [False, True])


def test_a_continuation_longer_than_a_row_is_scored_whole_in_windows(model):
  context, continuation = "ab", " " + "cdefgh" * 8
  found = likelihood.continuation_likelihoods(model, [(context, continuation)])
  tokens = model.tokenizer.encode(context + continuation)
  room, stride = LENGTH - 1, (LENGTH - 1) // 2
  expected = 0.0
  for first in range(2, len(tokens), stride):
    window = tokens[max(0, min(first + stride, len(tokens)) - room) : first + stride]
    scored = min(stride, len(tokens) - first)
    expected += plainly(model, window, len(window) - scored)
  assert found.log[0] == pytest.approx(expected, rel=1e-6, abs=1e-5)
  assert (found.split[0], found.cut[0]) == (True, False)


@pytest.mark.parametrize(
  ("start", "number", "length"), [(0, 5, 9), (3, 40, 9), (30, 40, 9), (7, 9, 2)]
)
def test_windows_score_each_token_once_and_see_what_is_before_it(start, number, length):
  tokens = np.arange(number)
  scored = []
  for segment in windows(tokens, start, separator=99, length=length):
    assert segment.tokens[0] == 99
    assert len(segment.tokens) <= length
    assert segment.start >= 1
    np.testing.assert_array_equal(np.diff(segment.tokens[1:]), 1)
    scored += segment.tokens[segment.start :].tolist()
  assert scored == list(range(start, number))


def test_equal_pairs_are_scored_once(model, monkeypatch):
  scored = []
  score = likelihood.score_segments
  monkeypatch.setattr(
    likelihood, "score_segments", lambda m, segments: scored.extend(segments) or score(m, segments)
  )
  asked = pairs(1, 30)
  found = likelihood.continuation_likelihoods(model, asked + asked[::-1])
  np.testing.assert_array_equal(found.log, found.log[::-1])
  assert len(scored) == len(set(asked))


def test_advance_counts_every_pair(model):
  done = []
  likelihood.continuation_likelihoods(model, [*pairs(2, 9), *pairs(2, 4)], done.append)
  assert sum(done) == 13
  assert len(likelihood.continuation_likelihoods(model, []).log) == 0


def test_an_empty_continuation_is_refused(model):
  with pytest.raises(InputError, match="the continuation of 'question' is empty"):
    likelihood.continuation_likelihoods(model, [("question", "")])


def test_a_model_that_diverged_is_refused(model):
  bad = dataclasses.replace(model, theta=jax.tree.map(lambda x: x * np.nan, model.theta))
  with pytest.raises(InputError, match="run 'tiny' gives a likelihood that is not a number"):
    likelihood.continuation_likelihoods(bad, pairs(number=2))


def test_text_on_its_own(model):
  """In rows of its own, the closing separator predicted; no text has likelihood one."""
  texts = ["", "short é", "x" * (LENGTH - 1), "long " * 20]
  found = likelihood.text_likelihoods(model, texts)
  separator = model.tokenizer.separator_id
  for text, log in zip(texts, found.log, strict=True):
    tokens = model.tokenizer.encode(text).tolist()
    rows = [tokens[i : i + LENGTH - 1] for i in range(0, len(tokens), LENGTH - 1)]
    if rows and len(rows[-1]) < LENGTH - 1:
      rows[-1].append(separator)
    assert log == pytest.approx(sum(plainly(model, row, 0) for row in rows), rel=1e-6, abs=1e-5)
