"""Fitting a scorer to a corpus: found again, refused, and never on what the target holds too."""

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from datarater.corpus_config import ScoreConfig
from datarater.curation.fit import fit
from datarater.curation.score import score
from datarater.curation.targets import read_targets
from datarater.errors import InputError
from datarater.scorers import fitted
from datarater.scorers.fitted import FittedScorer, load_scorer
from datarater.scorers.target import Example, Target, texts_target


@dataclasses.dataclass(frozen=True)
class LikenessConfig:
  power: float = 1.0


class Likeness(FittedScorer):
  """Rates by the letters that a text shares with the target; remembers the pool that it saw."""

  name = "likeness"
  config: LikenessConfig
  fits: ClassVar[list[list[str]]] = []

  @classmethod
  def fit(cls, pool, targets, config, fitting=fitted.Fitting()):  # noqa: B008
    cls.fits.append(list(pool))
    letters = np.zeros(128)
    for text in targets[0].texts:
      letters[list(text.encode())] = 1
    return cls(config, {"letters": letters})

  def score(self, texts):
    values = [self.arrays["letters"][list(text.encode())].mean() for text in texts]
    return np.asarray(values, np.float32) ** self.config.power


@pytest.fixture(autouse=True)
def likeness(monkeypatch):
  """The scorer, where those of the package are."""
  import datarater.scorers.random as home

  monkeypatch.setattr(home, "Likeness", Likeness, raising=False)
  monkeypatch.setattr(fitted.scorer_config, "LikenessConfig", LikenessConfig, raising=False)
  monkeypatch.setitem(fitted.SCORERS, "likeness", ("random.Likeness", "LikenessConfig"))
  Likeness.fits.clear()


@pytest.fixture
def corpus(tmp_path):
  return write(tmp_path / "corpus", "pool.jsonl", ["aaaa", "abab", "bbbb", "cccc"])


def write(folder, name, texts):
  folder.mkdir(exist_ok=True)
  lines = [json.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
  (folder / name).write_text("\n".join(lines) + "\n")
  return str(folder / name)


def fit_it(corpus, folder, targets, power=1.0, **options):
  return fit("likeness", corpus, folder, targets, LikenessConfig(power), **options)


TARGET = texts_target("vowels", ["aeiou"])


def test_it_is_fitted_once_and_found_again(corpus, tmp_path):
  scorer = fit_it(corpus, tmp_path / "scorer", [TARGET])
  np.testing.assert_array_equal(scorer.score(["aaaa", "abab"]), [1, 0.5])
  again = fit_it(corpus, tmp_path / "scorer", [TARGET])
  assert again.fingerprint == scorer.fingerprint
  assert Likeness.fits == [["aaaa", "abab", "bbbb", "cccc"]]
  assert load_scorer(tmp_path / "scorer").facts["fit"]["inputs"].keys() == {"pool.jsonl"}


@pytest.mark.parametrize("changed", ["targets", "settings", "inputs"])
def test_one_that_was_fitted_otherwise_is_refused(corpus, tmp_path, changed):
  fit_it(corpus, tmp_path / "scorer", [TARGET])
  targets, power = [TARGET], 1.0
  if changed == "targets":
    targets = [texts_target("vowels", ["aeio"])]
  elif changed == "settings":
    power = 2.0
  else:
    corpus = write(tmp_path / "corpus", "pool.jsonl", ["aaaa", "abab"])
  with pytest.raises(InputError, match=rf"fitted otherwise \({changed}") as error:
    fit_it(corpus, tmp_path / "scorer", targets, power)
  assert "\n" not in str(error.value)


def test_a_target_in_the_pool_is_named_and_refused(corpus, tmp_path):
  with pytest.raises(
    InputError, match=r"'vowels' and the pool share 1 document, the first is 'd1'"
  ):
    fit_it(corpus, tmp_path / "scorer", [texts_target("vowels", ["aeiou", "abab"])])
  assert not (tmp_path / "scorer").exists()


def test_shared_documents_leave_the_pool(corpus, tmp_path):
  target = texts_target("vowels", ["aeiou", "abab"])
  scorer = fit_it(corpus, tmp_path / "scorer", [target], allow_overlap=True)
  assert Likeness.fits == [["aaaa", "bbbb", "cccc"]]
  score(scorer, corpus, tmp_path / "ratings", quiet=True)
  table = pq.read_table(tmp_path / "ratings" / "ratings" / "pool.jsonl.parquet")
  np.testing.assert_array_equal(table["rating"].to_numpy(), [1, np.nan, 1, 0])
  assert table["flags"].to_pylist()[1] == ["rating_not_a_number"]


def test_nothing_to_choose_from_or_for_is_refused(corpus, tmp_path):
  with pytest.raises(InputError, match="--target FILES"):
    fit_it(corpus, tmp_path / "scorer", [])
  with pytest.raises(InputError, match="target 'none' is empty"):
    texts_target("none", ["", " "])
  one = write(tmp_path / "one", "pool.jsonl", ["aaaa"])
  with pytest.raises(InputError, match="pool of 1 document; give at least two"):
    fit_it(one, tmp_path / "scorer", [TARGET])
  both = texts_target("both", ["aaaa", "abab", "bbbb"])
  with pytest.raises(InputError, match="pool of 1 document"):
    fit_it(corpus, tmp_path / "scorer", [both], allow_overlap=True)


def test_targets_are_documents_or_the_right_choices(tmp_path):
  items = [
    {"id": "1", "context": "2 is", "choices": [" odd", " even"], "gold": 1},
    {"id": "2", "context": "3 is", "choices": [" odd", " even"], "gold": 0},
  ]
  task = tmp_path / "parity.jsonl"
  task.write_text("".join(json.dumps(item) + "\n" for item in items))
  news = write(tmp_path / "news", "a.jsonl", ["one", "two"])
  write(tmp_path / "news", "b.jsonl", ["three"])
  found = read_targets([f"parity={task}", f"news={tmp_path / 'news'}/*.jsonl"], ScoreConfig())
  assert found == [
    Target("parity", (Example(" even", "2 is"), Example(" odd", "3 is"))),
    texts_target("news", ["one", "two", "three"]),
  ]
  assert found[0].texts == ["2 is even", "3 is odd"]
  assert read_targets([news, news], ScoreConfig()) == [texts_target("target", ["one", "two"])]


def test_bad_targets_are_refused(tmp_path):
  bad = tmp_path / "bad.jsonl"
  bad.write_text('{"text": "fine"}\n{broken\n')
  with pytest.raises(InputError, match="record 1"):
    read_targets([str(bad)], ScoreConfig())
  with pytest.raises(InputError, match="'x' is given twice"):
    read_targets([f"x={bad}", f"x={bad}"], ScoreConfig())
  bad.write_text("")
  with pytest.raises(InputError, match="target 'target' is empty"):
    read_targets([str(bad)], ScoreConfig())
  with pytest.raises(InputError, match=r"none\.jsonl"):
    read_targets([str(tmp_path / "none.jsonl")], ScoreConfig())
