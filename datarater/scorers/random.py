"""The control: ratings that know nothing. Every claim is measured against thinning at random."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np


def uniform_hash(keys: Sequence[str] | np.ndarray, seed: int, purpose: str = "") -> np.ndarray:
  """float64[N] in [0, 1), a function of key, seed and purpose alone: neither order nor workers
  matter.

  Different purposes give independent numbers for the same key. 53 bits: exact in a float64.
  """
  key = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=32).digest()
  keyed = hashlib.blake2b(digest_size=8, key=key)

  def digest(name: str) -> bytes:
    copy = keyed.copy()  # half the time of hashing the key again
    copy.update(name.encode())
    return copy.digest()

  digests = b"".join(map(digest, keys))
  return (np.frombuffer(digests, ">u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


@dataclasses.dataclass(frozen=True)
class RandomScorer:
  """Uniform in [0, 1), by the document's id; by the text where there is only that."""

  seed: int = 0
  name: str = "random"

  @property
  def fingerprint(self) -> str:
    return f"seed {self.seed}"

  def score(self, texts: Sequence[str]) -> np.ndarray:
    """float32[N]; equal texts get equal ratings."""
    return uniform_hash(texts, self.seed, "random scorer").astype(np.float32)

  def score_documents(self, ids: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """float32[N]; the texts are not looked at."""
    del texts
    return self.score(ids)
