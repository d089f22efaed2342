"""Configs in and out: as JSON, which runs and raters carry, and from Python files.

JSON is read strictly: a field that the class does not have is an error, so that a typo never
becomes a default.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from datarater.errors import InputError, require

T = TypeVar("T")

_ACCEPTED: dict[type, tuple[type, ...]] = {
  float: (int, float),
  int: (int,),
  bool: (bool,),
  str: (str,),
}


def _strict(value: Any, cls: type) -> Any:
  """`value` where it is a `cls` already: a converter would read 1.5 as the int 1, "no" as True."""
  if not isinstance(value, _ACCEPTED[cls]) or (isinstance(value, bool) and cls is not bool):
    raise TypeError(f"{value!r} is not of type {cls.__name__}")
  return cls(value)


def _make_converter() -> cattrs.Converter:
  converter = cattrs.Converter(forbid_extra_keys=True)
  for cls in _ACCEPTED:
    converter.register_structure_hook(cls, _strict)
  return converter


_converter = _make_converter()


def _cause(error: BaseException, kind: type | None) -> str:
  """What cattrs met, in our words where they are ours."""
  if isinstance(error, InputError | TypeError | ValueError):
    return str(error)
  return cattrs.v.format_exception(error, kind)


def to_json(config: Any) -> dict[str, Any]:
  """A config as plain JSON values; `from_json` is its inverse."""
  return json.loads(json.dumps(_converter.unstructure(config)))


def from_json(cls: type[T], values: Any) -> T:
  """Builds `cls` from JSON values; an unknown field or a wrong type raises InputError naming it."""
  require(isinstance(values, dict), f"{cls.__name__} cannot be read: {values!r} is no JSON object")
  try:
    return _converter.structure(values, cls)
  except Exception as error:  # cattrs gathers all causes in one
    causes = "; ".join(cattrs.transform_error(error, format_exception=_cause))
    raise InputError(f"{cls.__name__} cannot be read: {causes}") from error


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
  """One `field: old -> new` line for each leaf that differs between two JSON configs."""
  lines = []
  for key in sorted(old.keys() | new.keys()):
    a, b, name = old.get(key), new.get(key), prefix + key
    if isinstance(a, dict) and isinstance(b, dict):
      lines += differences(a, b, name + ".")
    elif a != b:
      lines.append(f"{name}: {a!r} -> {b!r}")
  return lines


def load_config_file(path: str | Path, cls: type[T]) -> T:
  """Runs `config()` of a Python file and checks that it returns a `cls`."""
  path = Path(path)
  require(
    path.is_file(), f"config file {str(path)!r} does not exist; give the path of a Python file"
  )
  spec = importlib.util.spec_from_file_location("datarater_config", path)
  require(
    spec is not None and spec.loader is not None,
    f"config file {str(path)!r} is not Python; give a .py file that defines config()",
  )
  module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
  try:
    spec.loader.exec_module(module)  # type: ignore[union-attr]
  except InputError:
    raise
  except Exception as error:
    raise InputError(f"config file {str(path)!r} fails: {type(error).__name__}: {error}") from error
  make: Callable[[], Any] | None = getattr(module, "config", None)
  require(make is not None, f"config file {str(path)!r} defines no config(); see configs/tiny.py")
  try:
    config = make()  # type: ignore[misc]
  except TypeError as error:
    raise InputError(f"config file {str(path)!r} fails: {error}") from error
  require(
    isinstance(config, cls),
    f"config file {str(path)!r} returns a {type(config).__name__}; this verb needs a "
    f"{cls.__name__}",
  )
  return config
