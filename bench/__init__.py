"""Benchmarks, run by ``make bench``: each ratio is measured within one run. None is a test."""

import sys
from pathlib import Path

# The engine lies where Salt syncs it from; nothing is installed for a benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))
