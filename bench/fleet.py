"""Growth of what the master makes of answers: grouping, reading, judging, for clusters up to 5,000.

Each size has the same faults in one of a hundred nodes. The figures are seconds, and the growth is
a ratio: proportional growth would be the ratio of the sizes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.forms.junit import junit
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.overview import overview
from k3sfw_engine.fleet.read_answers import read_saved
from tests.simulated_fleet import Fault, simulated_fleet

SIZES = (300, 1000, 5000)
KINDS = ("rejects", "down", "no_listener", "no_egress", "setting", "exposed")


def faulty(nodes: int, peers: int | None = 8) -> CheckedCluster:
    """A cluster in which one of a hundred nodes has a fault, of every kind in turn."""
    width = len(str(nodes))
    faults = [
        Fault(KINDS[at % len(KINDS)], f"a{100 * at + 7:0{width}}", _port(KINDS[at % len(KINDS)]))
        for at in range(nodes // 100)
    ]
    return simulated_fleet(nodes, faults, peers)


def _port(kind: str) -> str:
    return "9500" if kind in ("rejects", "no_listener", "exposed") else ""


def timed(function: Callable[[], object]) -> float:
    """The best of three runs, in seconds."""
    best = float("inf")
    for _run in range(3):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> None:
    """Print the figures."""
    print("answers of a cluster, in seconds            group  overview  read  JUnit  MB saved")
    first: dict[str, float] = {}
    for nodes in SIZES:
        took = measured(faulty(nodes))
        print(f"  {nodes:5} nodes, 8 peers each           {_row(took)}")
        first = first or took
    print(f"  growth of {SIZES[0]} to {SIZES[-1]} nodes         {_growth(first, took)}")
    print(f"    300 nodes, all peers each         {_row(measured(faulty(300, None)))}")


def measured(cluster: CheckedCluster) -> dict[str, float]:
    """What each step takes."""
    text = json.dumps(cluster.as_dict())
    return {
        "group": timed(lambda: group(cluster)),
        "overview": timed(lambda: overview(cluster)),
        "read": timed(lambda: read_saved(text)),
        "junit": timed(lambda: junit(cluster)),
        "size": len(text) / 1e6,
    }


def _row(took: dict[str, float]) -> str:
    return "".join(f"{each:8.2f}" for each in took.values())


def _growth(first: dict[str, float], last: dict[str, float]) -> str:
    return "".join(f"{last[name] / each:8.1f}" for name, each in first.items())


if __name__ == "__main__":
    main()
