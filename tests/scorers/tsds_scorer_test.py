"""TsdsScorer: ratings are log probabilities of the pool's documents, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest
import safetensors.numpy

from datarater.curation.ranks import perturbed
from datarater.errors import InputError
from datarater.scorer_config import TsdsConfig
from datarater.scorers.fitted import Fitting, load_scorer
from datarater.scorers.proxy import Proxy
from datarater.scorers.target import texts_target
from datarater.scorers.tsds import TsdsScorer
from datarater.scorers.tsds.scorer import WITHOUT, probabilities
from datarater.scorers.tsds.vectors import whitened

POOL = [f"document {i}" for i in range(200)]
WANTED = [f"example {i}" for i in range(6)]
CONFIG = TsdsConfig(C=0.5)


def embed(texts):
  """A fixed random vector for each text; NaN for one without."""
  return np.stack([_vector(text) for text in texts])


def _vector(text):
  seed = list(text.encode())
  return np.random.default_rng(seed).normal(size=4) if text.strip() else np.full(4, np.nan)


def fitted(pool=POOL, targets=None, config=CONFIG, embed=embed, **more):
  targets = [texts_target("one", WANTED)] if targets is None else targets
  return TsdsScorer.fit(pool, targets, config, embed=embed, **more)


def test_ratings_are_log_probabilities():
  p = probabilities(embed(POOL), [embed(WANTED)], CONFIG)
  ratings = fitted().score(POOL)
  assert ratings.dtype == np.float32
  np.testing.assert_allclose(np.exp(ratings[p > 0].astype(np.float64)), p[p > 0], rtol=1e-5)
  assert np.isfinite(ratings).all()
  assert (ratings[p == 0] < WITHOUT).all()


def test_texts_are_looked_up_in_any_order_and_strangers_have_no_rating():
  scorer, ratings = fitted(), fitted().score(POOL)
  some = [150, 3, 3, 77]
  np.testing.assert_array_equal(scorer.score([POOL[i] for i in some]), ratings[some])
  assert np.isnan(scorer.score(["a stranger", ""])).all()
  assert scorer.score([]).shape == (0,)


def test_digests_that_share_their_first_half_are_told_apart():
  scorer, ratings = fitted(), fitted().score(POOL)
  digests = scorer.arrays["digests"].copy()
  digests[:, :8] = 0
  order = np.lexsort(digests.T[::-1])
  arrays = {"digests": digests[order], "ratings": scorer.arrays["ratings"][order]}
  same = TsdsScorer(CONFIG, arrays)
  from datarater.data import fingerprints
  from datarater.scorers.tsds import scorer as module

  def half(texts):
    return [b"\0" * 8 + digest[8:] for digest in fingerprints.digests(texts)]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(module, "digests", half)
    np.testing.assert_array_equal(same.score(POOL), ratings)


def test_documents_without_probability_follow_by_distance_whatever_the_noise():
  ratings = fitted().score(POOL)
  without = np.flatnonzero(ratings < WITHOUT)
  assert 50 < len(without) < 190
  gaps = np.linalg.norm(embed(POOL)[:, None] - embed(WANTED), axis=-1).min(axis=1)
  order = without[np.argsort(gaps[without])]
  assert (np.diff(ratings[order]) < 0).all()
  least, most, odd = 0.0, 1 - 2.0**-53, np.arange(200) % 2 == 1
  for draws in (np.where(odd, least, most), np.where(odd, most, least)):
    noisy = perturbed(ratings, 1.0, lambda rows, draws=draws: draws[rows])
    np.testing.assert_array_equal(np.argsort(-noisy, kind="stable")[-len(order) :], order)


def test_copies_of_a_text_share_its_probability():
  best = int(fitted().score(POOL).argmax())
  pool = [*POOL, *[POOL[best]] * 20]
  p = probabilities(embed(pool), [embed(WANTED)], TsdsConfig(C=2.0))
  ratings = fitted(pool, config=TsdsConfig(C=2.0)).score(pool)
  copies = [best, *range(200, 220)]
  assert p[copies].sum() > 0
  assert np.unique(ratings[copies]).size == 1
  np.testing.assert_allclose(np.exp(ratings[copies]).sum(), p[copies].sum(), rtol=1e-5)


def test_several_targets_weigh_the_same():
  one, two = WANTED[:1], WANTED[1:]
  ratings = fitted(targets=[texts_target("one", one), texts_target("two", two)]).score(POOL)
  parts = [probabilities(embed(POOL), [embed(texts)], CONFIG) for texts in (one, two)]
  expected = (parts[0] + parts[1]) / 2
  some = expected > 0
  np.testing.assert_allclose(np.exp(ratings[some]), expected[some], rtol=1e-5)
  assert (ratings[~some] < WITHOUT).all()


def test_documents_without_text_are_no_part_of_the_pool():
  pool = ["", *POOL[:100], " \n", *POOL[100:]]
  targets = [texts_target("one", ["", *WANTED])]
  ratings = fitted(pool, targets).score(pool)
  assert np.isnan(ratings[[0, 101]]).all()
  np.testing.assert_array_equal(np.delete(ratings, [0, 101]), fitted().score(POOL))


def test_it_is_saved_loaded_and_pickled(tmp_path):
  scorer = fitted()
  scorer.save(tmp_path / "scorer")
  for other in (load_scorer(tmp_path / "scorer"), pickle.loads(pickle.dumps(scorer)), fitted()):
    assert other.fingerprint == scorer.fingerprint
    np.testing.assert_array_equal(other.score(POOL), scorer.score(POOL))
  assert fitted(config=TsdsConfig(C=0.6)).fingerprint != scorer.fingerprint


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_vectors_come_from_a_file(tmp_path, suffix):
  path = tmp_path / f"vectors{suffix}"
  arrays = {"pool": embed(POOL).astype(np.float32), "target": embed(WANTED).astype(np.float32)}
  np.savez(path, **arrays) if suffix == ".npz" else safetensors.numpy.save_file(arrays, path)
  ratings = fitted(config=TsdsConfig(C=0.5, vectors=str(path)), embed=None).score(POOL)
  np.testing.assert_allclose(ratings, fitted().score(POOL), rtol=1e-4)


@pytest.mark.parametrize("whiten", [True, False])
def test_vectors_come_from_a_proxy(whiten):
  import jax

  from datarater.config import ModelConfig
  from datarater.data.tokenizers import ByteTokenizer
  from datarater.models.language_model import init_language_model

  model = ModelConfig(width=16, layers=1, heads=2, mlp_width=32)
  theta = init_language_model(model, 257, jax.random.key(0), 32)
  proxy = Proxy(model, 32, ByteTokenizer(), jax.tree.map(np.asarray, theta))
  pool = ["", *POOL]
  config = dataclasses.replace(CONFIG, whiten=whiten)
  scorer = fitted(pool, config=config, embed=None, fitting=Fitting(proxies=(proxy,)))
  vectors, wanted = proxy.embed(POOL), [proxy.embed(WANTED)]
  p = probabilities(*(whitened(vectors, wanted, CONFIG.C) if whiten else (vectors, wanted)), CONFIG)
  ratings = scorer.score(pool)
  assert np.isnan(ratings[0])
  np.testing.assert_allclose(np.exp(ratings[1:][p > 0]), p[p > 0], rtol=1e-4)
  tokens = np.array([len(text) for text in [*pool, *WANTED]])
  assert scorer.fit_flops == pytest.approx(proxy.forward_flops(tokens))


def test_whitened_vectors_vary_alike_and_copies_stay_near():
  random = np.random.default_rng(0)
  scales = np.array([30.0, 3.0, 0.3, 0.3])
  pool = 100 + scales * random.normal(size=(500, 4))  # a narrow cone
  near = pool[:1] + 1e-3 * random.normal(size=(20, 4))
  white, (copies, others) = whitened(pool, [near, pool[:3]], 5.0)
  np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-10)
  variances = np.linalg.eigvalsh(np.cov(white.T, bias=True))
  assert variances.sum() == pytest.approx(5.0**2)
  assert 0.2 < variances[0] / variances[-1] < 1  # what hardly varies is damped
  np.testing.assert_allclose(others, white[:3])
  assert np.linalg.norm(copies - white[0], axis=1).max() < 0.05
  same, (one,) = whitened(np.ones((5, 3)), [np.full((2, 3), 2.0)], 5.0)
  assert not same.any()
  assert (one == 1).all()


def test_many_near_copies_share_what_one_had():
  """More of them than there are other documents, with the defaults."""
  random = np.random.default_rng(0)
  pool, target = random.normal(size=(300, 32)), random.normal(size=(10, 32))
  config = TsdsConfig()
  white, targets = whitened(pool, [target], config.C)
  alone = probabilities(white, targets, config)
  best = int(alone.argmax())
  copies = white[best] + 1e-3 * random.normal(size=(600, 32))
  crowded = probabilities(np.concatenate([white, copies]), targets, config)
  assert crowded[best] + crowded[300:].sum() == pytest.approx(alone[best], rel=0.05)


def spoiled(value, *places):
  def embed_some(texts):
    rows = embed(texts)
    rows[[i for i, text in enumerate(texts) if text in places]] = value
    return rows

  return embed_some


@pytest.mark.parametrize(
  ("more", "message"),
  [
    ({"targets": []}, "chooses data for a target"),
    ({"pool": POOL[:1]}, "pool of 1 document; give at least two"),
    ({"pool": ["", " "]}, "pool has no document with text"),
    ({"embed": None}, "--proxy RUN"),
    ({"embed": spoiled(np.nan, POOL[7], POOL[9])}, "2 of the pool's 200 .* first of document 7 "),
    ({"embed": spoiled(np.inf, WANTED[2])}, "1 of the target's 6 .* first of document 2 "),
    ({"embed": lambda texts: embed(texts)[1:]}, r"200 documents of the pool have shape \(199, 4\)"),
    ({"embed": lambda texts: embed(texts)[:, 0]}, r"have shape \(200,\)"),
    ({"embed": lambda texts: embed(texts)[:, : 3 + (len(texts) > 9)]}, "width 3, .* pool 4"),
    ({"embed": lambda texts: np.ones((len(texts), 4), int)}, "pool are int64; give float32"),
    ({"config": TsdsConfig(vectors="none.npz")}, "'none.npz' is not a file"),
  ],
)
def test_what_cannot_be_fitted_is_refused(more, message):
  with pytest.raises(InputError, match=message):
    fitted(**more)


@pytest.mark.parametrize(
  ("name", "arrays", "message"),
  [
    ("a.npz", {"pool": embed(POOL)}, "no array 'target', only .'pool'."),
    ("a.npz", {"pool": embed(POOL[:9]), "target": embed(WANTED)}, r"\(9, 4\), but it has 200"),
    ("a.npz", {"pool": embed(POOL), "target": embed(WANTED[:2])}, r"\(2, 4\), but it has 6"),
    ("a.npz", None, "cannot be read"),
    ("a.safetensors", None, "cannot be read"),
    ("a.npy", None, "no .npz and no .safetensors"),
  ],
)
def test_a_file_of_vectors_that_does_not_fit_is_refused(tmp_path, name, arrays, message):
  path = tmp_path / name
  if arrays is None:
    path.write_bytes(b"something else")
  else:
    np.savez(path, **arrays)
  with pytest.raises(InputError, match=message):
    fitted(config=TsdsConfig(vectors=str(path)))


@pytest.mark.parametrize(
  ("field", "value"),
  [("alpha", 1.5), ("C", 0.0), ("sigma", -1.0), ("max_K", 0), ("kde_K", 0), ("probes", 0)],
)
def test_settings_that_make_no_sense_are_refused(field, value):
  with pytest.raises(InputError, match=f"TsdsConfig.{field} is {value}"):
    TsdsConfig(**{field: value})
