"""The small Pile out of made-up packages: its promises, drift, kills, bad input. No network."""

import collections
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from small_packages import COPIED, fill_cache

from datarater import cli
from datarater.data.builders.small_pile import build as module
from datarater.data.builders.small_pile.build import build_small_pile
from datarater.data.builders.small_pile.domains import DOMAINS
from datarater.data.builders.small_pile.reference import plain_roff
from datarater.data.builders.small_pile.sources import PACKAGES
from datarater.data.sources import open_source
from datarater.data_config import DataConfig

SHARES = {"inner": 0.34, "outer": 0.12, "lm": 0.38, "validation": 0.06, "test": 0.10}
FEW = ("speeches", "quotes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("cache")
  fill_cache(folder)
  return folder


@pytest.fixture(scope="module")
def pile(cache) -> Path:
  output = cache.parent / "all" / "small_pile"
  arguments = ["data", "build", "small-pile", "--out", str(output), "--cache", str(cache)]
  assert cli.main([*arguments, "--quiet"]) == cli.DONE
  return output


def records(output: Path) -> list[dict[str, str]]:
  builder = tfds.builder_from_directory(str(output))
  return [
    {key: value.decode() for key, value in record.items()} | {"split": split}
    for split in builder.info.splits
    for record in builder.as_data_source(split)
  ]


def summary(output: Path) -> dict:
  return json.loads((output / "datarater.json").read_text())


def refused(capsys, *arguments) -> str:
  assert cli.main(["data", "build", *map(str, arguments)]) == cli.BAD_INPUT
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("datarater: ")
  return line


def test_every_domain_is_in_every_split_in_proportion(pile):
  sizes = collections.defaultdict(collections.Counter)
  for record in records(pile):
    sizes[record["domain"]][record["split"]] += len(record["text"].encode())
  assert set(sizes) == set(DOMAINS)
  assert len(DOMAINS) == 16
  for domain, by_split in sizes.items():
    for split, share in SHARES.items():
      assert by_split[split] / by_split.total() == pytest.approx(share, abs=0.05), (domain, split)


def test_a_source_is_in_one_split_and_ids_are_unique(pile):
  rows = records(pile)
  splits = collections.defaultdict(set)
  for row in rows:
    splits[row["source"]].add(row["split"])
  assert all(len(found) == 1 for found in splits.values())
  assert len({row["id"] for row in rows}) == len(rows)
  threads = {row["source"] for row in rows if row["domain"] == "mailinglist"}
  assert len(threads) == 40  # three messages each: replies are dealt with what they answer


def test_documents_are_about_four_kilobytes_and_of_none_is_there_more_than_asked(
  pile, cache, tmp_path, monkeypatch
):
  sizes = [len(row["text"].encode()) for row in records(pile)]
  assert min(sizes) >= 600
  assert max(sizes) <= 6000
  monkeypatch.setitem(
    DOMAINS, "speeches", module.dataclasses.replace(DOMAINS["speeches"], megabytes=0.2)
  )
  build_small_pile(tmp_path / "less", cache, ["speeches"], progress=False)
  kept = [len(row["text"].encode()) for row in records(tmp_path / "less")]
  assert sum(kept) == pytest.approx(200_000, rel=0.1)


def test_of_near_copies_one_is_kept_and_the_other_is_named(pile):
  assert sum(COPIED in row["text"] for row in records(pile)) == 1
  lines = [json.loads(line) for line in (pile / "rejected.jsonl").read_text().splitlines()]
  near = [line for line in lines if line["domain"] == "forum_stripped"]
  assert len(near) == 1
  assert near[0]["id"].startswith("20newsgroups-")
  assert near[0]["reason"].startswith("near-copy of 20newsgroups-")
  assert near[0]["overlap"] > 0.9
  account = summary(pile)["small_pile"]
  assert account["rejected"]["near-copy"]["forum_stripped"] == 1
  pairs = [p for p in account["near_copies"] if p["domains"] == ["forum_stripped"] * 2]
  assert [p["documents"] for p in pairs] == [1]
  total = sum(sum(counts.values()) for counts in account["rejected"].values())
  assert total == len(lines)


def test_a_page_is_in_techdocs_or_in_raw_html_never_in_both(pile):
  pages = collections.defaultdict(set)
  for row in records(pile):
    if row["domain"] in ("techdocs", "raw_html"):
      pages[row["source"].replace("-rst/", "/").replace("-html/", "/")].add(row["domain"])
  assert len(pages) == 240
  assert all(len(domains) == 1 for domains in pages.values())


def test_long_works_are_blocks_and_files_that_repeat_others_are_left_out(pile):
  sources = {row["source"] for row in records(pile) if row["domain"] == "literature"}
  works = collections.Counter(source.rpartition("/block-")[0] for source in sources)
  assert set(works) == {"", "moby-dick", "milton/paradise_lost_gut"}  # plays have no blocks
  assert min(works.values()) >= 10


def test_the_dataset_tells_what_was_read_and_what_drifted(pile):
  told = summary(pile)
  assert {source["name"] for source in told["sources"]} == {p.name for p in PACKAGES.values()}
  assert all(len(source["files_sha256"]) == 64 for source in told["sources"])
  assert any("anarchism 15.3-3 has sha256" in sentence for sentence in told["drift"])
  assert set(told["small_pile"]["licences"]) == set(DOMAINS)


def test_it_opens_by_its_folder(pile):
  config = DataConfig(dataset=str(pile), target_domain="encyclopedia")
  assert open_source(config, "test").domains == ("encyclopedia",)
  assert set(open_source(config, "lm").domains) == set(DOMAINS)


def test_the_same_packages_give_the_same_bytes(cache, tmp_path):
  for name in ("a", "b"):
    build_small_pile(tmp_path / name / "few", cache, FEW, progress=False)
  files = sorted(p.name for p in (tmp_path / "a" / "few").iterdir())
  assert len(files) > 6
  for name in files:
    first, second = ((tmp_path / side / "few" / name).read_bytes() for side in "ab")
    assert first == second, name


def test_the_command_tells_sizes_licences_and_drift_and_again_leaves_it(
  cache, tmp_path, capsys, monkeypatch
):
  monkeypatch.setenv("COLUMNS", "200")
  command = ["data", "build", "small-pile", "--out", str(tmp_path / "few"), "--cache", str(cache)]
  command += ["--domains", *FEW, "forum_stripped", "--no-forum"]
  assert cli.main(command) == cli.DONE
  out, err = capsys.readouterr()
  for told in ("speeches", "public domain, CC0", "fortunes", "1:1.99.1-7.3", "is made"):
    assert told in out
  assert "forum_stripped" not in out
  assert "datarater: debian package fortunes 1:1.99.1-7.3 has sha256" in err
  before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "few").iterdir()}
  assert cli.main(command) == cli.DONE
  assert "was there already" in capsys.readouterr().out
  assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "few").iterdir()} == before


