"""The report of a run: `results.json` in, one self-contained HTML file out.

Everything from data is escaped: text by Jinja2's autoescape, names in figures by matplotlib. The
page holds no script and asks for none, nor for any font, image or style from elsewhere.
"""

import dataclasses
import json
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from datarater.report import curves, distributions, health, page, style, tables
from datarater.report.style import number, numbers

Results = Mapping[str, Any]
Verdict = Literal["win", "tie", "loss", "none"]

_EXCERPT_CHARACTERS = 400
_EXCERPT_LINES = 14
_NARROW = 390  # px, the width of a figure on a telephone
_REVERSING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclasses.dataclass(frozen=True)
class Finding:
  """What the run shows. verdict: `win` only where unfiltered and random text are both beaten."""

  verdict: Verdict
  headline: str
  detail: str = ""


def write_report(results: Results, path: str | Path) -> None:
  """Renders `results` (the content of `results.json`) into one HTML file, atomically.

  Any part may be missing: its section is left out.
  """
  page.write_page(render(results), path)


def render(results: Results) -> str:
  """The page as text."""
  environment = page.environment()
  environment.filters |= {
    "scientific": lambda value: style.scientific(number(value)),
    "duration": duration,
    "prose": lambda text: text.replace("'", "’").replace(" ± ", "\u00a0±\u00a0"),
    "percent": lambda value: _percent(number(value)),
    "plus_minus": tables.plus_minus,
    "bare": lambda value: tables.plus_minus(value, math.nan),
  }
  return environment.get_template("report.html").render(_context(results))


def finding(results: Results) -> Finding:
  """The headline: whether the rater's selection beat unfiltered and random text, by how much."""
  arms = {arm.name: arm for arm in tables.summaries(results)}
  gain = _gain(results, "unfiltered")
  if gain is None:
    return Finding("none", str(results.get("title") or "DataRater run"))
  mean, half_width, seeds = gain
  digits = _digits(mean, half_width)
  target = results.get("target")
  ends = (
    f"the rater's selection ends at {arms['rater'].mean:.{digits}f} bits per byte on held-out "
    f"{target or 'text'}, unfiltered text at {arms['unfiltered'].mean:.{digits}f}"
  )
  if not math.isfinite(half_width):
    way = "better" if mean > 0 else "worse"
    headline = f"{_sentence(ends)}: {way} by {abs(mean):.{digits}f} on one seed"
    return Finding(
      "tie", headline, "One seed has no interval: run two or more before believing it."
    )
  by = f"{abs(mean):.{digits}f} ± {half_width:.{digits}f} (95%, {seeds} seeds)"
  if abs(mean) <= half_width:
    told = f"{ends}. The difference, {by}, cannot be told from zero"
    return Finding("tie", f"Filtering did not help here: {told}.", _against_random(results)[1])
  if mean < 0:
    return Finding(
      "loss", f"Filtering hurt here: {ends}, worse by {by}.", _against_random(results)[1]
    )
  beats_random, detail = _against_random(results)
  return Finding("win" if beats_random else "tie", f"{_sentence(ends)}: better by {by}.", detail)


def compute_gain(results: Results) -> str:
  """Net compute gain, 1 - F_rater / F_unfiltered, in a sentence; empty where none was measured."""
  gains = numbers(results.get("net_compute_gain")).ravel()
  if not gains.size:
    return ""
  known = gains[np.isfinite(gains)]
  if not known.size:
    return (
      "The rater's arm never reaches the final loss of the unfiltered one, so its net compute gain "
      "is undefined."
    )
  mean = float(known.mean())
  amount = f"{_percent(abs(mean))} {'fewer' if mean >= 0 else 'more'} FLOPs"
  spread = f" ({_percent(known.min())} to {_percent(known.max())} over {known.size} seeds)"
  text = (
    "With rating and oversampling counted, the rater's arm reaches the final loss of the "
    f"unfiltered one with {amount}{spread if known.size > 1 else ''}"
  )
  if known.size < gains.size:
    text += f", in {known.size} of {gains.size} seeds; in the rest it never does"
  free = numbers(results.get("gain_without_rating")).ravel()
  free = free[np.isfinite(free)]
  return text + (
    f". Were ratings free, the gain would be {_percent(free.mean())}." if free.size else "."
  )


