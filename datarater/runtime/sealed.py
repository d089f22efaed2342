"""Folders that are whole or refused: `config.json` holds the sha256 of every other file, and is
written last.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from datarater.errors import InputError, require
from datarater.runtime.atomic import atomic_folder, read_json, write_json

CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class Sealed:
  """A kind of folder. version: the newest that is read here.

  what: its name in messages. where: what to give in place of a folder that is none. remake: how to
  make it again.
  """

  what: str
  version: int
  where: str
  remake: str

  def write(self, folder: Path, values: dict[str, Any], fill: Callable[[Path], None]) -> None:
    """Writes the folder whole or not at all; an earlier one there is replaced.

    values: JSON, for `config.json`. fill: writes the other files into an empty folder.
    """
    with atomic_folder(folder) as partial:
      fill(partial)
      files = {path.name: sha256(path) for path in sorted(partial.iterdir())}
      write_json(partial / CONFIG, {"format_version": self.version, **values, "files": files})

  def read(self, folder: str | Path, needed: Iterable[str]) -> dict[str, Any]:
    """The values that were written, once every file is found as it was.

    needed: files that must be among them. Raises InputError where the folder is missing,
    incomplete, damaged, or of a newer version.
    """
    folder = Path(folder)
    name = f"{self.what} {str(folder)!r}"
    require(folder.is_dir(), f"{name} is not a folder; {self.where}")
    require(
      (folder / CONFIG).is_file(),
      f"{name} has no {CONFIG}: it is half written or not a {self.what}; {self.remake}",
    )
    values = read_json(folder / CONFIG, f"{self.what} config")
    version = values.pop("format_version", None) if isinstance(values, dict) else None
    if not isinstance(version, int):
      raise InputError(f"{name} names no format_version in {CONFIG}; {self.where}")
    require(
      version <= self.version,
      f"{name} has format version {version}, newer than the {self.version} that this datarater "
      "reads; upgrade datarater",
    )
    self._check(folder, values.pop("files", {}), needed)
    return values

  def _check(self, folder: Path, files: Any, needed: Iterable[str]) -> None:
    name = f"{self.what} {str(folder)!r}"
    require(
      isinstance(files, dict), f"{name} lists no files in {CONFIG}: it is damaged; copy it again"
    )
    for file in {*needed, *files}:
      path = folder / file
      require(
        path.is_file(),
        f"{name} lacks {file}: it is half written; copy it again or {self.remake}",
      )
      if sha256(path) != files.get(file):
        raise InputError(
          f"{self.what} file {str(path)!r} is damaged: its sha256 is not the one in {CONFIG}; copy "
          "it again"
        )


def sha256(path: Path) -> str:
  """Of a file, hex."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
