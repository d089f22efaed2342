"""Fault test: `score` and `select` are killed at random moments, until done; nothing may differ.

    .venv/bin/python benchmarks/faults.py --kills 30

Real commands with two workers, on a corpus of every format with bad records in it. SIGKILL goes to
the driver, to a worker, or to all processes; the same command is started again at once. A round is
over when both commands are done: then each file must be, byte for byte, that of a run in peace, and
each record of the input must be in kept or rejected exactly once. Rounds go on until there were as
many kills as asked for. Writes benchmarks/results/faults.json.
"""

import collections
import contextlib
import dataclasses
import gzip
import itertools
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jax
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
import zstandard

from datarater.config import ModelConfig
from datarater.curation.run_folder import LOG
from datarater.data.formats import BadRecord, find_shards, read_records
from datarater.data.tokenizers import load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.models.rater import init_rater
from datarater.runtime.artifact import RaterConfig, write_rater
from datarater.runtime.atomic import write_json
from datarater.runtime.places import Place
from datarater.runtime.quantiles import RatingsCdf

RESULT = Path(__file__).parent / "results" / "faults.json"
DEADLINE = 600.0
"""Seconds that one command may take."""

WORKERS = 2
TARGETS = ("driver", "worker", "all")
KILLS_A_STAGE = 2
"""Most kills of one command in a round, so that both commands are killed often."""

_BAD_LINES = (b"{broken", b"\xff\xfe", b"", b'{"text": 7}', b'{"text": "\\u0000"}', b"[1]")
_WORDS = ("rater", "corpus", "token", "loss", "curve", "data", "rated", "of", "the", "a", "in")


def write_tiny_rater(folder: Path, width: int = 16, length: int = 64) -> None:
  """A rater with random weights: each document gets another rating."""
  tokenizer = load_tokenizer(TokenizerConfig())
  model = ModelConfig(width=width, layers=2, heads=2, mlp_width=2 * width)
  eta = init_rater(model, tokenizer.vocab_size, jax.random.key(0), length)
  eta["head"]["kernel"] = jax.random.normal(jax.random.key(1), (width, 1))
  vocabulary = tokenizer.fingerprint, tokenizer.vocab_size
  config = RaterConfig(model, TokenizerConfig(), *vocabulary, "document", length, steps=0, seed=0)
  write_rater(folder, config, eta, RatingsCdf.of([-1.0, 1.0]), "random", tokenizer.save)


