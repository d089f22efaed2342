"""DSIR and the classifier beside the published packages: the same ratings, and how fast.

    python benchmarks/dsir.py --peer-python OTHER/bin/python      # about 5 minutes on 2 cores

OTHER is an environment with data-selection 1.0.3, nltk 3.10 and fasttext-numpy2-wheel;
`dsir_peer.py` runs there, in turn with ours, on the same files.

    dsir        documents of 200 words of a prepared dataset (`--data`) as the pool, one domain of
                another split as the target: seconds to fit and to score, each side's fastest round,
                and the largest difference of log importance weights. The package uses all cores,
                ours one. Targets: within 1e-6; twice as fast.
    classifier  for several domains as the target: rank correlation of our log odds with those of
                fastText, trained on the same words and balanced by repeating the target, and for
                both how often a document of the domain is rated above another (ROC AUC), on
                documents that neither has seen.

Goes to benchmarks/results/dsir.json.
"""

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from dsir_peer import FASTTEXT

from datarater.data.ngrams import words_of
from datarater.data.sources import Source, open_source
from datarater.data_config import DataConfig
from datarater.evaluation.results import environment
from datarater.scorer_config import ClassifierConfig, DsirConfig
from datarater.scorers.classifier import ClassifierScorer
from datarater.scorers.dsir import DsirScorer
from datarater.scorers.target import Target, texts_target

RESULT = Path(__file__).parent / "results" / "dsir.json"
PEER = Path(__file__).parent / "dsir_peer.py"
WORDS = 200
TARGETS = {"max_difference": 1e-6, "speedup": 2}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--peer-python", type=Path, required=True)
  parser.add_argument("--data", default="data/small_pile")
  parser.add_argument("--documents", type=int, default=50_000)
  parser.add_argument("--rounds", type=int, default=2)
  parser.add_argument("--domains", nargs="*", default=["essays", "literature", "forum_stripped"])
  parser.add_argument("--output", type=Path, default=RESULT)
  a = parser.parse_args()
  data = DataConfig(dataset=a.data)
  result = {
    "dsir": _dsir(a.peer_python, data, a.domains[0], a.documents, a.rounds),
    "classifier": [_classifier(a.peer_python, data, domain) for domain in a.domains],
    "data": a.data,
    **environment(),
  }
  a.output.parent.mkdir(parents=True, exist_ok=True)
  a.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
  print(json.dumps(result, indent=2))


def _dsir(python: Path, data: DataConfig, domain: str, number: int, rounds: int) -> dict[str, Any]:
  sources = [open_source(data, split) for split in ("inner", "lm")]
  pool = [text for source in sources for text, _ in _pieces(source)][:number]
  target = _of_domain(open_source(data, "outer"), domain)
  ours, peer, differences = [], [], []
  for _ in range(rounds):
    with tempfile.TemporaryDirectory() as name:
      folder = Path(name)
      _write(folder / "pool.jsonl", pool)
      _write(folder / "target.jsonl", target)
      peer.append(_peer(python, "dsir", folder))
      seconds, weights_N = _our_dsir(folder / "pool.jsonl", texts_target(domain, target))
      ours.append(seconds)
      differences.append(float(np.abs(np.load(folder / "weights.npy") - weights_N).max()))
  ours, peer = min(ours, key=_total), min(peer, key=_total)
  return {
    "documents": len(pool),
    "words_each": WORDS,
    "target": domain,
    "target_documents": len(target),
    "ours": ours | {"processes": 1, "total_seconds": _total(ours)},
    "peer": peer | {"total_seconds": _total(peer)},
    "speedup": _total(peer) / _total(ours),
    "max_difference": max(differences),
    "targets": TARGETS,
  }


def _total(seconds: dict[str, Any]) -> float:
  return seconds["fit_seconds"] + seconds["score_seconds"]


