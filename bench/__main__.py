"""Run the benchmarks, or those whose names match: ``python -m bench [--runs N] [PATTERN …]``."""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch

from bench import compare, fleet, record, table
from bench.record import Growth
from bench.rules import RUNS
from bench.tools import TOOLS
from k3sfw_engine import __version__

# Written to docs/benchmarks.md: the tools, by their keys, and the growth.
GROWTH = "fleet"
# Printed only: one matter each, for work on it.
PRINTED = (
    "profile_apply",
    "transactions",
    "start",
    "checks",
    "readers",
    "pillar_nodes",
    "cluster_check",
    "page",
)


def main() -> int:
    """Run what was chosen: the tools side by side first, then each other part."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each case is timed")
    parser.add_argument("parts", nargs="*", default=["*"])
    arguments = parser.parse_args()
    parts = [*(tool.key for tool in TOOLS), GROWTH, *PRINTED]
    chosen = [part for part in parts if any(fnmatch(part, each) for each in arguments.parts)]
    if not chosen:
        print(f"No part matches. Fix: choose of {', '.join(parts)}", file=sys.stderr)
        return 2
    tools = [tool for tool in TOOLS if tool.key in chosen]
    if tools:
        compare.main(tools, arguments.runs)
    if GROWTH in chosen:
        _record_growth()
    for part in PRINTED:
        if part in chosen:
            subprocess.run([sys.executable, "-m", f"bench.{part}"], check=True)
    return 0


def _record_growth() -> None:
    took = fleet.main()
    rounded = {
        step: {nodes: round(each, 1) for nodes, each in by_nodes.items()}
        for step, by_nodes in took.items()
    }
    day, cores = datetime.date.today().isoformat(), os.cpu_count() or 0
    found = replace(record.read(), growth=Growth(day, __version__, cores, rounded))
    record.write(found)
    table.write(found)


if __name__ == "__main__":
    sys.exit(main())
