"""Language models that nobody trained, as proxies, and texts and settings that fit them."""

import jax
import numpy as np

from datarater.config import ModelConfig
from datarater.data.tokenizers import ByteTokenizer
from datarater.models.language_model import init_language_model
from datarater.scorer_config import DsdmConfig
from datarater.scorers.proxy import Proxy
from datarater.scorers.target import texts_target

MODEL = ModelConfig(width=8, layers=1, heads=2, mlp_width=16)
LENGTH = 32
CONFIG = DsdmConfig(projection=48)
TARGET = [texts_target("letters", ["abcabcabcabc", "cabcabcabca", "bcabcabcabcabca"])]


def proxy_of_seed(seed: int) -> Proxy:
  """A model as it starts."""
  theta = init_language_model(MODEL, 257, jax.random.key(seed), LENGTH)
  return Proxy(MODEL, LENGTH, ByteTokenizer(), jax.tree.map(np.asarray, theta))


def made_text(random: np.random.Generator, letters: str) -> str:
  """5 to 60 letters."""
  return "".join(random.choice(list(letters), random.integers(5, 60)))
