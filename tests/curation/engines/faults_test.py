"""Commands killed with SIGKILL and started again end as if never killed, on real engines.

The environment's KILLS says how often each engine is (3 local and 1 Ray unless told). The full test
is `benchmarks/faults.py`, of which this is a small one.
"""

import json
import os
import random
import shutil
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import faults

KILLS = os.environ.get("KILLS")
SEED = int(os.environ.get("KILLS_SEED", "0"))


@pytest.fixture(scope="module")
def peace(tmp_path_factory):
  """More documents than a block has, so that a run is resumed inside a shard."""
  return faults.make_peace(tmp_path_factory.mktemp("faults"), documents=2200)


@pytest.mark.parametrize(("engine", "kills", "slower"), [("local", 3, 1.0), ("ray", 1, 2.0)])
def test_killed_at_any_moment_every_file_is_as_in_peace(peace, engine, kills, slower):
  kills = int(KILLS or kills)
  seconds = {stage: slower * value for stage, value in peace.seconds.items()}
  result = faults.torment(peace, engine, kills, SEED, seconds)
  print(json.dumps(result["moments"]))
  assert result["kills"] == len(result["moments"]) == kills
  assert result["files_compared"] > 40


def test_a_file_that_differs_is_noticed(tmp_path):
  for name, content in (("a", "x"), ("b", "y")):
    (tmp_path / name).mkdir()
    (tmp_path / name / "same").write_text("same")
    (tmp_path / name / "changed").write_text(content)
    (tmp_path / name / "score.log").write_text(content)
  (tmp_path / "a" / "more").touch()
  assert faults.differences(tmp_path / "a", tmp_path / "b") == ["changed", "more"]


def test_a_record_lost_or_doubled_is_noticed(peace, tmp_path):
  corpus, output = peace.corpus, tmp_path / "out"
  shutil.copytree(peace.output, output)
  assert faults.misplaced(corpus, output) == []
  kept = output / "selected" / "kept" / "a.jsonl"
  lines = kept.read_bytes().splitlines(keepends=True)
  for changed in (lines[1:], [*lines, lines[0]], [lines[0], *lines[:-1]]):
    kept.write_bytes(b"".join(changed))
    assert len(faults.misplaced(corpus, output)) == 1
  kept.write_bytes(b"".join(lines))
  rejected = output / "selected" / "rejected" / "f.ndjson"
  rejected.write_bytes(b"".join(rejected.read_bytes().splitlines(keepends=True)[1:]))
  (wrong,) = faults.misplaced(corpus, output)
  assert wrong.startswith("f.ndjson")
  table = pq.read_table(output / "selected" / "kept" / "l.parquet")
  pq.write_table(pa.concat_tables([table, table[:1]]), output / "selected/kept/l.parquet")
  assert len(faults.misplaced(corpus, output)) == 2


def test_the_chosen_process_is_the_one_killed(peace, tmp_path):
  """Else a test of deaths would be one of restarts."""
  commands = faults.Commands(peace.folder, peace.corpus, "local")
  codes = {}
  for target in faults.TARGETS:
    output = tmp_path / target
    output.mkdir()
    process = commands.start("score", output)
    kill = faults._kill(process, "score", target, 1.0, random.Random(0))
    assert kill is not None
    codes[target] = process.wait(faults.DEADLINE)
  assert codes == {"driver": -signal.SIGKILL, "worker": 1, "all": -signal.SIGKILL}
  assert (tmp_path / "worker" / "score.log").read_text().startswith("datarater: a worker process")