def test_what_was_killed_goes_on_without_fetching(cache, tmp_path, monkeypatch):
  def killed(*_):
    raise KeyboardInterrupt

  output = tmp_path / "few"
  (tmp_path / ".few.preparing").mkdir()  # as SIGKILL leaves it
  with monkeypatch.context() as patch:
    patch.setattr(module, "prepare_dataset", killed)
    with pytest.raises(KeyboardInterrupt):
      build_small_pile(output, cache, FEW, progress=False)
  assert not output.exists()
  monkeypatch.setenv("PATH", "")  # no client of any registry
  build_small_pile(output, cache, FEW, progress=False)
  assert sorted(p.name for p in tmp_path.iterdir()) == [".few.lock", "few"]


def test_two_at_once_make_one(cache, tmp_path):
  code = (
    "from pathlib import Path; import sys; "
    "from datarater.data.builders.small_pile.build import build_small_pile; "
    "build_small_pile(Path(sys.argv[1]), Path(sys.argv[2]), ['quotes'], progress=False)"
  )
  command = [sys.executable, "-c", code, str(tmp_path / "q"), str(cache)]
  processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
  assert [(p.communicate()[1] and p.returncode) or p.returncode for p in processes] == [0, 0]
  assert len(records(tmp_path / "q")) > 50


def test_a_full_disk_is_one_clear_line(cache, tmp_path, capsys, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(module, "prepare_dataset", full)
  line = refused(
    capsys,
    "small-pile",
    "--out",
    tmp_path / "x",
    "--cache",
    cache,
    "--domains",
    "quotes",
    "--quiet",
  )
  assert "No space left on device; free space" in line
  assert not (tmp_path / "x").exists()


def test_bad_input_is_refused_before_work(cache, tmp_path, capsys, monkeypatch):
  output = tmp_path / "x"
  place = ["--out", output, "--cache", cache, "--quiet"]
  line = refused(capsys, "small-pile", *place, "--domains", "poetry")
  assert "['poetry'] are none of the small Pile" in line
  assert "speeches" in line
  assert "no domain is left" in refused(
    capsys, "small-pile", *place, "--domains", "forum_stripped", "--no-forum"
  )
  assert "data build small-pile" in refused(capsys, "big-pile")
  output.mkdir()
  assert "is no dataset of this command" in refused(capsys, "small-pile", *place)
  output.rmdir()
  build_small_pile(output, cache, ["quotes"], progress=False)
  line = refused(capsys, "small-pile", *place, "--domains", "speeches")
  assert "was made otherwise (domains" in line


def test_a_registry_out_of_reach_is_named_with_the_domains_to_leave_out(
  cache, tmp_path, capsys, monkeypatch
):
  some = tmp_path / "cache"
  shutil.copytree(cache / PACKAGES["datasets"].folder_name, some / PACKAGES["datasets"].folder_name)
  for tool in ("apt-get", "dpkg-deb"):
    client = tmp_path / "bin" / tool
    client.parent.mkdir(exist_ok=True)
    client.write_text("#!/bin/sh\necho 'E: Unable to connect' >&2; exit 100\n")
    client.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
  line = refused(
    capsys, "small-pile", "--out", tmp_path / "x", "--cache", some, "--quiet", "--domains", *FEW
  )
  assert "debian package fortunes 1:1.99.1-7.3 cannot be fetched: E: Unable to connect" in line
  assert "leave out the domains that read it (quotes) by --domains" in line


def test_roff_becomes_text():
  page = (
    '.\\" comment\n\'\\" t\n.TH LS 1\n.SH NAME\nls \\- \\fBlist\\fR\n'
    ".PP\n.in +4\n.B bold \\(aqx\\(aq\n.\\}\nplain\\&.\n.sp 2\n"
  )
  assert plain_roff(page) == "LS 1\nNAME\nls - list\nbold 'x'\nplain.\n"
