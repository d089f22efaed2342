"""Figure 3 of the paper, the noise toy: training text is corrupted at several levels, held-out text
is clean. Expect the weight of a datapoint to fall as its noise rises.

    python -m experiments.fig3_noise --preset cpu

The corpus is the bundled one, whatever the preset's.
Source: Calian et al. 2025, figure 3. The paper states neither levels nor sizes of its toy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from datarater import load_rater
from datarater.config import MetaConfig, MetaTrainConfig, OptimizerConfig
from datarater.config_io import to_json
from datarater.data.sources import noise_name, open_source
from datarater.data_config import DataConfig
from datarater.models.presets import preset as model
from datarater.report.style import STYLE
from experiments.experiment import Experiment, Place, Results, main
from experiments.jobs import Job, RaterJob
from experiments.ratings import packed_rows, rate_rows
from experiments.scale import Preset
from experiments.statistics import spearman

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TARGET = "speeches"
OTHER_DOMAINS = ("code", "jargon", "lexdb", "literature", "raw_html", "tables", "techdocs")
RATED_DATAPOINTS = 1024
CRITERION = -0.9


def config(preset: Preset, seed: int) -> MetaTrainConfig:
  """The toy at a scale: one kind of text, ten noise levels in the pool, clean held-out text."""
  sizes = {
    "cpu": ("0.05m", "0.1m", 64, 150, 2, 32),
    "gpu": ("5m", "10m", 256, 2000, 4, 64),
    "paper": ("50m", "400m", 2048, 8000, 8, 128),
  }
  rater, inner, length, steps, population, rows = sizes[preset]
  return MetaTrainConfig(
    name=f"fig3_noise_{preset}",
    seed=seed,
    data=DataConfig(
      target_domain=TARGET,
      exclude_domains=OTHER_DOMAINS,
      noise_levels=LEVELS,
      length=length,
      segments=4,
    ),
    rater=model(rater),
    inner=model(inner),
    inner_optimizer=OptimizerConfig(name="adamw", learning_rate=4e-3 if preset == "cpu" else 1e-3),
    meta=MetaConfig(
      steps=steps,
      population=population,
      lifetime=300,
      inner_batch=rows,
      outer_batch=rows,
      objective="target",
      learning_rate=3e-3 if preset == "cpu" else 1e-3,
      warmup_steps=10 if preset == "cpu" else 100,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
  )


def rate_unseen(config: MetaTrainConfig, rater_folder: Path) -> tuple[np.ndarray, np.ndarray]:
  """(ratings, noise levels) [N] of packed rows of the `lm` split, which meta-training never saw."""
  rater, source = load_rater(rater_folder), open_source(config.data, "lm")
  level_of = {noise_name(level): level for level in LEVELS}
  levels = np.array([level_of[name] for name in source.domains])
  batches = packed_rows(source, rater.tokenizer, config.data, RATED_DATAPOINTS, config.seed)
  noise = np.concatenate([levels[batch.domain_BxS[:, 0]] for batch in batches])
  return rate_rows(rater, batches), noise


def _raters(place: Place) -> list[RaterJob]:
  return [RaterJob(config(place.scale.name, seed)) for seed in place.scale.seeds]


def jobs(place: Place) -> Sequence[Job]:
  """A rater a seed."""
  return _raters(place)


def measure(place: Place) -> dict[str, Any]:
  """Spearman of rating and noise level on unseen text, and ratings over meta-training."""
  runs = [_measured(job, place.root) for job in _raters(place)]
  found = [run["spearman"] for run in runs]
  met = max(found) <= CRITERION
  return {
    "finding": f"Spearman of rating and noise level on unseen text: {min(found):.3f} to "
    f"{max(found):.3f} over {len(runs)} seeds, after {len(runs[0]['step'])} meta-steps; criterion "
    f"{CRITERION}: {'met' if met else 'not met'}.",
    "difference": "The paper states neither the levels nor the sizes of its toy; these are ours.",
    "seeds": place.scale.seeds,
    "spearman": found,
    "criterion": CRITERION,
    "met": met,
    "runs": runs,
  }


def _measured(job: RaterJob, root: Path) -> dict[str, Any]:
  """One rater's ratings, at the end and over meta-training."""
  ratings, noise = rate_unseen(job.config, job.rater(root))
  found = spearman(ratings, noise)
  rows = job.metrics(root)
  return {
    "seed": job.config.seed,
    "spearman": 0.0 if found is None else found,  # it rates all alike
    "mean_rating_by_level": {
      str(level): float(ratings[noise == level].mean()) for level in LEVELS if level in noise
    },
    "step": [row["step"] for row in rows],
    "rating_by_level": {
      str(level): [
        row["rating_by_domain"].get(noise_name(level), {}).get("rating_mean") for row in rows
      ]
      for level in LEVELS
    },
    "seconds": sum(row["seconds"] for row in rows),
    "config": to_json(job.config),
  }


def relative_weights(run: Mapping[str, Any], smoothing: int = 10) -> dict[str, np.ndarray]:
  """Weight of a datapoint of each level over the mean weight, by meta-step, smoothed.

  The softmax of the mean ratings: what a batch with one datapoint of each level would weigh.
  """
  ratings = np.array([run["rating_by_level"][str(level)] for level in LEVELS], float)
  kernel = np.ones(smoothing) / smoothing
  filled = np.array([_filled(row) for row in ratings])
  smooth = np.array([np.convolve(row, kernel, mode="valid") for row in filled])
  weights = np.exp(smooth - smooth.max(axis=0))
  weights = weights / weights.mean(axis=0)
  return {str(level): weights[i] for i, level in enumerate(LEVELS)}


def _filled(values: np.ndarray) -> np.ndarray:
  """Steps in which a level did not occur take the value between their neighbours'."""
  there = np.isfinite(values)
  steps = np.arange(len(values))
  return np.interp(steps, steps[there], values[there])


def draw(results: Results) -> Figure:
  """Relative weight by noise level over meta-training: mean over seeds, band from least to most."""
  runs = results["runs"]
  weights = [relative_weights(run) for run in runs]
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for i, level in enumerate(map(str, LEVELS)):
      values = np.array([w[level] for w in weights])
      steps = np.asarray(runs[0]["step"])[-values.shape[1] :]
      colour = matplotlib.colormaps["viridis"](0.92 * i / (len(LEVELS) - 1))
      axes.plot(steps, values.mean(axis=0), color=colour, linewidth=1.8, label=level)
      axes.fill_between(
        steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0
      )
    axes.axhline(1.0, color="0.4", linewidth=1.0, linestyle=(0, (1, 2)))
    axes.set_title(f"Weight by noise level, {len(runs)} seeds")
    axes.set_xlabel("meta-step")
    axes.set_ylabel("weight / mean weight")
    axes.legend(title="tokens replaced", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


EXPERIMENT = Experiment(
  name="fig3_noise",
  title="Figure 3: weight against noise",
  paper="The weight falls as the noise level rises.",
  jobs=jobs,
  measure=measure,
  draw=draw,
  dataset="bundled",
)

if __name__ == "__main__":
  main(EXPERIMENT)
