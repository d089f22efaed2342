"""Fetching packages, with stand-ins for the registries' clients. No network."""

import concurrent.futures
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from datarater.data.builders import packages
from datarater.errors import InputError


def _archive(version: str, members: dict[str, str]) -> bytes:
  """An npm archive in memory."""
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode="w:gz") as tar:
    described = {"package/package.json": json.dumps({"version": version})}
    for name, text in (described | members).items():
      member = tarfile.TarInfo(name)
      member.size = len(text)
      tar.addfile(member, io.BytesIO(text.encode()))
  return stream.getvalue()


@pytest.fixture
def registry(tmp_path, monkeypatch):
  """A folder served by a stand-in for npm: `npm pack --silent WHAT` copies the file `WHAT`."""
  (tmp_path / "bin").mkdir()
  (tmp_path / "served").mkdir()
  client = tmp_path / "bin" / "npm"
  client.write_text(f'#!/bin/sh\ncp "{tmp_path}/served/$3" got.tgz\n')
  client.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
  return tmp_path / "served"


def test_fetch_unpacks_and_keeps_in_the_cache(registry, tmp_path):
  data = _archive("1.0.0", {"package/data/b.txt": "B", "package/data/a.txt": "A"})
  (registry / "words@1.0.0").write_bytes(data)
  wanted = packages.Package("npm", "words", "1.0.0", hashlib.sha256(data).hexdigest())
  fetched = packages.fetch(wanted, tmp_path / "cache")
  assert (fetched.version, fetched.sha256, fetched.drift) == ("1.0.0", wanted.sha256, "")
  assert [p.read_text() for p in packages.files(fetched, "package/data/*.txt")] == ["A", "B"]
  (registry / "words@1.0.0").unlink()
  assert packages.fetch(wanted, tmp_path / "cache") == fetched


def test_another_version_is_reported_and_used(registry, tmp_path):
  (registry / "words").write_bytes(_archive("1.1.0", {}))
  fetched = packages.fetch(packages.Package("npm", "words", "1.0.0", "0" * 64), tmp_path / "cache")
  assert fetched.version == "1.1.0"
  assert "words: wanted 1.0.0, got 1.1.0" in fetched.drift


def test_other_content_under_the_same_version_is_refused(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {}))
  with pytest.raises(InputError, match=r"words 1\.0\.0 has sha256 .* expected 000"):
    packages.fetch(packages.Package("npm", "words", "1.0.0", "0" * 64), tmp_path / "cache")


def test_other_content_is_drift_where_it_is_tolerated(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {}))
  wanted = packages.Package("npm", "words", "1.0.0", "0" * 64)
  fetched = packages.fetch(wanted, tmp_path / "cache", tolerant=True)
  assert f"words 1.0.0 has sha256 {fetched.sha256}, expected 000" in fetched.drift


def test_what_a_killed_fetch_left_is_no_package(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {"package/a.txt": "A"}))
  (tmp_path / "cache" / ".npm-words-1.0.0.partial" / "archive").mkdir(parents=True)
  (tmp_path / "cache" / ".npm-words-1.0.0.partial" / "archive" / "half.tgz").write_bytes(b"x")
  fetched = packages.fetch(packages.Package("npm", "words", "1.0.0"), tmp_path / "cache")
  assert [p.name for p in packages.files(fetched, "package/*.txt")] == ["a.txt"]


def test_of_several_that_fetch_at_once_one_does(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {}))
  client = registry.parent / "bin" / "npm"
  client.write_text(f"{client.read_text()}echo fetched >> {tmp_path}/log; sleep 0.3\n")
  wanted = packages.Package("npm", "words", "1.0.0")
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(lambda _: packages.fetch(wanted, tmp_path / "cache"), range(4)))
  assert found == found[:1] * 4
  assert (tmp_path / "log").read_text() == "fetched\n"


def test_an_archive_that_cannot_be_unpacked_is_named(registry, tmp_path, monkeypatch):
  for tool in ("apt-get", "dpkg-deb"):
    client = registry.parent / "bin" / tool
    client.write_text("#!/bin/sh\ntouch words_1_all.deb\n" if tool == "apt-get" else "exit 2\n")
    client.chmod(0o755)
  with pytest.raises(InputError, match=r"words_1_all\.deb cannot be unpacked: "):
    packages.fetch(packages.Package("debian", "words", "1"), tmp_path / "cache")


def test_a_package_that_is_not_there_is_an_input_error_and_leaves_no_cache(registry, tmp_path):
  del registry
  with pytest.raises(InputError, match=r"npm package words 1\.0\.0 cannot be fetched: .*check"):
    packages.fetch(packages.Package("npm", "words", "1.0.0"), tmp_path / "cache")
  assert [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"] == []


def test_an_archive_that_leads_outside_is_refused(registry, tmp_path):
  (registry / "words@1.0.0").write_bytes(_archive("1.0.0", {"../../../../outside": "x"}))
  with pytest.raises(tarfile.OutsideDestinationError):
    packages.fetch(packages.Package("npm", "words", "1.0.0"), tmp_path / "cache")
  assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(("kind", "tool"), [("pypi", "pip"), ("npm", "npm"), ("debian", "apt-get")])
def test_a_missing_client_is_named_with_its_remedy(kind, tool, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match=f"{tool} is not installed and .* words needs it; install"):
    packages.fetch(packages.Package(kind, "words", "1.0.0"), tmp_path / "cache")


def test_an_unknown_registry_is_named(tmp_path):
  with pytest.raises(InputError, match=r"'cran'; use one of \['debian', 'npm', 'pypi'\]"):
    packages.fetch(packages.Package("cran", "words", "1.0.0"), tmp_path)


def test_files_leave_out_links_and_complain_when_nothing_matches(tmp_path):
  fetched = packages.Fetched(packages.Package("npm", "words", "1.0.0"), "1.0.0", "", tmp_path)
  (tmp_path / "link.txt").symlink_to(__file__)
  with pytest.raises(InputError, match=r"words 1\.0\.0 has no file '\*\.txt'"):
    packages.files(fetched, "*.txt")
  (tmp_path / "real.txt").write_text("x")
  assert [p.name for p in packages.files(fetched, "*.txt")] == ["real.txt"]


@pytest.mark.parametrize(
  ("kind", "archive", "version"),
  [
    ("pypi", "some_words-1.2.0.tar.gz", "1.2.0"),
    ("pypi", "some_words-1.2.0-py3-none-any.whl", "1.2.0"),
    ("debian", "words-base_1%3a3.0-37_all.deb", "1:3.0-37"),
  ],
)
def test_version_of_an_archive(kind, archive, version):
  assert packages._VERSION_OF[kind](Path(archive), Path()) == version
