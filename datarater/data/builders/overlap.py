"""Near-copies among documents of different sources: exact search on a sample of their shingles.

A shingle is five words in a row (`data.fingerprints`). Of each document those are kept whose hash
falls below a bound, the same for all, so that samples compare as the documents do (FracMinHash:
Irber et al. 2022). The overlap of two documents is the share of the smaller one's sample that the
other has too: |A ∩ B| / min(|A|, |B|). Unlike the Jaccard similarity it finds a part that stands
in a longer text; it is never below it.

The search compares a document only with those that share one of its rarest shingles (prefix
filter: Chaudhuri et al. 2006), and finds every pair that the samples hold. So boilerplate, which
is frequent, costs nothing, and memory is about 16 bytes a sampled shingle.
"""

import collections
import dataclasses
import itertools
import math
import zlib
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from datarater.data.fingerprints import SHINGLE, words_of

SAMPLING = 4
"""One shingle in this many is kept: about 160 of a document of 4 KB."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that no power of it vanishes modulo 2^64


@dataclasses.dataclass(frozen=True)
class NearCopy:
  """Of documents by index: `index` repeats `of`, which is kept. overlap: estimated, at most 1."""

  index: int
  of: int
  overlap: float


def near_copies(
  texts: Iterable[str], sources: Sequence[Hashable], overlap: float, progress: bool = False
) -> list[NearCopy]:
  """What to leave out so that no two documents of different sources overlap by `overlap` or more.

  sources: of each text; within one, documents may repeat each other. The larger document stays.
  Returns near-copies in the order of their index.
  """
  bar = tqdm(texts, "comparing", total=len(sources), unit=" documents", disable=not progress)
  samples = [sample(text) for text in bar]
  shared = _shared(samples)
  index: dict[int, list[int]] = collections.defaultdict(list)
  found = []
  for i in sorted(range(len(samples)), key=lambda i: (-len(samples[i]), i)):
    needed = max(1, math.ceil(overlap * len(samples[i])))
    # A document that has `needed` of these has one of the rarest, if all but needed - 1 are asked.
    rarest = shared[i][: max(0, len(shared[i]) - needed + 1)]
    candidates = {j for token in rarest.tolist() for j in index[token] if sources[j] != sources[i]}
    matches = ((len(np.intersect1d(shared[i], shared[j], True)), -j) for j in candidates)
    common, j = max(matches, default=(0, 0))
    if common >= needed:
      found.append(NearCopy(i, -j, common / len(samples[i])))
      continue
    for token in shared[i].tolist():
      index[token].append(i)
  return sorted(found, key=lambda copy: copy.index)


def sample(text: str) -> np.ndarray:
  """uint64, sorted: hashes of the sampled shingles. A shorter text is one shingle."""
  words = [word.encode("utf-8", "surrogatepass") for word in words_of(text)]
  hashes = np.fromiter(map(zlib.crc32, words), np.uint64, len(words))
  length = max(1, min(SHINGLE, len(hashes)))
  count = max(0, len(hashes) - length + 1)
  shingles = np.zeros(count, np.uint64)
  for k in range(length):
    shingles = shingles * np.uint64(_BASE) + hashes[k : k + count]
  mixed = _mixed(shingles)
  return np.unique(mixed[mixed <= np.uint64((2**64 - 1) // SAMPLING)])


def _mixed(values: np.ndarray) -> np.ndarray:
  """The finaliser of SplitMix64 (Steele et al. 2014): every bit depends on every bit."""
  values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return values ^ (values >> np.uint64(31))


def _shared(samples: Sequence[np.ndarray]) -> list[np.ndarray]:
  """int64: of each sample, what other documents have too, as its rank by frequency, ascending."""
  if not samples:
    return []
  _, inverse, counts = np.unique(np.concatenate(samples), return_inverse=True, return_counts=True)
  rank = np.empty(len(counts), np.int64)
  rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
  bounds = np.cumsum([0, *map(len, samples)])
  tokens = (inverse[start:stop] for start, stop in itertools.pairwise(bounds))
  return [np.sort(rank[own[counts[own] > 1]]) for own in tokens]
