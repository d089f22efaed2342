"""Sources give the documents of their split and domains and no others, and say what is wrong."""

import dataclasses
import json
import lzma
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from datarater.data import datasets
from datarater.data.builders.text import prepare_dataset
from datarater.data.sources import Record, check_splits, open_source, source_of
from datarater.data_config import SPLITS, DataConfig
from datarater.errors import InputError

DOMAINS = ("code", "speeches", "tables")
SIZES = {"inner": 30, "outer": 12, "lm": 33, "validation": 9, "test": 15}


def documents(split: str) -> list[dict[str, str]]:
  return [
    {"text": f"text {split} {i}", "id": f"{split}/{i}", "domain": DOMAINS[i % 3], "source": "s"}
    for i in range(SIZES[split])
  ]


@pytest.fixture
def bundled(tmp_path, monkeypatch) -> DataConfig:
  """A tiny corpus in the place of the bundled one, with a cache of its own."""
  lines = [json.dumps({**d, "split": split}) for split in SIZES for d in documents(split)]
  corpus = tmp_path / "corpus.jsonl.xz"
  corpus.write_bytes(lzma.compress("\n".join(lines).encode()))
  monkeypatch.setattr(datasets, "BUNDLED", corpus)
  monkeypatch.setenv("DATARATER_CACHE", str(tmp_path / "cache"))
  return DataConfig()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
  """A dataset with one split, `train`, of 100 documents."""
  output = tmp_path_factory.mktemp("prepared") / "all"
  train = [
    {"text": f"text {i}", "id": str(i), "domain": DOMAINS[i % 3], "source": "s"} for i in range(100)
  ]
  prepare_dataset({"train": lambda: train}, output, "all")
  return str(output)


def one_split(folder: str, **changes) -> DataConfig:
  parts = ["[:30%]", "[30%:40%]", "[40%:70%]", "[70%:80%]", "[80%:]"]
  splits = {split: "train" + part for split, part in zip(SPLITS, parts, strict=True)}
  return DataConfig(dataset=folder, **{**splits, **changes})


def ids(source) -> list[str]:
  return [source[i].id for i in range(len(source))]


def test_bundled_splits_hold_their_documents(bundled):
  check_splits(bundled)
  for split in SPLITS:
    source = open_source(bundled, split)
    assert source.domains == DOMAINS
    found = sorted((source[i] for i in range(len(source))), key=lambda r: r.id)
    given = sorted(documents(split), key=lambda d: d["id"])
    assert found == [Record(d["text"], d["id"], d["domain"]) for d in given]
    for i in range(len(source)):
      assert source.domains[source.domain_index(i)] == source[i].domain


def test_bundled_is_prepared_once_and_again_when_it_changes(bundled, tmp_path, monkeypatch):
  open_source(bundled, "inner")
  (prepared,) = (tmp_path / "cache").iterdir()
  monkeypatch.setattr(datasets, "prepare_dataset", None)  # calling it would fail
  open_source(bundled, "test")
  monkeypatch.undo()
  monkeypatch.setenv("DATARATER_CACHE", str(tmp_path / "cache"))
  changed = tmp_path / "corpus.jsonl.xz"
  monkeypatch.setattr(datasets, "BUNDLED", changed)
  lines = [json.dumps({**d, "split": split}) for split in SIZES for d in documents(split)[1:]]
  changed.write_bytes(lzma.compress("\n".join(lines).encode()))
  assert len(open_source(bundled, "inner")) == SIZES["inner"] - 1
  assert prepared.is_dir()


def test_two_processes_prepare_the_bundled_corpus_at_once(bundled, tmp_path):
  program = f"""
import sys
from pathlib import Path
from datarater.config import DataConfig
from datarater.data import datasets, sources
datasets.BUNDLED = Path({str(datasets.BUNDLED)!r})
make = datasets.prepare_dataset
def late(*args):  # both have seen that the folder is not there before either starts
  print("ready", flush=True)
  sys.stdin.readline()
  return make(*args)
datasets.prepare_dataset = late
print(len(sources.open_source(DataConfig(), "inner")))
"""
  command = [sys.executable, "-c", program]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
  for process in processes:
    assert process.stdout.readline() == "ready\n", process.stderr.read()
  outputs = [process.communicate("go\n", timeout=60) for process in processes]
  assert [out for out, _ in outputs] == ["30\n"] * 2, outputs
  assert len(list((tmp_path / "cache").iterdir())) == 1


