"""A control for packing: does the rating of a row follow how many documents are packed into it?

    python -m experiments.packing_control --preset cpu

The paper finds that ratings go with the number of packed documents (+0.42), which need not mean
that packing is what is rated: short documents differ from long ones. Here the text is held fixed.
Each row is cut into 1, 2, 4 or 8 pieces of one domain, as if each were a document of its own, and
rated; the change of the rating against the same domain in one piece is the effect of packing alone.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater import load_rater
from datarater.data.packing import Chunk, assemble
from datarater.data.sources import open_source
from datarater.data.tokenizers import Tokenizer
from datarater.report.style import PALETTE, STYLE, interval, panel
from datarater.types import Batch
from experiments.arms import rater
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, RaterJob
from experiments.scale import HELDOUT

PIECES = (1, 2, 4, 8)
ROWS_A_DOMAIN = 32


def _objectives(place: Place) -> tuple[str, ...]:
  return (place.scale.objectives[0], HELDOUT)


def _raters(place: Place, objective: str) -> list[RaterJob]:
  return [rater(place, objective, seed) for seed in place.scale.seeds]


def jobs(place: Place) -> Sequence[Job]:
  """The raters of two objectives."""
  return [job for objective in _objectives(place) for job in _raters(place, objective)]


def texts_by_domain(place: Place, tokenizer: Tokenizer, length: int) -> dict[str, list[np.ndarray]]:
  """domain → tokens of the beginnings of documents, each as long as a row can hold."""
  source = open_source(place.scale.data, "lm")
  found: dict[str, list[np.ndarray]] = {name: [] for name in source.domains}
  for i in range(len(source)):
    record = source[i]
    tokens = tokenizer.encode(record.text)[: length - max(PIECES)]
    rows = found[record.domain]
    if len(rows) < ROWS_A_DOMAIN and len(tokens) == length - max(PIECES):
      rows.append(tokens)
  return {name: rows for name, rows in found.items() if rows}


def packed(rows: Sequence[np.ndarray], pieces: int, separator: int, length: int) -> Batch:
  """Each text as a row of its own, cut into `pieces` segments of about equal length."""
  chunks = [
    [
      Chunk(np.concatenate([[separator], part]).astype(np.int32), i, 0, len(part))
      for part in np.array_split(tokens, pieces)
    ]
    for i, tokens in enumerate(rows)
  ]
  return assemble(chunks, len(rows), length, max(PIECES))


def measure(place: Place) -> dict[str, Any]:
  """objective → pieces → mean change of the rating by rater seed, in spreads of its ratings."""
  changes: dict[str, dict[str, list[float]]] = {}
  by_domain: dict[str, dict[str, dict[str, float]]] = {}
  for objective in _objectives(place):
    for job in _raters(place, objective):
      found = _effect(place, job)
      for pieces, of in found.items():
        mean = float(np.mean(list(of.values())))
        changes.setdefault(objective, {}).setdefault(pieces, []).append(mean)
      by_domain[objective] = found
  told = []
  for objective, of in changes.items():
    mean, half_width = interval(of[str(PIECES[-1])])
    clear = "" if abs(mean) > half_width else ", not told from none"
    told.append(f"{mean:+.2f} ± {half_width:.2f} for {objective}{clear}")
  return {
    "finding": f"Change of the rating of the same text cut into {PIECES[-1]} documents a row, in "
    f"standard deviations of ratings: {'; '.join(told)}.",
    "difference": "The paper correlates ratings with packing over text that differs; here the text "
    "is the same.",
    "seeds": place.scale.seeds,
    "changes": changes,
    "by_domain_of_the_last_seed": by_domain,
  }


def _effect(place: Place, job: RaterJob) -> dict[str, dict[str, float]]:
  """pieces → domain → mean rating less that of one piece, over the spread of all ratings."""
  rater = load_rater(job.rater(place.root))
  length, separator = rater.config.length, rater.tokenizer.separator_id
  ratings: dict[str, dict[int, np.ndarray]] = {}
  for domain, rows in texts_by_domain(place, rater.tokenizer, length).items():
    ratings[domain] = {
      pieces: np.asarray(rater.rate_batch(packed(rows, pieces, separator, length)))[:, 0]
      for pieces in PIECES
    }
  spread = float(np.concatenate([of[1] for of in ratings.values()]).std())
  return {
    str(pieces): {d: float((of[pieces] - of[1]).mean() / spread) for d, of in ratings.items()}
    for pieces in PIECES[1:]
  }


def draw(results: Results) -> Figure:
  """The change of the rating against pieces, a line an objective."""
  with matplotlib.rc_context(STYLE):
    figure, axes = panel((560, 360))
    for (objective, of), colour in zip(
      results["changes"].items(), (PALETTE["target"], PALETTE["rater"]), strict=True
    ):
      stats = np.array([interval(values) for values in of.values()])
      pieces = [int(p) for p in of]
      look = {"color": colour, "marker": "o", "capsize": 4, "label": objective}
      axes.errorbar(pieces, stats[:, 0], stats[:, 1], **look)
    axes.axhline(0, color=PALETTE["unfiltered"], linestyle=(0, (1, 2)))
    axes.set_xscale("log", base=2)
    axes.set_xticks(PIECES[1:], [str(p) for p in PIECES[1:]])
    axes.set_xlim(PIECES[1] / 1.2, PIECES[-1] * 1.2)
    axes.set_xlabel("documents that the same text is cut into")
    axes.set_title("change of the rating, in standard deviations of ratings")
    axes.legend()
    return figure


EXPERIMENT = Experiment(
  name="packing_control",
  title="Packing: the rating of the same text in more documents a row",
  paper="Ratings correlate with the number of packed documents, +0.42.",
  jobs=jobs,
  measure=measure,
  draw=draw,
)

if __name__ == "__main__":
  main(EXPERIMENT)
