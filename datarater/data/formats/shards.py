"""Shards: which files a glob means, what format each is, and how it is called in an output."""

import dataclasses
import glob
import hashlib
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from upath import UPath

from datarater.data.formats.globs import expand
from datarater.errors import InputError, require
from datarater.runtime.places import (
  Place,
  canonical,
  identity,
  lies_in,
  open_binary,
  place,
  size_of,
)

Format = str
"""`jsonl`, `parquet`, `array_record` or `text`."""

_LINES = tuple(a + b for a in (".jsonl", ".ndjson", ".json") for b in ("", ".gz", ".zst", ".xz"))
FORMAT_OF = {
  **dict.fromkeys(_LINES, "jsonl"),
  ".parquet": "parquet",
  ".array_record": "array_record",
  ".txt": "text",
}
EXTENSIONS = (
  ".jsonl, .ndjson or .json (each also with .gz, .zst, .xz), .parquet, .array_record, .txt"
)
TFDS_NAME = re.compile(r"(.+)\.array_record-\d{5,}-of-\d{5,}")

_ENDS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file of documents. name: its path below the folder that all shards share, with slashes."""

  path: Place
  name: str

  @property
  def format(self) -> Format:
    return format_of(self.path)

  @property
  def size(self) -> int:
    """Bytes on disk; 0 where the file has gone, which reading it will say."""
    try:
      return size_of(self.path)
    except OSError:
      return 0


def format_of(path: Place) -> Format:
  """The format by extension, or TFDS's `x.array_record-00000-of-00004`; an unknown one raises
  InputError.
  """
  if TFDS_NAME.fullmatch(path.name):
    return "array_record"
  for extension, name in FORMAT_OF.items():
    if path.name.endswith(extension):
      return name
  raise InputError(
    f"input {str(path)!r} has the extension {path.suffix!r}; give files that end in {EXTENSIONS}"
  )


def stem(path: Place | PurePath) -> str:
  """The file's name without folder and extension: `a.jsonl.zst` → `a`."""
  if match := TFDS_NAME.fullmatch(path.name):
    return match.group(1)
  for extension in FORMAT_OF:
    if path.name.endswith(extension) and path.name != extension:
      return path.name.removesuffix(extension)
  return path.stem


def default_domain(path: Place) -> str:
  """The domain of documents that name none: the shard's stem; of plain text its folder's name."""
  return canonical(path).parent.name if format_of(path) == "text" else stem(path)


Patterns = str | Place | Sequence[str | Place]


def find_shards(patterns: Patterns) -> list[Shard]:
  """The files that paths, URLs and globs (`**` included) mean, each once, in the order of their
  names.

  Raises InputError for a pattern without a file, for a file of unknown format, for a link that
  leads nowhere or back to itself, and for inputs of several file systems.
  """
  found: dict[tuple[str, ...], Place] = {}
  for pattern in as_patterns(patterns):
    for path in expand(pattern):
      format_of(path)
      found.setdefault(identity(path), path)
  systems = {key[0] for key in found}
  require(
    len(systems) == 1,
    "inputs lie in different places "
    f"({', '.join(sorted(name or 'local' for name in systems))}); give those of one place",
  )
  # Lexical, links unfollowed: the names that the user sees. `..` in a pattern is removed first.
  plain = {_plain(path, key): path for key, path in found.items()}
  root = posixpath.commonpath([posixpath.dirname(text) or "." for text in plain]) if plain else ""
  shards = [_shard(path, text, root) for text, path in plain.items()]
  return sorted(shards, key=lambda shard: shard.name)


def _plain(path: Place, key: tuple[str, ...]) -> str:
  return os.path.normpath(path.absolute()) if isinstance(path, Path) else "/".join(key[1:])


def _shard(path: Place, text: str, root: str) -> Shard:
  name = posixpath.relpath(text, root)
  require(_is_unicode(name), f"input {name!r} has a name that is not UTF-8; rename the file")
  return Shard(Path(text) if isinstance(path, Path) else path, name)


def as_patterns(patterns: Patterns) -> list[str | Place]:
  """One pattern or several, as a list; none at all raises InputError."""
  several = [patterns] if isinstance(patterns, str | Path | UPath) else list(patterns)
  require(bool(several), "no input is given; name files or a glob such as 'data/*.jsonl'")
  return several


def input_places(patterns: Patterns) -> list[Place]:
  """Where no output may be: each named file, and for a glob the folders that it looks into."""
  places: dict[tuple[str, ...], Place] = {}
  for pattern in as_patterns(patterns):
    files = expand(pattern)
    named = place(pattern)
    if [identity(file) for file in files] == [identity(named)]:
      folders = [named]
    else:
      folders = [*(file.parent for file in files), _before_magic(named)]
    places |= {identity(folder): canonical(folder) for folder in folders}
  return [places[key] for key in sorted(places)]


def _before_magic(pattern: Place) -> Place:
  while glob.has_magic(str(pattern)):
    pattern = pattern.parent
  return pattern


def require_apart(output: str | Place, others: Sequence[Place], what: str) -> None:
  """Raises InputError where `output` is one of these places, lies in one, or holds one."""
  for other in others:
    inside, around = lies_in(place(output), other), lies_in(other, place(output))
    require(
      not inside and not around,
      f"output {str(output)!r} is {'inside' if inside else 'around'} the {what} {str(other)!r}; "
      "name a folder beside it",
    )


def fingerprint(path: Place) -> str:
  """Tells versions of a file apart without reading it whole: its size, a hash of both its ends."""
  try:
    size = size_of(path)
    with open_binary(path) as file:
      digest = hashlib.blake2b(file.read(_ENDS), digest_size=8)
      file.seek(max(0, size - _ENDS))
      digest.update(file.read(_ENDS))
  except OSError as error:
    raise unreadable(path, error) from error
  return f"{size} bytes, {digest.hexdigest()}"


def unreadable(path: Place, error: OSError) -> InputError:
  """The disk, not the content, is at fault."""
  return InputError(
    f"input {str(path)!r} cannot be read: {error.strerror or error}; "
    "restore the file, or leave it out"
  )


def _is_unicode(name: str) -> bool:
  try:
    name.encode()
  except UnicodeEncodeError:
    return False
  return True
