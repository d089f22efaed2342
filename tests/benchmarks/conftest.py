"""Benchmarks are scripts that import one another by name, as Python finds them beside a script."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
