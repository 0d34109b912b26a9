"""
``salt-run k3sfw.check`` of the lab's five nodes, which run K3s, as an operator waits for it: with
the start of the program, and all packets. Beside it, what Salt alone takes to hear these minions.
"""

from __future__ import annotations

import os
import statistics
import time

from lab.cluster import Lab
from lab.host import Host
from lab.k3s.start import start
from lab.spec import DEFAULT_HOSTS

RUNS = 5
SET_UP = (
    ("salt", "*", "saltutil.sync_all"),
    ("salt-run", "saltutil.sync_all"),
    ("salt", "*", "state.apply", "k3s.firewall"),
)
CHECK = ("salt-run", "k3sfw.check", "peers=all")
PING = ("salt", "*", "test.ping")


def main() -> None:
    """Print the medians in seconds, and their ratio."""
    with Lab(f"bench{os.getpid()}", DEFAULT_HOSTS, ephemeral=True) as lab:
        for command in SET_UP:
            lab.master.run(command, timeout=300)
        start(lab)
        lab.master.run(("salt", "*", "saltutil.refresh_grains"), timeout=60)
        # In turns, so that both meet the machine as it is.
        found = [(seconds(lab.master, PING), seconds(lab.master, CHECK)) for _run in range(RUNS)]
    ping, check = (statistics.median(column) for column in zip(*found))
    print(f"the check of 5 nodes on {os.cpu_count()} cores, medians in seconds")
    print(f"  salt-run k3sfw.check peers=all      {check:8.1f}")
    print(f"  salt '*' test.ping                  {ping:8.1f}")
    print(f"  check in pings                      {check / ping:8.1f}")


def seconds(master: Host, command: tuple[str, ...]) -> float:
    """The time of one run; it must find nothing wrong."""
    began = time.perf_counter()
    master.run(command, timeout=300)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
