"""TRAK by the package `traker`, on our language model in PyTorch: the peer of `trak.py`.

Run by it, in a process of its own, with the folder that holds `traker`: arrays in, arrays out.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch_transformer import LanguageModel

from datarater.config import ModelConfig

PRODUCTS = ["query", "key", "value"]
BLOCKS = ["attention_norm", "attention_out", "key", "mlp_in", "mlp_norm", "mlp_out", *PRODUCTS[::2]]
"""Of a block, in the order of our parameters."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("folder", type=Path)
  parser.add_argument("peer_path")
  a = parser.parse_args()
  sys.path[:1] = []  # this folder, where `trak.py` has the package's name
  sys.path.append(a.peer_path)
  torch.set_num_threads(os.cpu_count() or 1)
  given = dict(np.load(a.folder / "in.npz"))
  settings = json.loads((a.folder / "settings.json").read_text())
  peer = Peer(given, settings)
  plain = peer.plain_seconds(settings["plain_batch"])
  seconds: list[tuple[float, float]] = []
  scores = {f"seed {seed}": peer.own(seed, seconds) for seed in range(settings["projections"])}
  scores |= {
    f"ours {relative}": peer.with_projection(given["signs"], ridge)
    for relative, ridge in settings["ridges"].items()
  }
  np.savez(a.folder / "out.npz", plain=plain, seconds=np.array(seconds), **scores)  # type: ignore[arg-type]


class Peer:
  """A model, its pool and its targets; scores are [pool, targets]."""

  def __init__(self, given: dict[str, np.ndarray], settings: dict[str, Any]):
    model = ModelConfig(**settings["model"])
    self.pool, self.targets = (torch.tensor(given[name]).long() for name in ("pool", "targets"))
    self.model = LanguageModel(model, settings["vocab_size"], self.pool.shape[1])
    weights = {n[6:]: torch.tensor(x) for n, x in given.items() if n.startswith("theta.")}
    self.model.transformer.load_state_dict(weights)
    self.model.eval()
    self.layers, self.dimension = model.layers, settings["projection"]
    self.batch, self.own_ridge = settings["peer_batch"], settings["ridge"]

  def plain_seconds(self, batch: int) -> np.ndarray:
    """What the pool takes by clock and by cores with PyTorch's own choice of attention, which vmap
    runs row by row.
    """
    with tempfile.TemporaryDirectory() as folder:
      trak = self._traker(None, 0, 0.0, folder, contextlib.nullcontext)
      return np.array(self._featurize(trak, batch))

  def own(self, seed: int, seconds: list[tuple[float, float]]) -> np.ndarray:
    """With its projector for CPUs. seconds: gets how long the pool took, by clock and by cores."""
    return self._scores(None, seed, self.own_ridge, seconds)

  def with_projection(self, signs_pxk: np.ndarray, ridge: float) -> np.ndarray:
    """With a matrix of ours in the place of its own."""
    from trak.projectors import AbstractProjector

    layers, matrix = self.layers, torch.tensor(signs_pxk)

    class Projector(AbstractProjector):
      def __init__(self):
        super().__init__(*matrix.shape, 0, "rademacher", "cpu")

      def project(self, grads, model_id):
        del model_id
        return as_ours(grads, layers) @ matrix

    projector = Projector()
    return self._scores(projector, 0, ridge, [])

  def _scores(self, projector: Any, seed: int, ridge: float, seconds: list[Any]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
      trak = self._traker(projector, seed, ridge, folder, lambda: sdpa_kernel(SDPBackend.MATH))
      seconds.append(self._featurize(trak, self.batch))
      trak.finalize_features()
      state = self.model.state_dict()
      trak.start_scoring_checkpoint("targets", state, 0, len(self.targets))
      for rows in self.targets.split(self.batch):
        trak.score((rows,), num_samples=len(rows))
      return np.array(trak.finalize_scores("targets"))

  def _featurize(self, trak: Any, batch: int) -> tuple[float, float]:
    trak.load_checkpoint(self.model.state_dict(), model_id=0)
    start, start_cpu = time.perf_counter(), time.process_time()
    for rows in self.pool.split(batch):
      trak.featurize((rows,), num_samples=len(rows))
    return time.perf_counter() - start, time.process_time() - start_cpu

  def _traker(self, projector: Any, seed: int, ridge: float, folder: str, attention: Any) -> Any:
    """attention: makes the context that the model runs in."""
    from trak import TRAKer
    from trak.modelout_functions import AbstractModelOutput

    class MeanLoss(AbstractModelOutput):
      def __init__(self):
        pass

      @staticmethod
      def get_output(model, weights, buffers, tokens_L):
        with attention():
          return torch.func.functional_call(model, (weights, buffers), (tokens_L[None],))[0]

      def get_out_to_loss_grad(self, model, weights, buffers, batch):
        del model, weights, buffers
        return torch.ones(len(batch[0]), 1)

    return TRAKer(
      self.model,
      MeanLoss(),
      len(self.pool),
      save_dir=folder,
      device="cpu",
      projector=projector,
      proj_dim=self.dimension,
      projector_seed=seed,
      use_half_precision=False,
      lambda_reg=ridge,
      logging_level=100,
    )


def as_ours(grads: dict[str, torch.Tensor], layers: int) -> torch.Tensor:
  """Gradients [B, p] by PyTorch's names, in the order of our parameters' leaves."""
  grads = {name.removeprefix("transformer."): g for name, g in grads.items()}
  flat = []
  for leaf in BLOCKS:
    for layer in range(layers):
      block = f"blocks.{layer}."
      if leaf in PRODUCTS:
        part = grads[f"{block}qkv.weight"].chunk(3, dim=1)[PRODUCTS.index(leaf)]
      else:
        part = grads[f"{block}{leaf}.weight"]
      flat.append(part.transpose(1, 2) if part.ndim == 3 else part)
  flat += [grads["embedding.weight"], grads["final_norm.weight"]]
  return torch.cat([part.reshape(len(part), -1) for part in flat], dim=1)


if __name__ == "__main__":
  main()
