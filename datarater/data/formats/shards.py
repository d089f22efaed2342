"""Shards: which files a glob means, what format each is, and how it is called in an output."""

import dataclasses
import glob
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datarater.config import InputError, require

Format = str
"""`jsonl`, `parquet` or `text`."""

_LINES = tuple(a + b for a in (".jsonl", ".ndjson", ".json") for b in ("", ".gz", ".zst", ".xz"))
FORMAT_OF = {**dict.fromkeys(_LINES, "jsonl"), ".parquet": "parquet", ".txt": "text"}
EXTENSIONS = ".jsonl, .ndjson or .json (each also with .gz, .zst, .xz), .parquet, .txt"

_ENDS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file of documents. name: its path below the folder that all shards share, with slashes."""

  path: Path
  name: str

  @property
  def format(self) -> Format:
    return format_of(self.path)

  @property
  def size(self) -> int:
    """Bytes on disk; 0 where the file has gone, which reading it will say."""
    return self.path.stat().st_size if self.path.exists() else 0


def format_of(path: Path) -> Format:
  """The format by extension; an unknown one raises InputError."""
  for extension, name in FORMAT_OF.items():
    if path.name.endswith(extension):
      return name
  raise InputError(
    f"input {str(path)!r} has the extension {path.suffix!r}; give files that end in {EXTENSIONS}"
  )


def stem(path: Path) -> str:
  """The file's name without folder and extension: `a.jsonl.zst` → `a`."""
  for extension in FORMAT_OF:
    if path.name.endswith(extension) and path.name != extension:
      return path.name.removesuffix(extension)
  return path.stem


def default_domain(path: Path) -> str:
  """The domain of documents that name none: the shard's stem; of plain text its folder's name."""
  return path.resolve().parent.name if format_of(path) == "text" else stem(path)


def find_shards(patterns: str | Path | Sequence[str | Path]) -> list[Shard]:
  """The files that paths and globs (`**` included) mean, each once, in the order of their names.

  Raises InputError for a pattern without a file, and for a file of unknown format.
  """
  paths: dict[Path, Path] = {}
  for pattern in as_patterns(patterns):
    for path in _matches(pattern):
      format_of(path)
      paths.setdefault(path.resolve(), path.absolute())
  # Lexical, links unfollowed: the names that the user sees. `..` in a pattern is removed first.
  plain = sorted({Path(os.path.normpath(path)) for path in paths.values()})
  root = Path(os.path.commonpath([path.parent for path in plain]))
  shards = [Shard(path, path.relative_to(root).as_posix()) for path in plain]
  for shard in shards:
    require(
      _is_unicode(shard.name),
      f"input {shard.name!r} has a name that is not UTF-8; rename the file",
    )
  return sorted(shards, key=lambda shard: shard.name)


def as_patterns(patterns: str | Path | Sequence[str | Path]) -> list[str]:
  """One pattern or several, as a list of strings; none at all raises InputError."""
  several = [patterns] if isinstance(patterns, str | Path) else list(patterns)
  require(bool(several), "no input is given; name files or a glob such as 'data/*.jsonl'")
  return [str(pattern) for pattern in several]


def _matches(pattern: str) -> Iterator[Path]:
  found = [Path(pattern)] if Path(pattern).exists() else []
  found = found or [Path(p) for p in glob.glob(pattern, recursive=True)]
  files = [path for path in found if path.is_file()]
  if not files and any(path.is_dir() for path in found):
    example = pattern.rstrip("/") + "/*.jsonl"
    raise InputError(f"input {pattern!r} is a folder; give a glob of its files such as {example!r}")
  require(bool(files), f"input {pattern!r} matches no file; check the path and the glob")
  return iter(files)


def input_places(patterns: str | Path | Sequence[str | Path]) -> list[Path]:
  """Where no output may be: each named file, and for a glob the folders that it looks into."""
  places = set()
  for pattern in as_patterns(patterns):
    if Path(pattern).exists():
      places.add(Path(pattern).resolve())
      continue
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)
    places.add(Path(*parts).resolve())
    places |= {path.resolve().parent for path in _matches(pattern)}
  return sorted(places)


def require_apart(output: Path, others: Sequence[Path], what: str) -> None:
  """Raises InputError where `output` is one of these places, lies in one, or holds one."""
  place = Path(output).resolve()
  for other in others:
    where = "inside" if place.is_relative_to(other) else "around"
    require(
      not place.is_relative_to(other) and not other.is_relative_to(place),
      f"output {str(output)!r} is {where} the {what} {str(other)!r}; name a folder beside it",
    )


def fingerprint(path: Path) -> str:
  """Tells versions of a file apart without reading it whole: its size, a hash of both its ends."""
  try:
    size = path.stat().st_size
    with path.open("rb") as file:
      digest = hashlib.blake2b(file.read(_ENDS), digest_size=8)
      file.seek(max(0, size - _ENDS))
      digest.update(file.read(_ENDS))
  except OSError as error:
    raise unreadable(path, error) from error
  return f"{size} bytes, {digest.hexdigest()}"


def unreadable(path: Path, error: OSError) -> InputError:
  """The disk, not the content, is at fault."""
  return InputError(
    f"input {str(path)!r} cannot be read: {error.strerror}; restore the file, or leave it out"
  )


def _is_unicode(name: str) -> bool:
  try:
    name.encode()
  except UnicodeEncodeError:
    return False
  return True
