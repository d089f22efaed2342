"""FLOPs of the matrix products in a traced program, for what no formula knows: recomputation."""

import math
from collections.abc import Iterator
from typing import Any


def product_flops(jaxpr: Any) -> int:
  """FLOPs of all products of a jaxpr, those in a scan as often as it runs.

  A multiply-add is 2 FLOPs. Of the branches of a condition all count; of a while loop, whose length
  is not known, one turn.
  """
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      total += _dot_flops(equation)
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    total += times * sum(product_flops(inner) for inner in _inner_jaxprs(equation))
  return total


def _dot_flops(equation: Any) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
  return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _inner_jaxprs(equation: Any) -> Iterator[Any]:
  for value in equation.params.values():
    for item in value if isinstance(value, tuple | list) else [value]:
      jaxpr = getattr(item, "jaxpr", item)
      if hasattr(jaxpr, "eqns"):
        yield jaxpr
