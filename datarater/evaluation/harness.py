"""Trained language models in EleutherAI's lm-evaluation-harness (PyPI `lm-eval`), as `datarater`.

From the command line, with all options of the harness' own:

    python -m datarater.evaluation.harness run --model datarater \\
        --model_args run_dir=runs/lm/all --tasks lambada_openai

In Python, importing this module registers the model:

    import datarater.evaluation.harness
    lm_eval.simple_evaluate("datarater", {"run_dir": "runs/lm/all"}, tasks=["lambada_openai"])

Likelihoods are those of `evaluation.likelihood`, to the bit where the same items are asked.
"""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from datarater.errors import InputError, require
from datarater.evaluation.generation import ROWS, continue_greedily
from datarater.evaluation.likelihood import continuation_likelihoods, text_likelihoods
from datarater.evaluation.trained import load_trained

try:
  from lm_eval.api.instance import Instance
  from lm_eval.api.model import LM
  from lm_eval.api.registry import register_model
except ImportError as error:
  raise InputError(
    f"the harness is not here ({error}); pip install 'datarater[harness]'"
  ) from error

DEFAULT_TOKENS = 256
"""Most tokens that are generated where a task says nothing: as the harness' own models do."""


@register_model("datarater")
class DataRaterLM(LM):
  """A finished `datarater train`. run_dir: its folder.

  settings: what else the harness sends (batch_size, device); batches and devices are the model's.
  Raises InputError where the run cannot be loaded.
  """

  def __init__(self, run_dir: str, **settings: Any):
    del settings
    super().__init__()
    self.model = load_trained(run_dir)

  @property
  def tokenizer_name(self) -> str:
    """Tells requests apart that the harness keeps in its cache."""
    return self.model.tokenizer.fingerprint

  def loglikelihood(
    self, requests: list[Instance], disable_tqdm: bool = False
  ) -> list[tuple[float, bool]]:
    """(log-likelihood in nats, whether greedy decoding gives it) of continuations."""
    pairs = [(str(context), str(rest)) for context, rest in map(_arguments, requests)]
    with self._bar(pairs, "continuations", disable_tqdm) as bar:
      found = continuation_likelihoods(self.model, pairs, bar.update)
    answers = list(zip(found.log.tolist(), found.greedy.tolist(), strict=True))
    self._keep("loglikelihood", requests, answers)
    return answers

  def loglikelihood_rolling(
    self, requests: list[Instance], disable_tqdm: bool = False
  ) -> list[float]:
    """Log-likelihood in nats of whole texts: minus the held-out loss that `train` reports.

    The end of the document is predicted too, and rows do not see each other; models of the harness'
    own do neither.
    """
    texts = [str(_arguments(request)[0]) for request in requests]
    with self._bar(texts, "texts", disable_tqdm) as bar:
      answers = text_likelihoods(self.model, texts, bar.update).log.tolist()
    self._keep("loglikelihood_rolling", requests, answers)
    return answers

  def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
    """Greedy continuations. InputError where a task asks for sampling."""
    asked = [_generation(dict(_arguments(request)[1])) for request in requests]
    answers = [""] * len(requests)
    with self._bar(requests, "generated", disable_tqdm) as bar:
      for stops, most in dict.fromkeys(asked):
        alike = [i for i, settings in enumerate(asked) if settings == (stops, most)]
        for start in range(0, len(alike), ROWS):
          some = alike[start : start + ROWS]
          contexts = [str(_arguments(requests[i])[0]) for i in some]
          said = continue_greedily(self.model, contexts, stops, most)
          for i, text in zip(some, said, strict=True):
            answers[i] = text
          bar.update(len(some))
    self._keep("generate_until", requests, answers)
    return answers

  def _bar(self, items: Sequence[Any], what: str, disable: bool) -> tqdm:
    return tqdm(total=len(items), desc=what, unit=" requests", disable=disable, leave=False)

  def _keep(self, kind: str, requests: Sequence[Instance], answers: Sequence[Any]) -> None:
    """For the harness' cache of answers (`--use_cache`)."""
    for request, answer in zip(requests, answers, strict=True):
      self.cache_hook.add_partial(kind, _arguments(request), answer)


def _arguments(request: Instance) -> tuple[Any, ...]:
  """What a request asks: (context, continuation), (text,) or (context, settings)."""
  return request.args  # type: ignore[return-value]


def _generation(settings: dict[str, Any]) -> tuple[tuple[str, ...], int]:
  """(stops, most tokens) of a request."""
  require(
    not settings.get("do_sample") and not settings.get("temperature"),
    f"a task asks for sampling ({settings}); give --gen_kwargs do_sample=False,temperature=0",
  )
  until = settings.get("until") or []
  stops = (until,) if isinstance(until, str) else tuple(until)
  return tuple(s for s in stops if s), int(settings.get("max_gen_toks") or DEFAULT_TOKENS)


def main() -> int:
  """The harness' own command line, with this model; returns the exit code."""
  from lm_eval.__main__ import cli_evaluate

  try:
    cli_evaluate()
  except InputError as error:
    print(f"datarater: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