def _our_dsir(path: Path, target: Target) -> tuple[dict[str, float], np.ndarray]:
  start = time.perf_counter()
  scorer = DsirScorer.fit(_Lines(path), [target], DsirConfig())
  fitted = time.perf_counter()
  weights_N, _ = scorer.log_weights(list(_Lines(path)))
  return {
    "fit_seconds": fitted - start,
    "score_seconds": time.perf_counter() - fitted,
  }, weights_N


def _classifier(python: Path, data: DataConfig, domain: str) -> dict[str, Any]:
  pool = [text for text, _ in _pieces(open_source(data, "inner"), most=1)][::2]
  target = _of_domain(open_source(data, "lm"), domain, most=1)[::2]
  test = list(_pieces(open_source(data, "outer"), most=1))
  texts, is_target_N = [text for text, _ in test], np.array([d == domain for _, d in test])
  scorer = ClassifierScorer.fit(pool, [texts_target(domain, target)], ClassifierConfig())
  ours_N = scorer.score(texts)
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    repeated = target * max(1, round(len(pool) / len(target)))
    lines = [("pool", text) for text in pool] + [("target", text) for text in repeated]
    order = np.random.default_rng(0).permutation(len(lines))
    _write_lines(
      folder / "train.txt", [f"__label__{lines[i][0]} {_joined(lines[i][1])}" for i in order]
    )
    _write_lines(folder / "test.txt", [_joined(text) for text in texts])
    peer = _peer(python, "fasttext", folder)
    peer_N = np.load(folder / "log_odds.npy")
  return {
    "target": domain,
    "documents": {"pool": len(pool), "target": len(target), "test": len(test)},
    "rank_correlation": _rank_correlation(ours_N, peer_N),
    "auc": {"ours": _auc(ours_N, is_target_N), "peer": _auc(peer_N, is_target_N)},
    "peer": peer["package"],
    "peer_settings": FASTTEXT,
  }


def _pieces(source: Source, most: int | None = None) -> Iterator[tuple[str, str]]:
  """(text of `WORDS` words, domain), the first `most` of each document; less than that is left."""
  for i in range(len(source)):
    words = source[i].text.split()
    starts = range(0, len(words) - WORDS + 1, WORDS)
    for start in starts[:most]:
      yield " ".join(words[start : start + WORDS]), source[i].domain


def _of_domain(source: Source, domain: str, most: int | None = None) -> list[str]:
  texts = [text for text, name in _pieces(source, most) if name == domain]
  if not texts:
    raise SystemExit(f"domain {domain!r} has no text of {WORDS} words; there are {source.domains}")
  return texts


class _Lines:
  """Texts of a file of JSON lines, read anew each time."""

  def __init__(self, path: Path):
    self._path = path

  def __iter__(self) -> Iterator[str]:
    with self._path.open(encoding="utf-8") as file:
      for line in file:
        yield json.loads(line)["text"]


def _write(path: Path, texts: Sequence[str]) -> None:
  _write_lines(path, [json.dumps({"text": text}) for text in texts])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _joined(text: str) -> str:
  """As words that fastText cuts at white space."""
  return " ".join(words_of(text))


def _peer(python: Path, task: str, folder: Path) -> dict[str, Any]:
  command = [str(python), str(PEER), task, str(folder)]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise SystemExit(f"{PEER.name} {task} failed:\n{done.stderr[-2000:]}")
  with contextlib.suppress(json.JSONDecodeError):
    return json.loads((folder / "peer.json").read_text(encoding="utf-8"))
  raise SystemExit(f"{PEER.name} {task} left no result")


def _rank_correlation(a_N: np.ndarray, b_N: np.ndarray) -> float:
  """Spearman's."""
  return float(np.corrcoef(scipy.stats.rankdata(a_N), scipy.stats.rankdata(b_N))[0, 1])


def _auc(ratings_N: np.ndarray, is_target_N: np.ndarray) -> float:
  """How often a document of the target is rated above another."""
  test = scipy.stats.mannwhitneyu(ratings_N[is_target_N], ratings_N[~is_target_N])
  return float(test.statistic / (is_target_N.sum() * (~is_target_N).sum()))


if __name__ == "__main__":
  main()