def write_corpus(folder: Path, documents: int, seed: int = 0) -> str:
  """12 shards of every format; each document has a `serial` of its own. Returns the glob.

  documents: of the larger shards, which are several blocks; others have a tenth.
  """
  rng = random.Random(seed)
  serials = itertools.count()

  def rows(number: int) -> list[dict[str, Any]]:
    return [
      {
        "id": f"id{rng.randrange(10 * number)}",  # some are given twice
        "text": " ".join(rng.choices(_WORDS, k=1 + int(rng.paretovariate(1.2)) % 200)),
        "domain": f"d{rng.randrange(3)}",
        "serial": next(serials),
      }
      for _ in range(number)
    ]

  def lines(number: int, bad: int) -> bytes:
    every = [json.dumps(row).encode() for row in rows(number)]
    for line in rng.choices(_BAD_LINES, k=bad):
      every.insert(rng.randrange(len(every)), line)
    return b"\n".join(every) + b"\n"

  few = documents // 10
  for name, content in {
    "a.jsonl": lines(documents, 40),
    "b.jsonl.gz": gzip.compress(lines(documents, 10), mtime=0),
    "sub/c.jsonl.zst": zstandard.compress(lines(documents, 10)),
    "sub/d.jsonl.gz": gzip.compress(lines(few, 0), mtime=0)[:-200],
    "sub/deep/e.json": lines(few, few // 2),
    "f.ndjson": b"".join(line + b"\n" for line in _BAD_LINES),
    "g.jsonl": b"",
    "i.txt": b"A document of its own.\n",
    "j.txt": b"\xff\xfe",
    "k.parquet": b"PAR1 and no more",
  }.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
  for name, number in {"l.parquet": documents, "m.parquet": few}.items():
    table = rows(number)
    for row in rng.choices(table, k=5):
      row["text"] = None
    pq.write_table(pa.Table.from_pylist(table), folder / name, row_group_size=500)
  return str(folder / "**" / "*.*")


@dataclasses.dataclass
class Commands:
  """`score` and `select` of one corpus with one engine, started as often as one likes."""

  folder: Path
  corpus: str
  engine: str
  workers: int = WORKERS

  def arguments(self, stage: str, output: Path) -> list[str]:
    spread = ["--engine", self.engine, "--workers", str(self.workers), "--quiet"]
    ratings = str(output / "ratings")
    if stage == "score":
      rater = str(self.folder / "rater")
      return ["score", "--rater", rater, "--input", self.corpus, "--output", ratings, *spread]
    selected = str(output / "selected")
    rule = ["--discard-fraction", "0.5"]
    inputs = ["--ratings", ratings, "--input", self.corpus, "--output", selected]
    return ["select", *inputs, *rule, *spread]

  def start(self, stage: str, output: Path) -> subprocess.Popen:
    log = (output / f"{stage}.log").open("ab")
    with log:
      return subprocess.Popen(
        [Path(sys.executable).with_name("datarater"), *self.arguments(stage, output)],
        env=os.environ
        | {
          "JAX_PLATFORMS": "cpu",
          "RAY_ADDRESS": "",
          # Starting again costs no compilation: the very same programs are loaded.
          "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
          "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        stdout=log,
        stderr=log,
        start_new_session=True,
      )


@dataclasses.dataclass(frozen=True)
class Kill:
  """What happened. code: the driver's exit code; what SIGKILL leaves is -9."""

  stage: str
  target: str
  seconds: float
  code: int


def run_in_peace(commands: Commands, output: Path) -> dict[str, float]:
  """Both commands, not disturbed; the seconds of each."""
  output.mkdir(parents=True)
  seconds = {}
  for stage in ("score", "select"):
    started = time.monotonic()
    code = commands.start(stage, output).wait(DEADLINE)
    seconds[stage] = time.monotonic() - started
    if code:
      raise RuntimeError(f"{stage} ended with {code}:\n{(output / f'{stage}.log').read_text()}")
  return seconds


def run_with_kills(
  commands: Commands,
  output: Path,
  seconds: dict[str, float],
  rng: random.Random,
  targets: Sequence[str],
) -> list[Kill]:
  """Both commands, each started until it is done; at most one kill a target, at random moments.

  seconds: of each command in peace.
  """
  output.mkdir(parents=True)
  kills: list[Kill] = []
  for stage in ("score", "select"):
    left = KILLS_A_STAGE
    while True:
      process = commands.start(stage, output)
      kill = None
      if left and len(kills) < len(targets):
        left -= 1
        moment = rng.uniform(0.0, seconds[stage])
        kill = _kill(process, stage, targets[len(kills)], moment, rng)
      code = process.wait(DEADLINE)
      if kill:
        kills.append(dataclasses.replace(kill, code=code))
      if code == 0:  # an actor of Ray may die without ending the run
        break
      expected = {-signal.SIGKILL} if kill else set()
      expected |= {1} if kill and kill.target == "worker" else set()
      if code not in expected:
        raise RuntimeError(f"{stage} ended with {code} after {kill}:\n{_log(output, stage)}")
      if code == 1 and "worker process died" not in _log(output, stage):
        raise RuntimeError(f"{stage} does not say that a worker died:\n{_log(output, stage)}")
  return kills


def _kill(
  process: subprocess.Popen, stage: str, target: str, moment: float, rng: random.Random
) -> Kill | None:
  """Waits, then kills; None where the command, or all workers, had ended before."""
  started = time.monotonic()
  while time.monotonic() - started < moment:
    if process.poll() is not None:
      return None
    time.sleep(0.005)
  while process.poll() is None:
    family = _family(process.pid)
    victims = family if target == "all" else family[:1]
    if target == "worker":
      victims = rng.sample(workers, 1) if (workers := [p for p in family if _works(p)]) else []
    for victim in victims:
      _end(victim)
    if victims:
      return Kill(stage, target, round(time.monotonic() - started, 3), 0)
    time.sleep(0.01)  # workers are not there yet
  return None


def _family(pid: int) -> list[psutil.Process]:
  """The driver first, then all that descend from it."""
  try:
    driver = psutil.Process(pid)
    return [driver, *driver.children(recursive=True)]
  except psutil.NoSuchProcess:
    return []


def _works(process: psutil.Process) -> bool:
  try:
    line = " ".join(process.cmdline())
  except psutil.Error:
    return False
  return "spawn_main" in line or "ray::MapWorker" in line


def _end(process: psutil.Process) -> None:
  with contextlib.suppress(psutil.NoSuchProcess):
    process.kill()


def _log(output: Path, stage: str) -> str:
  return (output / f"{stage}.log").read_text()[-4000:]


def differences(output: Path, expected: Path) -> list[str]:
  """Names of files, but logs and locks, that are not in both folders with the same bytes."""
  a, b = (_tree(folder) for folder in (output, expected))
  return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def _tree(folder: Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file() and path.suffix not in (".log", ".lock") and path.name not in (".lock", LOG)
  }


def misplaced(corpus: str, output: Path) -> list[str]:
  """Records of the input that are not in kept or rejected exactly once; [] is as it must be."""
  wrong = []
  for shard in find_shards(corpus):
    expected, unread = _serials([shard.path])
    places: list[Place] = [output / "selected" / part / shard.name for part in ("kept", "rejected")]
    # What was broken lies in rejected as JSON beside its reason; a broken Parquet file has no rows.
    found, aside = _serials([path for path in places if path.exists()])
    broken = "parquet" in shard.name and unread and not expected
    if found != expected or (aside != unread and not broken):
      wrong.append(f"{shard.name}: {(expected - found) + (found - expected)} {unread} {aside}")
  return wrong


def _serials(paths: Sequence[Place]) -> tuple[collections.Counter, int]:
  """(how often each document's serial occurs, how many records are no documents)."""
  serials: collections.Counter = collections.Counter()
  unread = 0
  for path in paths:
    for record in read_records(path, extra_keys=("serial",)):
      if isinstance(record, BadRecord):
        unread += 1
      else:
        serials[record.extra.get("serial", record.text)] += 1
  return serials, unread


@dataclasses.dataclass(frozen=True)
class Peace:
  """What must come out: of one worker, in the driver's own process. seconds: of each command."""

  folder: Path
  corpus: str
  output: Path
  seconds: dict[str, float]


def make_peace(folder: Path, documents: int, seed: int = 0) -> Peace:
  """Rater, corpus, and the run in peace."""
  write_tiny_rater(folder / "rater")
  commands = Commands(folder, write_corpus(folder / "corpus", documents, seed), "local", workers=1)
  seconds = run_in_peace(commands, folder / "peace")
  return Peace(folder, commands.corpus, folder / "peace", seconds)


def torment(
  peace: Peace, engine: str, kills: int, seed: int = 0, seconds: dict[str, float] | None = None
) -> dict[str, Any]:
  """Rounds of one engine; RuntimeError where anything differs. seconds: of its run in peace."""
  rng = random.Random(f"{engine} {seed}")
  commands = Commands(peace.folder, peace.corpus, engine)
  targets = [rng.sample(TARGETS, len(TARGETS)) for _ in range(kills)]
  left = list(itertools.chain.from_iterable(targets))[:kills]
  every: list[Kill] = []
  rounds = 0
  while left:
    output = peace.folder / f"{engine}{rounds}"
    seconds = seconds or run_in_peace(commands, peace.folder / f"peace_{engine}")
    kills_now = run_with_kills(commands, output, seconds, rng, left)
    _require_same(commands, output, peace.output)
    shutil.rmtree(output)
    every, left, rounds = every + kills_now, left[len(kills_now) :], rounds + 1
    print(f"{engine}: {len(every)} kills in {rounds} rounds", flush=True)
  statistics = json.loads((peace.output / "selected" / "stats.json").read_text())
  return {
    "engine": engine,
    "workers": commands.workers,
    "seed": seed,
    "kills": len(every),
    "rounds": rounds,
    "by_target": dict(sorted(collections.Counter(kill.target for kill in every).items())),
    "by_stage": dict(sorted(collections.Counter(kill.stage for kill in every).items())),
    "records": statistics["records"],
    "seconds_in_peace": {stage: round(value, 1) for stage, value in (seconds or {}).items()},
    "files_compared": len(_tree(peace.output)),
    "files_that_differ": 0,
    "records_misplaced": 0,
    "moments": [dataclasses.asdict(kill) for kill in every],
  }


def _require_same(commands: Commands, output: Path, peace: Path) -> None:
  for what, wrong in (
    ("files differ", differences(output, peace)),
    ("records are misplaced", misplaced(commands.corpus, output)),
  ):
    if wrong:
      raise RuntimeError(f"{what} in {output}: {wrong}")


def _machine() -> dict[str, Any]:
  versions = {name: version(name) for name in ("datarater", "jax", "ray")}
  return {"cpus": os.cpu_count(), "python": platform.python_version(), **versions}


def main(
  kills: int = 30,
  engine: tuple[Literal["local", "ray"], ...] = ("local", "ray"),
  documents: int = 5000,
  seed: int = 0,
) -> None:
  """Runs the fault test and writes its result.

  Args:
    kills: Of each engine.
    engine: Engines.
    documents: Of each larger shard.
    seed: Of the corpus and of the kills.
  """
  with tempfile.TemporaryDirectory() as folder:
    peace = make_peace(Path(folder), documents, seed)
    results = {"machine": _machine()}
    for name in engine:
      results[name] = torment(peace, name, kills, seed)
      write_json(RESULT, results)


if __name__ == "__main__":
  tyro.cli(main)