def test_expressions_of_one_split_are_disjoint_and_cover(folder):
  config = one_split(folder)
  check_splits(config)
  found = [name for split in SPLITS for name in ids(open_source(config, split))]
  assert sorted(found, key=int) == [str(i) for i in range(100)]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"outer": "train[29%:35%]"}, r"inner 'train\[:30%\]' and outer 'train\[29%:35%\]' share 1 "),
    ({"test": "train[:5]"}, "inner .* and test .* share 5"),
    ({"inner": "train[:10]+train[5:15]"}, "inner .* and inner .* share 5"),
    ({"lm": "train[50:50]"}, "lm .* is empty"),
    ({"lm": "rest"}, r"lm 'rest' is not in .*splits \['train'\]"),
    ({"lm": "train[:5"}, "lm .* is not in"),
  ],
)
def test_bad_splits_are_refused_by_name(folder, changes, message):
  with pytest.raises(InputError, match=f"(?s){message}"):
    check_splits(one_split(folder, **changes))


def test_the_same_expression_of_another_dataset_is_no_overlap(folder, bundled):
  check_splits(one_split(folder, target_dataset="bundled", outer="lm", test="test"), ["lm", "test"])
  target = one_split(folder, target_dataset="bundled", outer="outer")
  assert len(open_source(target, "outer")) == SIZES["outer"]
  assert len(open_source(target, "inner")) == 30


def test_target_and_excluded_domains(bundled):
  config = dataclasses.replace(
    bundled, target_domain="speeches", exclude_domains=("tables", "speeches")
  )
  for split in SPLITS:
    source = open_source(config, split)
    wanted = ("code",) if split in ("inner", "lm") else ("speeches",)
    assert source.domains == wanted
    given = [d["id"] for d in documents(split) if d["domain"] in wanted]
    assert sorted(ids(source)) == sorted(given)
    assert {source.domain_index(i) for i in range(len(source))} == {0}


def test_noise_levels_mark_the_pool_only(bundled):
  noisy = dataclasses.replace(bundled, noise_levels=(0.5, 0.0, 0.25, 1.0))
  for split in SPLITS:
    source, clean = open_source(noisy, split), open_source(bundled, split)
    assert [source[i].text for i in range(len(source))] == [
      clean[i].text for i in range(len(clean))
    ]
    if split in ("inner", "lm"):
      assert source.domains == ("noise_0", "noise_0.25", "noise_0.5", "noise_1")
      assert [source[i].domain for i in range(4)] == [
        "noise_0.5", "noise_0", "noise_0.25", "noise_1",
      ]  # fmt: skip
      assert [source.noise_level(i) for i in range(5)] == [0.5, 0.0, 0.25, 1.0, 0.5]
    else:
      assert source.domains == DOMAINS
      assert source.noise_level(1) == 0.0
    for i in range(len(source)):
      assert source.domains[source.domain_index(i)] == source[i].domain


def test_subset_keeps_text_domain_position_and_noise(bundled):
  source = open_source(dataclasses.replace(bundled, noise_levels=(0.0, 0.5, 1.0)), "inner")
  part = source.subset([7, 2, 20]).subset(np.array([2, 0]))
  assert len(part) == 2
  assert [part[0], part[1]] == [source[20], source[7]]
  assert [part.position(i) for i in range(2)] == [20, 7]
  assert [part.noise_level(i) for i in range(2)] == [source.noise_level(20), source.noise_level(7)]
  assert part.domain_index(0) == source.domain_index(20)
  for index in (2, -1):
    with pytest.raises(IndexError):
      part[index]


def test_sources_pickle(folder):
  source = open_source(one_split(folder), "inner").subset([3, 1])
  again = pickle.loads(pickle.dumps(source))
  assert [again[i] for i in range(2)] == [source[i] for i in range(2)]


def test_source_of_records_in_memory():
  records = [Record("b", "1", "y"), Record("a", "2", "x")]
  source = source_of(records)
  assert [source[i] for i in range(2)] == records
  assert source.domains == ("x", "y")
  assert [source.domain_index(i) for i in range(2)] == [1, 0]