def excerpt(text: str, characters: int = _EXCERPT_CHARACTERS) -> tuple[list[tuple[str, str]], bool]:
  """Pieces of a shortened text, (`text` or `mark`, string), and whether it was cut.

  A mark stands before what cannot be seen (tab, end of line) and in place of control characters.
  """
  shown = text[:characters]
  shown = "\n".join(shown.replace("\r\n", "\n").split("\n")[:_EXCERPT_LINES])
  pieces: list[tuple[str, str]] = []
  for character in shown:
    mark = _mark(character)
    if mark:
      pieces.append(("mark", mark))
    if not mark or character in "\t\n":
      if pieces and pieces[-1][0] == "text":
        character = pieces.pop()[1] + character
      pieces.append(("text", character))
  return pieces, len(shown) < len(text.replace("\r\n", "\n"))


def is_code(text: str) -> bool:
  """Whether a monospaced face suits the text: columns, markup, many symbols or digits."""
  sample = text[:_EXCERPT_CHARACTERS]
  symbols = sum(c in "{}[]<>()=|&/\\_$#+*^~`" for c in sample)
  digits = sum(c.isdigit() for c in sample)
  columns = "\t" in sample or "   " in sample
  return columns or symbols > 0.04 * len(sample) or digits > 0.15 * len(sample)


def duration(seconds: Any) -> str:
  """Seconds as people say them: `8.4 s`, `4 min 51 s`, `2 h 05 min`."""
  value = number(seconds)
  if not math.isfinite(value):
    return "–"
  if value < 59.95:
    return f"{value:.1f} s"
  minutes, rest = divmod(round(value), 60)
  return (
    f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
  )


def _mark(character: str) -> str:
  if character in _REVERSING or unicodedata.category(character) == "Cs":
    return "�"
  if character in "\t\n":
    return "⇥" if character == "\t" else "↵"
  if ord(character) < 32:
    return chr(0x2400 + ord(character))
  return "�" if unicodedata.category(character) == "Cc" else ""


def _sentence(text: str) -> str:
  return text[:1].upper() + text[1:]


def _percent(value: float) -> str:
  return f"{value:.0%}".replace("-", "−") if math.isfinite(value) else "–"


def _digits(mean: float, half_width: float) -> int:
  """Decimals that show the interval, and show on which side of it the mean lies: 2 to 4."""
  if not math.isfinite(half_width):
    return 2
  digits = min(4, max(2, -math.floor(math.log10(half_width)) if half_width > 0 else 2))
  while digits < 4 and round(abs(mean), digits) == round(half_width, digits):
    digits += 1
  return digits


def _gain(results: Results, other: str) -> tuple[float, float, int] | None:
  """(bits per byte that the rater's arm is better by, half width, seeds), or None.

  The sign comes from the arms, so that it does not hang on which way a difference was written.
  """
  arms = {arm.name: arm for arm in tables.summaries(results)}
  if "rater" not in arms or other not in arms:
    return None
  mean = arms[other].mean - arms["rater"].mean
  recorded = (results.get("comparisons") or {}).get(f"rater_vs_{other}") or {}
  differences = numbers(recorded.get("differences")).ravel()
  if math.isfinite(number(recorded.get("mean"))):
    half_width = number(recorded.get("half_width"))
    mean = math.copysign(number(recorded.get("mean")), mean)
  else:
    runs = {
      name: {run.get("seed"): run for run in results["arms"][name]} for name in ("rater", other)
    }
    both = [seed for seed in runs["rater"] if seed in runs[other]]
    ends = numbers(
      [[runs[a][seed].get("bits_per_byte") for seed in both] for a in (other, "rater")]
    )
    differences = ends[0] - ends[1]
    half_width = style.interval(differences)[1]
  seeds = differences.size or len(arms["rater"].finals)
  return (mean, half_width, seeds) if math.isfinite(mean) else None


