"""The store of gradients: a kill costs a block and no bit; other gradients are refused."""

import dataclasses

import numpy as np
import pytest
from small_proxies import CONFIG, TARGET, made_text, proxy_of_seed

from datarater.data import blocks
from datarater.errors import InputError
from datarater.scorer_config import DsdmConfig
from datarater.scorers.dsdm import scorer
from datarater.scorers.dsdm.features import Features, Gradients
from datarater.scorers.dsdm.scorer import DsdmScorer
from datarater.scorers.dsdm.store import open_store, origin_of
from datarater.scorers.fitted import Fitting
from datarater.scorers.target import texts_target

RANDOM = np.random.default_rng(0)
POOL = [made_text(RANDOM, "abcdef") for _ in range(40)]
PROXIES = (proxy_of_seed(0),)


@pytest.fixture
def calls(monkeypatch):
  """Sizes of the blocks whose gradients are taken, ten documents a block."""
  sizes = []
  real = Gradients.__call__
  cut = blocks.blocks

  def counted(self, examples):
    sizes.append(len(examples))
    return real(self, examples)

  def tens(items, characters):
    yield from cut(items, lambda item: blocks.BLOCK_CHARACTERS // 10)

  monkeypatch.setattr(Gradients, "__call__", counted)
  monkeypatch.setattr(scorer, "blocks", tens)
  return sizes


def fit(folder, targets=TARGET, pool=POOL, config=CONFIG, proxies=PROXIES):
  return DsdmScorer.fit(pool, targets, config, Fitting(proxies, folder))


def test_a_killed_fit_goes_on_and_ends_with_the_same_bits(tmp_path, calls, monkeypatch):
  whole = fit(None)
  assert calls == [11, 11, 11, 7, 3]
  calls.clear()
  real = scorer.Moments.add

  def killed(self, values):
    if self.number:
      raise KeyboardInterrupt
    real(self, values)

  with monkeypatch.context() as patch:
    patch.setattr(scorer.Moments, "add", killed)
    with pytest.raises(KeyboardInterrupt):
      fit(tmp_path)
  assert calls == [11, 11]
  calls.clear()
  assert fit(tmp_path).fingerprint == whole.fingerprint
  assert calls == [11, 7, 3]


def test_another_target_or_ridge_takes_no_gradient_of_the_pool_again(tmp_path, calls):
  first = fit(tmp_path)
  calls.clear()
  other = [texts_target("other", ["fedcba"])]
  again = fit(tmp_path, other, POOL[::-1], dataclasses.replace(CONFIG, ridge=1.0, kernel=False))
  assert calls == [1]
  assert again.fingerprint != first.fingerprint
  assert again.fit_flops < first.fit_flops  # one target example instead of three


@pytest.mark.parametrize(
  ("change", "named"),
  [
    ({"proxies": (proxy_of_seed(1),)}, "proxy"),
    ({"pool": [*POOL[:-1], "abc"]}, "pool"),
    ({"config": dataclasses.replace(CONFIG, projection=24)}, "projection: 48 -> 24"),
    ({"config": dataclasses.replace(CONFIG, kind="dense")}, "kind"),
    ({"config": dataclasses.replace(CONFIG, rows_a_document=1)}, "rows_a_document"),
    ({"config": dataclasses.replace(CONFIG, stored="float16")}, "stored"),
    ({"config": dataclasses.replace(CONFIG, seed=3)}, "seed"),
  ],
)
def test_a_store_of_other_gradients_is_refused(tmp_path, change, named):
  origin = origin_of(CONFIG, PROXIES[0].fingerprint, scorer.draw(POOL, CONFIG), 0)
  with open_store(tmp_path / "gradients-0", origin):
    pass
  with pytest.raises(InputError, match=f"{named}.*name another folder"):
    fit(tmp_path, **change)


def test_float16_keeps_small_gradients():
  values = np.array([[1e-9, -2e-9, 3e-9], [1e6, -1.0, 0.0], [np.nan] * 3], np.float32)
  features = Features(values, np.array([3, 4, 0]))
  origin = origin_of(DsdmConfig(stored="float16"), "", [], 0)
  with open_store(None, origin) as store:
    kept = store.block(0, lambda: features)
  np.testing.assert_allclose(kept.values, values, rtol=1e-3, atol=2.0)
  np.testing.assert_allclose(kept.values[0], values[0], rtol=1e-3)
  assert kept.counted.shape == (2, 3)


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_what_is_read_is_what_was_written(tmp_path, stored):
  features = Features(RANDOM.normal(size=(5, 7)).astype(np.float32), np.arange(5))
  with open_store(tmp_path, origin_of(DsdmConfig(stored=stored), "", [], 0)) as store:
    written = store.block(3, lambda: features)
    read = store.block(3, lambda: pytest.fail("made again"))
  np.testing.assert_array_equal(read.values, written.values)
  np.testing.assert_array_equal(read.tokens, features.tokens)
  if stored == "float32":
    np.testing.assert_array_equal(read.values[1:], features.values[1:])


def test_a_broken_block_is_named(tmp_path):
  with open_store(tmp_path, origin_of(CONFIG, "", [], 0)) as store:
    (tmp_path / "block-00000.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"block-00000.*delete that file"):
      store.block(0, lambda: pytest.fail("made"))
