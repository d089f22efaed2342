"""Inspecting a rated corpus: numbers in closed form, the right documents, and nothing raw shown."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from datarater.corpus_config import ScoreConfig
from datarater.curation import candidates
from datarater.curation.score import score
from datarater.errors import InputError
from datarater.report import excerpts, inspect_views
from datarater.report.inspect import BINS, MOST_DOMAINS, PROBABILITIES, _nearest, inspect


class ByNumber:
  """Rates a text by the number that it begins with; counts its words as tokens."""

  name, fingerprint = "number", "1"

  def score(self, texts):
    return self.score_with_tokens(texts)[0]

  def score_with_tokens(self, texts):
    ratings = np.array([float(text.split()[0]) for text in texts], np.float32)
    return ratings, np.array([len(text.split()) for text in texts], np.int32)


def rated(folder, *shards, config=None, scorer=None):
  """(ratings folder, glob of the corpus) of shards of (id, text, domain)."""
  (folder / "corpus").mkdir(exist_ok=True)
  for n, documents in enumerate(shards):
    lines = [
      json.dumps({"id": name, "text": text, "domain": domain}) for name, text, domain in documents
    ]
    (folder / f"corpus/{n}.jsonl").write_text("\n".join(lines))
  corpus = str(folder / "corpus/*.jsonl")
  score(scorer or ByNumber(), corpus, folder / "ratings", config or ScoreConfig(), quiet=True)
  return folder / "ratings", corpus


def numbered(values, domain="d"):
  return [(f"n{v}", f"{v} words of text", domain) for v in values]


def looked_at(*args, **options):
  return inspect(*args, quiet=True, **options)


def terminal(inspection, width=120):
  printed = io.StringIO()
  console = Console(file=printed, width=width, force_terminal=True, color_system=None)
  inspect_views.show(inspection, console)
  return printed.getvalue()


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
  """0 to 100 in two shards, dealt out in turn; below 30 domain `low`, else `high`."""
  documents = [(f"n{v}", f"{v} words of text", "low" if v < 30 else "high") for v in range(101)]
  return rated(tmp_path_factory.mktemp("hundred"), documents[::2], documents[1::2])


def test_quantiles_counts_and_tokens_in_closed_form(hundred):
  got = looked_at(hundred[0])
  assert got.scorer == "number"
  assert (got.overall.documents, got.overall.tokens, got.overall.unrated) == (101, 404, 0)
  assert got.overall.mean == 50
  assert got.overall.quantiles == pytest.approx([100 * p for p in PROBABILITIES])
  high, low = got.domains  # the larger one first
  assert (high.name, high.documents, low.name, low.documents) == ("high", 71, "low", 30)
  assert (low.quantiles[0], low.quantiles[-1], high.quantiles[0]) == (0, 29, 30)
  assert sum(got.counts) == 101
  assert len(got.counts) == BINS
  assert not got.groups
  assert not got.with_texts


def test_excerpts_are_the_documents_nearest_to_each_quantile(hundred):
  got = looked_at(*hundred, at=(0, 0.5, 1), excerpts=2, width=4)
  ids = [[excerpt.id for excerpt in group.excerpts] for group in got.groups]
  assert ids[0] == ["n1", "n0"]
  assert ids[1][0] in ("n50", "n51")
  assert "n50" in ids[1]
  assert ids[2] == ["n100", "n99"]
  best = got.groups[2].excerpts[0]
  assert (best.rating, best.tokens, best.domain, best.shard, best.row) == (
    100, 4, "high", "0.jsonl", 50,
  )  # fmt: skip
  assert (best.text, best.characters) == ("100 ", len("100 words of text"))


def test_side_files_are_read_a_batch_at_a_time(hundred, monkeypatch):
  monkeypatch.setattr(candidates, "BATCH_ROWS", 4)
  got = looked_at(*hundred, at=(0, 0.5, 1), excerpts=20)
  for group in got.groups:
    assert all(e.id == f"n{e.rating:.0f}" and e.text.startswith(e.id[1:]) for e in group.excerpts)


def test_around_a_rating_and_within_domains(hundred):
  got = looked_at(*hundred, rating=29.4, excerpts=1)
  assert [(g.quantile, g.target, g.excerpts[0].id) for g in got.groups] == [(None, 29.4, "n29")]
  got = looked_at(*hundred, rating=29.4, excerpts=1, domains=["high", "low"])
  assert [(g.domain, g.excerpts[0].id) for g in got.groups] == [("high", "n30"), ("low", "n29")]
  got = looked_at(*hundred, at=(1,), excerpts=1, domains=["low"])
  assert [g.excerpts[0].id for g in got.groups] == ["n29"]
  assert [g.target for g in got.groups] == [29]


def test_of_equal_ratings_the_first_rows_of_one_shard_are_shown(tmp_path, monkeypatch):
  folder, corpus = rated(tmp_path, *([(f"{s}-{i}", "1 x", "d") for i in range(9)] for s in "abc"))
  read = []

  def spied(path, *args, limit, **options):
    read.append((path.name, limit))
    return original(path, *args, limit=limit, **options)

  original = excerpts.read_records
  monkeypatch.setattr(excerpts, "read_records", spied)
  got = looked_at(folder, corpus, at=(0, 0.5, 1), excerpts=3)
  assert read == [("0.jsonl", 3)]
  for group in got.groups:
    assert [excerpt.id for excerpt in group.excerpts] == ["a-0", "a-1", "a-2"]


def test_a_shard_that_is_read_anyway_is_cheaper_than_another(tmp_path):
  # The best is in the second shard; the worst two are equal, one in each shard.
  folder, corpus = rated(
    tmp_path,
    [("a", "1 x", "d"), ("b", "5 x", "d")],
    [("c", "5 x", "d"), ("d", "1 x", "d"), ("e", "9 x", "d")],
  )
  got = looked_at(folder, corpus, at=(1, 0), excerpts=1)
  assert [group.excerpts[0].id for group in got.groups] == ["e", "d"]


@given(
  st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20),
  st.integers(1, 5),
  st.floats(0, 2),
  st.data(),
)
def test_the_nearest_are_within_the_tolerance_or_the_fewest_nearest(values, number, tol, data):
  target = data.draw(st.sampled_from(values))
  values = np.array(values)
  with np.errstate(invalid="ignore"):
    distance = np.where(values == target, 0.0, np.abs(values - target))
    got = _nearest(values, target, number, tol)
  limit = max(tol, np.sort(distance)[min(number, len(values)) - 1])
  assert set(got) >= set(np.flatnonzero(distance <= limit)) if number < len(values) else True
  assert len(got) >= min(number, len(values))
  assert distance[got].max() <= limit or len(got) == len(values)


def test_not_a_number_is_counted_and_never_shown(tmp_path):
  folder, corpus = rated(tmp_path, [*numbered([1, 2]), ("x", "nan text", "d")])
  got = looked_at(folder, corpus, at=(0, 1), excerpts=5)
  assert (got.overall.documents, got.overall.unrated, got.overall.quantiles[-1]) == (3, 1, 2)
  assert all(excerpt.id != "x" for group in got.groups for excerpt in group.excerpts)
  assert "3 (1 unrated)" in terminal(got)


@pytest.mark.parametrize("text", ["nan x", "inf x"])
def test_without_a_finite_rating_there_is_still_a_page(tmp_path, text):
  folder, corpus = rated(tmp_path, [("x", text, "d")])
  got = looked_at(folder, corpus)
  assert got.counts == ()
  assert "d" in terminal(got)
  assert "<svg" not in inspect_views.render(got)


def test_a_corpus_without_documents(tmp_path):
  (tmp_path / "corpus").mkdir()
  (tmp_path / "corpus/0.jsonl").write_text('{"text": ""}\n')
  score(ByNumber(), str(tmp_path / "corpus/*.jsonl"), tmp_path / "ratings", quiet=True)
  got = looked_at(tmp_path / "ratings", str(tmp_path / "corpus/*.jsonl"))
  assert got.overall.documents == 0
  assert got.groups == ()
  assert math.isnan(got.overall.mean)
  terminal(got)
  inspect_views.render(got)


def test_the_largest_domains_have_rows_and_those_asked_for(tmp_path):
  documents = [
    (f"{d}-{i}", f"{i} x", f"d{d:02}") for d in range(30) for i in range(2 if d < 29 else 1)
  ]
  folder, corpus = rated(tmp_path, documents)
  got = looked_at(folder, corpus, domains=["d29"], at=(1,))
  assert len(got.domains) == MOST_DOMAINS + 1
  assert got.domains_left_out == 30 - MOST_DOMAINS - 1
  assert got.domains[-1].name == "d29"
  assert "and 9 more" in terminal(got)


def test_other_columns(tmp_path):
  class Other(ByNumber):
    def score_with_tokens(self, texts):
      ratings, tokens = super().score_with_tokens(texts)
      return -ratings, tokens

  folder, corpus = rated(
    tmp_path,
    numbered(range(9)),
    config=ScoreConfig(signals=True),
    scorer={"plain": ByNumber(), "other": Other()},
  )
  assert looked_at(folder).scorer == "plain"
  for column in ("other", "rating_other"):
    got = looked_at(folder, corpus, column=column, at=(1,), excerpts=1)
    assert (got.scorer, got.groups[0].excerpts[0].id) == ("other", "n0")
  assert looked_at(folder, column="signal_words").overall.mean == 4
  with pytest.raises(InputError, match=r"'none' are not in the side files; there are"):
    looked_at(folder, column="none")


HOSTILE = (
  "\x1b[31mred\x07 \u202eabc\u2066 \x9b31m \x85 [bold]b[/bold] <script>x</script>\r\ud83d\ttab"
)


def test_nothing_of_the_data_reaches_terminal_or_page_raw(tmp_path):
  text = "1 " + HOSTILE.replace("\ud83d", "") + "\nsecond"
  name = "[red]i<b>d\x1b]0;t\x07"
  folder, corpus = rated(tmp_path, [(name, text, "[bold]<i>\x1b[1m\u202e")])
  got = looked_at(folder, corpus, at=(0,))
  assert got.groups[0].excerpts[0].text == text  # as it is, until it is shown
  printed = terminal(got)
  for raw in ("\x1b[31m", "\x1b]", "\x07", "\u202e", "\u2066", "\x9b", "\x85", "\r", "\t"):
    assert raw not in printed, raw
  assert "[bold]b[/bold]" in printed  # no markup of rich either
  assert "␛[31mred␇" in printed
  assert printed.count("[bold]<i>") == 2  # in the table, and above the text
  assert "[red]i<b>d" in printed
  page = inspect_views.render(got)
  for raw in ("\x1b", "\x07", "\u202e", "\u2066", "\x9b", "\x85", "<script", "i<b>d", "<i>"):
    assert raw not in page, raw
  assert "&lt;script&gt;" in page


def test_the_page_is_complete_and_the_same_each_time(hundred, tmp_path):
  for name in ("a.html", "b.html"):
    inspect_views.write_inspection(looked_at(*hundred), tmp_path / name)
  page = (tmp_path / "a.html").read_text()
  assert page == (tmp_path / "b.html").read_text()
  assert page.count("<svg") == 2
  assert page.count("<article") == 15
  for said in ("101 documents rated by number", "The lowest rated, 0", "At the 90% quantile, 90"):
    assert said in page
  for asked in ("<script", "src=", "@import", "url(http"):
    assert asked not in page


def test_without_the_corpus_terminal_and_page_say_so(hundred):
  got = looked_at(hundred[0])
  assert "Name the corpus" in terminal(got)
  assert "Name the corpus" in inspect_views.render(got)
  assert "Name the corpus" not in terminal(looked_at(*hundred))


@pytest.mark.parametrize(("width", "quantiles"), [(120, 7), (76, 5), (48, 1)])
def test_a_narrow_terminal_gets_fewer_quantiles_never_cut_numbers(hundred, width, quantiles):
  lines = terminal(looked_at(hundred[0]), width).splitlines()
  (row,) = [line for line in lines if line.strip().startswith("all")]
  assert len(row.split()) == 3 + quantiles
  assert "…" not in "".join(lines[1:])


def test_cut_texts_end_in_dots(hundred):
  group = looked_at(*hundred, at=(1,), excerpts=1, width=9).groups[0]
  assert inspect_views.plain(group.excerpts[0]) == "100 words…"
  group = looked_at(*hundred, at=(1,), excerpts=1).groups[0]
  assert inspect_views.plain(group.excerpts[0]) == "100 words of text"


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"at": (0.5, 1.5)}, "quantile is 1.5"),
    ({"rating": math.nan}, "rating is nan"),
    ({"excerpts": 0}, "excerpts is 0"),
    ({"width": 0}, "width is 0"),
    ({"domains": ["nowhere"]}, "domain 'nowhere' is not in the ratings; there are: 'high', 'low'"),
    ({"column": "signal_words"}, "score with --signals"),
    ({"inputs": "/nowhere/*.jsonl"}, "matches no file"),
  ],
)
def test_bad_input_is_one_line(hundred, options, said):
  with pytest.raises(InputError, match=said) as error:
    looked_at(hundred[0], **options)
  assert "\n" not in str(error.value)


def test_another_corpus_is_refused(tmp_path):
  folder, corpus = rated(tmp_path, numbered(range(5)), numbered(range(5, 9)))
  with pytest.raises(InputError, match=r"input has no shard '1\.jsonl'"):
    looked_at(folder, str(tmp_path / "corpus/0.jsonl"), at=(1,))
  shard = tmp_path / "corpus/1.jsonl"
  shard.write_text(shard.read_text() + '\n{"text": "10 new"}')
  looked_at(folder, corpus, at=(0,), excerpts=1)  # the other shard alone is read
  with pytest.raises(InputError, match=r"'1\.jsonl' has changed since it was rated"):
    looked_at(folder, corpus, at=(1,))


def test_a_document_that_is_not_where_it_was_rated_is_noticed(tmp_path, monkeypatch):
  folder, corpus = rated(tmp_path, numbered(range(5)))
  lines = (tmp_path / "corpus/0.jsonl").read_text().split("\n")
  (tmp_path / "corpus/0.jsonl").write_text("\n".join(lines[::-1]))
  monkeypatch.setattr(excerpts, "fingerprint", lambda _: run["inputs"]["0.jsonl"])
  run = json.loads((folder / "run.json").read_text())
  with pytest.raises(InputError, match=r"do not belong together: row 4 is another document"):
    looked_at(folder, corpus, at=(1,), excerpts=1)


def test_what_is_no_ratings_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match="does not exist"):
    looked_at(tmp_path / "none")
