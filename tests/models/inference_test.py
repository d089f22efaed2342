"""The fused kernel rates and evaluates; nothing that trains gets it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import LENGTH, VOCAB, random_batch, tiny_run

from datarater.config import ModelConfig, OptimizerConfig
from datarater.corpus_config import RatingConfig
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.meta import placement, trainer
from datarater.models import attention
from datarater.models.rater import init_rater
from datarater.runtime import artifact
from datarater.runtime.quantiles import RatingsCdf
from datarater.runtime.sharding import make_mesh
from datarater.scorers.rater import load_rater
from datarater.training import lm

MODEL = ModelConfig(width=16, layers=1, heads=2, mlp_width=16, dtype="bfloat16")


@pytest.fixture
def calls(monkeypatch):
  """Causality of each call of the kernel, on a device that has it; computed plainly."""
  calls = []

  def fused(q, k, v, mask_BxLxL, causal):
    calls.append(causal)
    length = mask_BxLxL.shape[1]
    mask_BxLxL &= jnp.tril(jnp.ones((1, length, length), bool)) | (not causal)
    return attention._attend_at_once(q, k, v, mask_BxLxL)

  monkeypatch.setattr(attention, "compute_capability", lambda: (9, 0))
  monkeypatch.setattr(attention, "_attend_fused", fused)
  return calls


def test_a_rater_rates_with_it(calls, tmp_path):
  tokenizer = load_tokenizer(TokenizerConfig())
  eta = init_rater(MODEL, tokenizer.vocab_size, jax.random.key(0), 32)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 1))
  config = artifact.RaterConfig(
    MODEL, TokenizerConfig(), tokenizer.fingerprint, 257, "document", 32, steps=0, seed=0
  )
  cdf = RatingsCdf.of([0.0, 1.0])
  artifact.write_rater(tmp_path / "rater", config, eta, cdf, "card", tokenizer.save)
  texts = ["some text", "some more text"]
  fused = load_rater(tmp_path / "rater").rate(texts)
  assert calls == [False]
  calls.clear()
  plain = load_rater(tmp_path / "rater", RatingConfig(dtype="float32")).rate(texts)
  assert not calls
  np.testing.assert_allclose(fused, plain, atol=0.05)


def test_a_language_model_is_evaluated_with_it_and_trained_without(calls):
  init, train_step, evaluate = lm._compiled(MODEL, OptimizerConfig(), 3, VOCAB, LENGTH)
  state, batch = jax.eval_shape(init, jax.random.key(0)), random_batch(0)
  jax.eval_shape(train_step, state, batch)
  assert not calls
  jax.eval_shape(evaluate, state.theta, batch)
  assert calls == [True]


def test_meta_training_never_gets_it(calls):
  config = tiny_run(rater=MODEL, inner=MODEL)
  for model in (config.rater, config.inner):
    assert attention.for_inference(model).attention == "cudnn"  # the kernel would take them
  placed = placement.place(config, *trainer.build(config, VOCAB), make_mesh(config.mesh))
  placed.step.trace(placed.state, placed.inner, placed.outer)
  assert not calls
