"""
The cost of being able to undo: the time of an apply, and the share of the transaction in it (guard,
trial start, journal, watchdog, copies). One host and one run measure everything.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

from bench.rules import RUNS, pillar_of
from lab.cluster import Lab
from lab.spec import HostSpec

DRIVER = Path(__file__).with_name("transaction_driver.py")
SERVER = HostSpec("s1", "server", 11, minion=False)


def main() -> dict[str, float]:
    """Print all times; return the milliseconds of the transaction for each kind of apply."""
    pillars = [("first apply", pillar_of(5)), ("nothing to do", pillar_of(5))]
    for nodes in range(6, 6 + RUNS):
        pillars += [("one node more", pillar_of(nodes)), ("nothing to do", pillar_of(nodes))]
    with Lab(f"bench{os.getpid()}", (SERVER,), salt=False, ephemeral=True) as lab:
        host = lab.host("s1")
        given = json.dumps({"pillars": pillars})
        found = json.loads(host.run([sys.executable, str(DRIVER)], input=given, timeout=300).stdout)
    print(f"a transaction on {os.cpu_count()} cores, medians in milliseconds")
    added_to = {}
    for name in dict.fromkeys(name for name, _pillar in pillars):
        wholes = [each["whole"] for each in found if each["name"] == name]
        added = [each["whole"] - each["bare"] for each in found if each["name"] == name]
        whole, more = statistics.median(wholes), statistics.median(added)
        print(f"  {name:16}{whole:8.1f}, of which transaction   {more:8.1f}")
        added_to[name] = more
    return added_to


if __name__ == "__main__":
    main()