def _against_random(results: Results) -> tuple[bool, str]:
  """Whether the rater beats an equal share kept at random (true if not run), and a sentence."""
  gain = _gain(results, "random")
  if gain is None:
    return True, "No random control was run, so this says nothing about the rater's choice itself."
  mean, half_width, _ = gain
  digits = _digits(mean, half_width)
  final = {arm.name: arm for arm in tables.summaries(results)}["random"].mean
  ends = f"Dropping as much at random ends at {final:.{digits}f}"
  if not math.isfinite(half_width):
    return False, f"{ends}."
  by = f"{abs(mean):.{digits}f} ± {half_width:.{digits}f}"
  if abs(mean) <= half_width:
    return False, f"{ends}: the rater's choice cannot be told from chance ({by})."
  if mean < 0:
    return False, f"{ends}: chance does better than the rater, by {by}."
  return True, f"{ends}: the rater's choice is better than chance by {by}."


def _any(values: Any) -> bool:
  return bool(np.isfinite(numbers(values)).any())


def _context(results: Results) -> dict[str, Any]:
  """Everything that the template names; what is missing is empty."""
  cost = results.get("cost") or {}
  return {
    "title": str(results.get("title") or "DataRater run"),
    "light": style.PALETTE,
    "dark": style.PALETTE_DARK,
    "finding": finding(results),
    "gain": compute_gain(results),
    "matched": _any(results.get("net_compute_gain")),
    "facts": _facts(results),
    "curves": _curves(results),
    "arms": tables.summaries(results),
    "target": str(results.get("target") or ""),
    "discard_fraction": number(results.get("discard_fraction")),
    "ratings": _ratings(results),
    "excerpts": _excerpts(results),
    "health": _health(results.get("meta_training") or {}, str(results.get("target") or "")),
    "skipped": number((results.get("meta_training") or {}).get("skipped")),
    "cost": {key: value for key, value in cost.items() if value is not None},
    "meta_ratio": _meta_ratio(results),
    "versions": results.get("versions") or {},
    "device": str(results.get("device") or ""),
    "config": json.dumps(results["config"], indent=2) if results.get("config") else "",
  }


def _facts(results: Results) -> list[tuple[str, str]]:
  """The strip under the headline: a few numbers, each with its name."""
  gains = numbers(results.get("net_compute_gain")).ravel()
  known = gains[np.isfinite(gains)]
  gain = _percent(float(known.mean())) if known.size else "undefined"
  if 0 < known.size < gains.size:
    gain += f" in {known.size} of {gains.size} seeds"
  steps = (results.get("meta_training") or {}).get("step") or []
  facts = [
    ("net compute gain", gain if gains.size else ""),
    ("discarded", _percent(number(results.get("discard_fraction")))),
    ("target", str(results.get("target") or "")),
    ("meta-steps", f"{len(steps):,}" if steps else ""),
    ("wall time", duration(results.get("wall_seconds"))),
    ("device", str(results.get("device") or "")),
  ]
  return [(name, value) for name, value in facts if value not in ("", "–")]


def _curves(results: Results) -> dict[str, Markup]:
  """Learning curves, each drawn for a wide and for a narrow page."""
  arms = {arm: runs for arm, runs in (results.get("arms") or {}).items() if runs}
  if not any(_any(run.get("curve")) for runs in arms.values() for run in runs):
    return {}
  target = str(results.get("target") or "")
  drawn = {
    "wide": curves.learning_curves(arms, size=(920, 420)),
    "narrow": curves.learning_curves(arms, size=(_NARROW, 320), xlabel="FLOPs, rating counted"),
  }
  if any(run.get("by_domain") for runs in arms.values() for run in runs):
    drawn |= {
      "domains_wide": curves.learning_curves_by_domain(arms, target=target),
      "domains_narrow": curves.learning_curves_by_domain(
        arms, target=target, columns=2, width=_NARROW, row_height=140
      ),
    }
  return {name: page.inline_svg(figure, f"curves-{name}") for name, figure in drawn.items()}


