"""The verb `plan`: what a meta-training run takes, before anything is allocated."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from datarater.config import MeshConfig, MetaTrainConfig
from datarater.errors import require
from datarater.meta.workload import Assumptions

_ASSUMPTIONS = Assumptions()


def plan_verb(default: MetaTrainConfig) -> Callable[..., None]:
  """The verb with a config file's settings as its defaults."""

  def plan(
    config_file: Positional[Path],
    devices: int | None = None,
    output: Path | None = None,
    quiet: bool = False,
    assumptions: Annotated[Assumptions, arg(name="")] = _ASSUMPTIONS,
    config: Annotated[MetaTrainConfig, arg(name="")] = default,
  ) -> None:
    """Says what a run takes: parameters, FLOPs, memory a device, days. Allocates nothing.

    Compiles the meta-step for virtual devices, laid out as on real ones; needs no data.

    Args:
      config_file: A Python file that defines config(), such as configs/paper_pile.py.
      devices: How many (default: as many as the mesh has).
      output: Write the plan there, as JSON.
      quiet: No tables.
      assumptions: What days are reckoned with.
      config: Overrides of the config file.
    """
    del config_file
    require_devices(config.mesh, devices)
    from datarater.meta.plan import make_plan, start_virtual_devices
    from datarater.report.plan import show
    from datarater.runtime.atomic import write_json

    start_virtual_devices(config.mesh.devices)
    doing = f"Compiling the meta-step for {config.mesh.devices} devices: a minute at paper scale"
    with contextlib.nullcontext() if quiet else Console(stderr=True).status(doing):
      made = make_plan(config, assumptions)
    if not quiet:
      show(made, Console())
    if output is not None:
      write_json(output, dataclasses.asdict(made))

  return plan


def require_devices(mesh: MeshConfig, devices: int | None) -> None:
  """Raises InputError where a mesh is not for so many devices."""
  require(devices is None or devices >= 1, f"devices is {devices}; give a number of at least 1")
  require(
    devices in (None, mesh.devices),
    f"mesh {mesh.member} x {mesh.data} x {mesh.model} (member x data x model) is for "
    f"{mesh.devices} and devices is {devices}; give --mesh.member, --mesh.data and --mesh.model "
    f"with a product of {devices}",
  )
