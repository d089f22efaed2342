"""A trained language model, out of its run folder, ready to be asked."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from datarater.config import ModelConfig
from datarater.data.documents import RowShapes, default_batch_tokens
from datarater.data.tokenizers import Tokenizer, load_tokenizer
from datarater.errors import require
from datarater.evaluation.arm import RESULT, read_result
from datarater.models.attention import for_inference
from datarater.models.language_model import likeliest_fn, nll_and_errors_fn
from datarater.runtime.run_folder import CONFIG
from datarater.training.lm import CHECKPOINTS, load_language_model
from datarater.types import Batch, PyTree


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """Parameters and the functions that use them.

  name: for messages. shapes: of its batches; the longest row is as in training, and a batch has no
  more tokens than one of training had. score: (theta, batch) -> (nll_BxL in nats, errors_BxL).
  likeliest: (theta, batch, at_B) -> the token int32 [B] that follows position at_B of each row.
  """

  name: str
  tokenizer: Tokenizer
  theta: PyTree
  shapes: RowShapes
  score: Callable[[PyTree, Batch], tuple[jax.Array, jax.Array]]
  likeliest: Callable[[PyTree, Batch, Any], jax.Array]


def load_trained(run_dir: str | Path) -> TrainedModel:
  """The model of a finished `datarater train`. InputError: not finished, or no checkpoint."""
  folder = Path(run_dir)
  config, _ = read_result(folder)
  newest_step(folder)
  tokenizer = load_tokenizer(config.data.tokenizer)
  length = config.data.length
  score, likeliest = _compiled(config.model, tokenizer.vocab_size)
  return TrainedModel(
    name=str(run_dir),
    tokenizer=tokenizer,
    theta=jax.device_put(load_language_model(config, tokenizer.vocab_size, folder)),
    shapes=RowShapes(length, min(default_batch_tokens(), config.batch * length)),
    score=score,
    likeliest=likeliest,
  )


def newest_step(run_dir: str | Path) -> int:
  """The step of a run's newest checkpoint; InputError if it has none."""
  folder = Path(run_dir) / CHECKPOINTS
  steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
  require(
    bool(steps),
    f"run folder {str(run_dir)!r} has no checkpoint in {CHECKPOINTS}/; train it again",
  )
  return max(steps)


def fingerprint(run_dir: str | Path) -> str:
  """sha256 of what a finished run was asked for and found, hex: another where its model is."""
  folder = Path(run_dir)
  return hashlib.sha256((folder / CONFIG).read_bytes() + (folder / RESULT).read_bytes()).hexdigest()


@functools.lru_cache(maxsize=4)
def _compiled(model: ModelConfig, vocab_size: int):
  """Once for all runs of one architecture."""
  model = for_inference(model)
  return jax.jit(nll_and_errors_fn(model, vocab_size)), jax.jit(likeliest_fn(model, vocab_size))
