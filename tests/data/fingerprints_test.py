"""Digests and MinHash: known values, the estimate's error, what counts as the same words."""

import builtins
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from datarater.data import fingerprints
from datarater.data.fingerprints import PERMUTATIONS, digests, minhashes
from datarater.errors import InputError

PINNED = [331440954, 274282349, 30821603]
TEXT = "the quick brown fox jumps over the lazy dog and runs away from all of them"
WORDS = TEXT.split()


def similarity(a: str, b: str) -> float:
  x, y = minhashes([a, b])
  return float((x == y).mean())


def test_digests_are_blake2b_of_the_exact_text():
  one, two = digests(["a", "a "])
  assert one == hashlib.blake2b(b"a", digest_size=16).digest()
  assert one != two
  assert digests([]) == []


def test_minhash_is_pinned_on_every_machine_and_in_every_process():
  # A change here changes what is a near-copy: side files written before no longer compare.
  text = "one two three four five six, eins zwei drei 一二三"
  code = "from datarater.data.fingerprints import *; import sys; "
  code += f"sys.stdout.buffer.write(minhashes([{text!r}]).tobytes())"
  environment = os.environ | {"PYTHONHASHSEED": "7"}
  other = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
  here = minhashes([text])
  assert other.stdout == here.tobytes()
  assert here.dtype == np.uint32
  assert here.shape == (1, PERMUTATIONS)
  assert here[0, :3].tolist() == PINNED


def test_signatures_do_not_depend_on_the_texts_beside():
  texts = [" ".join(WORDS[i:]) for i in range(len(WORDS))]
  together = minhashes(texts)
  alone = np.concatenate([minhashes([text]) for text in texts])
  np.testing.assert_array_equal(together, alone)
  assert minhashes([]).shape == (0, PERMUTATIONS)


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.6, 0.9])
def test_equal_values_estimate_the_jaccard_similarity_of_5grams(shared):
  # Documents of 400 distinct words that share a prefix; twenty pairs, so that the mean has an
  # error of at most 0.044/√20 = 0.01.
  n, estimates, truths = 400, [], []
  for trial in range(20):
    common = [f"c{trial}w{i}" for i in range(int(shared * n))]
    a, b = ([*common, *(f"{name}{trial}w{i}" for i in range(n - len(common)))] for name in "ab")
    grams = [{tuple(words[i : i + 5]) for i in range(n - 4)} for words in (a, b)]
    truths.append(len(grams[0] & grams[1]) / len(grams[0] | grams[1]))
    estimates.append(similarity(" ".join(a), " ".join(b)))
  assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.03)
  assert np.abs(np.subtract(estimates, truths)).max() < 5 * 0.0442


def test_case_and_white_space_do_not_matter_words_and_their_order_do():
  assert similarity(TEXT, "\n ".join(WORDS).upper()) == 1
  assert similarity(TEXT, "\u00a0\u2003".join(WORDS)) == 1  # white space of Unicode
  assert similarity(TEXT, " ".join(WORDS[::-1])) == 0
  assert similarity(TEXT, TEXT.replace("fox", "dog")) < 0.8


def test_a_document_of_fewer_than_five_words_is_one_shingle():
  assert similarity("a b c d", "A  b c d") == 1
  assert similarity("a b c d", "a b c e") == 0
  assert similarity("a b c d", "a b c d e") == 0
  assert similarity("", " \n") == 1


def test_scripts_without_spaces_are_cut_at_each_character():
  text = "吾輩は猫である名前はまだ無いどこで生れたかとんと見当がつかぬ"
  assert 0.5 < similarity(text, text + "何") < 1
  assert similarity(text, text[::-1]) < 0.1
  thai = "ฉันเป็นแมวยังไม่มีชื่อเลยนะครับผม"
  assert similarity(thai, thai + "ก") > 0.5


def test_blocks_do_not_change_long_texts(monkeypatch):
  text = " ".join(f"w{i * i % 977}" for i in range(3000))
  whole = minhashes([text])
  monkeypatch.setattr(fingerprints, "_BLOCK", 64)
  np.testing.assert_array_equal(minhashes([text]), whole)


def test_a_surrogate_is_no_error():
  assert minhashes(["\ud800 b c d e f g"]).shape == (1, PERMUTATIONS)


def test_without_the_extra_the_error_names_it(monkeypatch):
  real = builtins.__import__

  def without(name, *args, **kwargs):
    if name == "datasketch":
      raise ImportError(name)
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without)
  assert digests(["a"])
  with pytest.raises(InputError, match=r"datarater\[dedup\]"):
    minhashes(["a"])
