"""A mixture rates by domain alone; its weights are the pool's mixture times exp(logit)."""

import jax
import jax.numpy as jnp
import numpy as np
from problems import pack

from datarater.meta.weighting import batch_weights
from datarater.models import mixture

# Domain k is that of the k-th segment of a row: 4 + 2 predicted tokens of domain 0, 3 of domain 1.
BATCH = pack([[[11, 1, 2, 3, 4], [11, 5, 6, 7]], [[11, 7, 8]], []])
LOGITS = np.array([0.5, -1.0, 9.0], np.float32)
ETA = {"logits": jnp.asarray(LOGITS)}


def test_a_document_has_the_logit_of_its_domain():
  expected = [[0.5, -1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
  np.testing.assert_array_equal(mixture.rate_domains(ETA, BATCH), expected)


def test_all_domains_start_equal():
  ratings = mixture.rate_domains(mixture.init_mixture(3), BATCH)
  assert np.all(np.asarray(ratings) == 0)


def test_a_domain_weighs_its_tokens_times_exp_of_its_logit():
  weights = np.asarray(batch_weights(mixture.rate_domains(ETA, BATCH), BATCH, "document"))
  shares = np.array([6, 3]) * np.exp(LOGITS[:2])
  shares /= shares.sum()
  np.testing.assert_allclose([weights[:, 0].sum(), weights[:, 1].sum()], shares, rtol=1e-6)


def test_absent_domains_and_padding_get_no_gradient():
  cotangent = jax.random.normal(jax.random.key(0), (3, 3))
  pull = jax.vjp(lambda eta: mixture.rate_domains(eta, BATCH), ETA)[1]
  gradient = np.asarray(pull(cotangent)[0]["logits"])
  expected = [cotangent[0, 0] + cotangent[1, 0], cotangent[0, 1], 0.0]
  np.testing.assert_allclose(gradient, expected, rtol=1e-6)
