"""The texts of the packages that a recipe reads, cleaned, and an account of what was read."""

import collections
import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from datarater.data.builders import packages

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff]")
_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")


class Shelf:
  """Reads texts out of `wanted` packages and remembers the digest of every file that it gave."""

  def __init__(
    self,
    wanted: Mapping[str, packages.Package],
    cache: Path | None = None,
    tolerant: bool = False,
  ):
    """tolerant: reads other content than recorded, and reports it; what is not UTF-8 is Latin-1."""
    self._wanted = wanted
    self._cache = cache
    self._tolerant = tolerant
    self._fetched: dict[str, packages.Fetched] = {}
    self._digests: dict[str, dict[str, str]] = collections.defaultdict(dict)

  def fetch(self, key: str) -> packages.Fetched:
    """The package, from its registry where the cache does not have it."""
    if key not in self._fetched:
      self._fetched[key] = packages.fetch(self._wanted[key], self._cache, self._tolerant)
    return self._fetched[key]

  def texts(
    self, key: str, pattern: str, only: Callable[[str], bool] | None = None
  ) -> dict[str, str]:
    """Path below the package's root → cleaned text, in the order of paths.

    only: says of a path whether that file is read.
    """
    fetched = self.fetch(key)
    found = {}
    for path in packages.files(fetched, pattern):
      name = path.relative_to(fetched.root).as_posix()
      if only is None or only(name):
        self._digests[key][name] = packages.sha256_file(path)
        found[name] = clean(_decoded(path, self._tolerant))
    return found

  def drift(self) -> list[str]:
    """One sentence for each package that came in another version, or with other content."""
    return [f.drift for f in self._fetched.values() if f.drift]

  def account(self) -> list[dict]:
    """Packages read: version, sha256 of the archive where it is pinned, and of the files read."""
    rows = []
    for key in sorted(self._fetched):
      fetched, digests = self._fetched[key], self._digests[key]
      lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
      rows.append(
        {
          "registry": fetched.package.registry,
          "name": fetched.package.name,
          "version": fetched.version,
          "archive_sha256": fetched.sha256 if fetched.package.sha256 else None,
          "files_read": len(digests),
          "files_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        }
      )
    return rows


def _decoded(path: Path, tolerant: bool) -> str:
  """Text of a file, which may be gzip; `.dz` is that with an index in its header."""
  data = path.read_bytes()
  if path.suffix in (".dz", ".gz"):
    data = gzip.decompress(data)
  try:
    return data.decode("utf-8")
  except UnicodeDecodeError:
    if not tolerant:
      raise
    return data.decode("latin-1")


def clean(text: str) -> str:
  """Line feeds alone end lines; no control characters but tab, line feed and form feed."""
  return _CONTROL.sub("", _LINE_ENDS.sub("\n", text))