class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Others' datasets: C4's features, a ClassLabel, bytes that are not UTF-8, no summary of ours."""

  VERSION = tfds.core.Version("3.0.1")
  name = "foreign"
  code_path = None

  def _info(self):
    features = {
      "text": tfds.features.Text(),
      "url": tfds.features.Text(),
      "timestamp": tfds.features.Text(),
      "kind": tfds.features.ClassLabel(names=["news", "blog"]),
      "site": tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(20):
      text = b"caf\xe9" if i == 0 else f"text {max(i, 2)}".encode()  # 1 and 2 alike
      example = {"text": text, "url": f"u{i}", "timestamp": "t", "kind": i % 2, "site": f"s{i % 5}"}
      yield str(i), example


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> str:
  root = tmp_path_factory.mktemp("foreign")
  builder = Foreign(data_dir=str(root), file_format="array_record")
  builder.download_and_prepare()
  return str(builder.data_path)


def foreign_config(name: str, **changes) -> DataConfig:
  return DataConfig(dataset=name, **{**dict.fromkeys(SPLITS, "train"), **changes})


def test_dataset_without_ids_and_domains(foreign):
  source = open_source(foreign_config(foreign), "inner")
  assert source.domains == ("all",)
  records = [source[i] for i in range(20)]
  assert len({record.id for record in records}) == 20
  assert {record.domain for record in records} == {"all"}
  assert "caf�" in {record.text for record in records}
  assert ids(open_source(foreign_config(foreign), "inner")) == [record.id for record in records]
  assert sorted(ids(open_source(foreign_config(foreign, id_key="url"), "inner")))[0] == "u0"


def test_domains_of_a_class_label_and_of_a_scan(foreign):
  by_label = open_source(foreign_config(foreign, domain_key="kind"), "inner")
  assert by_label.domains == ("blog", "news")
  by_scan = open_source(foreign_config(foreign, domain_key="site", id_key="url"), "inner")
  assert by_scan.domains == ("s0", "s1", "s2", "s3", "s4")
  for source in (by_label, by_scan):
    for i in range(20):
      assert source.domains[source.domain_index(i)] == source[i].domain
  assert by_scan[3].domain == f"s{int(by_scan[3].id[1:]) % 5}"
  part = open_source(foreign_config(foreign, domain_key="kind", exclude_domains=("news",)), "inner")
  assert (len(part), part.domains) == (10, ("blog",))


def test_prepared_dataset_by_tfds_name(foreign, monkeypatch):
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(Path(foreign).parents[1]))
  assert len(open_source(foreign_config("foreign:3.0.1"), "inner")) == 20


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"text_key": "content"},
      r"text_key 'content'.*\['kind', 'site', 'text', 'timestamp', 'url'\]",
    ),
    ({"id_key": "uid"}, "id_key 'uid'"),
    ({"domain_key": "topic"}, "domain_key 'topic'"),
    ({"target_domain": "news"}, "domain_key"),
    (
      {"domain_key": "kind", "target_domain": "nes"},
      r"target_domain \['nes'\].*\['blog', 'news'\]",
    ),
    ({"domain_key": "kind", "exclude_domains": ("nes",)}, r"exclude_domains \['nes'\]"),
    ({"domain_key": "kind", "exclude_domains": ("blog", "news")}, "no documents of the chosen"),
  ],
)
def test_bad_keys_and_domains_are_refused_by_name(foreign, changes, message):
  config = foreign_config(foreign, **changes)
  split = "test" if "target_domain" in changes else "inner"
  with pytest.raises(InputError, match=message):
    open_source(config, split)


def test_datasets_that_cannot_be_opened(tmp_path, foreign, monkeypatch):
  with pytest.raises(InputError, match=r"'nothing' cannot be opened: .*not found"):
    open_source(DataConfig(dataset="nothing"), "inner")
  with pytest.raises(InputError, match=r"no dataset_info\.json; prepare it"):
    open_source(DataConfig(dataset=str(tmp_path)), "inner")
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
  with pytest.raises(InputError, match=r"'ag_news_subset' is not prepared.*array_record"):
    open_source(DataConfig(dataset="ag_news_subset"), "inner")
  with pytest.raises(InputError, match="split 'train'"):
    open_source(DataConfig(), "train")
  broken = tmp_path / "tfrecord"
  broken.mkdir()
  for name in ("features.json", "dataset_info.json"):
    content = (Path(foreign) / name).read_text().replace("array_record", "tfrecord")
    (broken / name).write_text(content)
  with pytest.raises(InputError, match="not stored in a format with random access"):
    open_source(foreign_config(str(broken)), "inner")
  (broken / "dataset_info.json").write_text("{")
  with pytest.raises(InputError, match="cannot be read"):
    open_source(foreign_config(str(broken)), "inner")