def _ratings(results: Results) -> dict[str, Markup]:
  by_domain, target = results.get("rating_by_domain") or {}, str(results.get("target") or "")
  mixture = results.get("mixture") or {}
  before, after = mixture.get("before") or {}, mixture.get("after") or {}
  drawn = {}
  if any(_any([r.get("mean"), *(r.get("quantiles") or [])]) for r in by_domain.values()):
    drawn["distribution"] = distributions.rating_distribution(by_domain, target=target)
  if before and after:
    order = distributions.rating_order(by_domain)
    drawn["mixture"] = distributions.mixture(before, after, order=order, target=target)
  return {name: page.inline_svg(figure, name) for name, figure in drawn.items()}


def _excerpts(results: Results) -> dict[str, list[dict[str, Any]]]:
  cards: dict[str, list[dict[str, Any]]] = {"best": [], "worst": []}
  for side, entries in (results.get("excerpts") or {}).items():
    for entry in entries or [] if side in cards else []:
      text = str(entry.get("text") or "")
      pieces, cut = excerpt(text)
      rating = number(entry.get("rating"))
      cards[side].append(
        {
          "rating": f"{rating:+.2f}".replace("-", "−") if math.isfinite(rating) else "–",
          "domain": str(entry.get("domain") or ""),
          "id": str(entry.get("id") or ""),
          "pieces": pieces,
          "cut": cut,
          "code": is_code(text),
        }
      )
  return cards


def _health(meta: Results, target: str) -> dict[str, Markup]:
  """The panels of meta-training that have data."""
  steps, n = meta.get("step"), number(meta.get("datapoints_per_batch"))
  drawn = {}
  if _any(meta.get("outer_loss")):
    drawn["loss"] = health.loss_by_member(steps, meta["outer_loss"], meta.get("age"))
  norms = {
    "gradient": meta.get("meta_gradient_norm"),
    "update": meta.get("update_norm"),
  }
  if any(_any(values) for values in norms.values()):
    colours = {"gradient": "random", "update": "rater"}
    drawn["norms"] = health.over_steps(
      steps, norms, ylabel="global norm, log scale", colours=colours, log=True
    )
  effective = {
    "1 / Σw²": numbers(meta.get("effective_sample_size")),
    "exp entropy": np.exp(numbers(meta.get("weight_entropy"))),
  }
  if any(_any(values) for values in effective.values()):
    drawn["effective"] = health.over_steps(
      steps,
      effective,
      ylabel="effective datapoints a batch",
      colours={"exp entropy": "rater", "1 / Σw²": "random"},
      reference=("equal weights", n),
    )
  by_domain = meta.get("rating_mean_by_domain") or {}
  if any(_any(values) for values in by_domain.values()):
    drawn["ratings"] = health.over_steps(
      steps,
      by_domain,
      ylabel="mean rating by domain",
      colours={target: "target"},
      smooth=max(1, len(steps or []) // 40),
    )
  return {name: page.inline_svg(figure, f"health-{name}") for name, figure in drawn.items()}


def _meta_ratio(results: Results) -> str:
  """Meta-training's FLOPs in trainings of one unfiltered language model."""
  meta = number((results.get("cost") or {}).get("meta_training_flops"))
  one = next(
    (a.training_flops for a in tables.summaries(results) if a.name == "unfiltered"), math.nan
  )
  ratio = meta / one if one else math.nan
  return f"{ratio:.2g}" if ratio < 100 else (f"{ratio:,.0f}" if math.isfinite(ratio) else "")
