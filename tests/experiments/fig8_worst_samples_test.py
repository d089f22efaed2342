"""Each kind is found and ordinary prose is none; the worst are the worst; people are masked."""

import numpy as np
import pytest

from experiments import fig8_worst_samples
from experiments.fig8_worst_samples import shown, worst_of
from experiments.text_kinds import KINDS, kinds_of

PROSE = "My fellow citizens, I stand here today humbled by the task before us. A nation is one. "
EXAMPLES = {
  "bad encoding": PROSE + "It wasnâ€™t so, \ufffd\ufffd said FranÃ§ois.",
  "OCR noise": "tbe c0me w ith t h e 1ight of th3m 0n s0me n ight d ays",
  "white space": "a b    c        d          \n\n\n\n    word      word   ",
  "number table": "2563\t3\t48.29\t27.58\t0\n2564\t3\t48.22\t27.58\t0\n",
  "keys": "key: 5mZj4APa8sdk3kfJ99dkslw0f8sdj\nTVqQAAMAAAAEAAAA8AALgAAAA4fug4AtAnNIbgB",
  "all capitals": "ACT NOW! THIS OFFER ENDS TODAY AND WILL NOT COME BACK.",
  "markup": '<tr class="row-odd"><td><p>ARM</p></td></tr>',
}


def test_every_kind_has_an_example():
  assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
  assert kind in kinds_of(EXAMPLES[kind])


@pytest.mark.parametrize("text", ["", PROSE, "Ég á hús. Über uns: «Привет», 東京です。"])
def test_ordinary_text_is_of_no_kind(text):
  assert kinds_of(text) == ()


def test_long_words_and_long_numbers_are_no_keys():
  assert "keys" not in kinds_of("Donaudampfschifffahrtsgesellschaft 31415926535897932384626433")


def test_the_worst_are_the_lowest_that_are_rated():
  ratings = np.arange(300.0)[::-1].copy()
  ratings[299] = np.nan
  np.testing.assert_array_equal(worst_of(ratings), [298, 297, 296])
  np.testing.assert_array_equal(worst_of(np.array([1.0, 0.0])), [1])


def test_samples_name_nobody():
  text = "From: <ann.lee@host.example> see https://host.example/x?y=1 or www.host.example. Bye"
  assert shown(text) == "From: <[address]> see [link] or [link] Bye"
  assert len(shown("a" * 9999)) == fig8_worst_samples.CHARACTERS


def test_a_small_pool(place):
  results = fig8_worst_samples.EXPERIMENT.run(place)
  for found in results["objectives"].values():
    assert sum(found["domains"][d]["mean"] for d in found["domains"]) == pytest.approx(1.0)
    assert found["kinds"].keys() == KINDS.keys()
    worst = [sample["rating"] for sample in found["worst"]]
    assert worst == sorted(worst)
    assert worst[-1] < found["best"][-1]["rating"]
    domains = [sample["domain"] for sample in found["worst"]]
    assert domains[:2] == ["tables"] * fig8_worst_samples.SAMPLES_A_DOMAIN
    assert max(map(domains.count, domains)) == fig8_worst_samples.SAMPLES_A_DOMAIN
    assert found["domains"]["tables"]["mean"] == 1.0
  assert (place.folder("fig8_worst_samples") / "figure.png").read_bytes().startswith(b"\x89PNG")
