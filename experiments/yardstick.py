"""A model-free yardstick of what a domain is worth to a target: LZMA with the domain as context.

Bits per byte of held-out target text behind a fixed amount of the domain,

    8 (|lzma(domain + target)| - |lzma(domain)|) / |target|,

so that the target may copy from the domain as from a dictionary. Lower is better.
"""

import dataclasses
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datarater.data.sources import open_source
from datarater.data_config import DataConfig
from datarater.runtime.atomic import read_json, write_json
from experiments.jobs import Job

CONTEXT_BYTES = 2_400_000
TARGET_BYTES = 1 << 17
"""Few, against the context: else the target explains itself."""

NO_DOMAIN = ""
_FLOPS_A_BYTE = 2e4  # what a core could compute meanwhile: for the progress bar


@dataclasses.dataclass(frozen=True)
class YardstickJob(Job):
  """Measures one domain (`NO_DOMAIN`: no context at all) for some targets.

  The context comes from the splits that are trained on, `inner` and, where a domain is too small
  there, `lm`; the target from `test`.
  """

  data: DataConfig
  domain: str
  targets: tuple[str, ...]
  context_bytes: int = CONTEXT_BYTES
  target_bytes: int = TARGET_BYTES
  kind = "yardsticks"
  result_file = Path("yardstick.json")

  @property
  def name(self) -> str:
    return f"yardstick of {self.domain or 'no text'}"

  @property
  def flops(self) -> float:
    context = self.context_bytes if self.domain else 0
    return _FLOPS_A_BYTE * (context + (context + self.target_bytes) * len(self.targets))

  def run(self, root: Path) -> None:
    context = b""
    if self.domain:
      context = text_of(self.data, ("inner", "lm"), self.domain, self.context_bytes)
    targets = {
      target: text_of(self.data, ("test",), target, self.target_bytes) for target in self.targets
    }
    result = {
      "domain": self.domain,
      "context_bytes": len(context),
      "target_bytes": {target: len(text) for target, text in targets.items()},
      "bits_per_byte": conditional_bits(context, targets),
    }
    write_json(self.result_path(root), result)

  def result(self, root: Path) -> dict[str, Any]:
    """Its `yardstick.json`."""
    return read_json(self.result_path(root), "yardstick")


def conditional_bits(context: bytes, targets: dict[str, bytes]) -> dict[str, float]:
  """Bits per byte of each target behind the context."""
  alone = _compressed(context)
  return {
    name: 8 * (_compressed(context + text) - alone) / len(text) for name, text in targets.items()
  }


def _compressed(text: bytes) -> int:
  return len(lzma.compress(text))  # the dictionary of 8 MiB reaches over all of it


def text_of(data: DataConfig, splits: Sequence[str], domain: str, most: int) -> bytes:
  """Documents of a domain in a shuffled order, until there are `most` bytes; fewer if all fall
  short.
  """
  data = dataclasses.replace(data, target_domain="", exclude_domains=(), lm=DataConfig.lm)
  found = bytearray()
  for split in splits:
    source = open_source(data, split)
    for index in np.random.default_rng(0).permutation(len(source)):
      if len(found) >= most:
        break
      if source.domains[source.domain_index(int(index))] == domain:
        found += (source[int(index)].text + "\n\n").encode("utf-8", "replace")
  return bytes(found[:most])
