"""The wires of a lab: a switch in a namespace of its own, and a cable to each host.

Both ends of a cable are made in their namespaces at once; the machine's own network
never holds any part of it.
"""

from __future__ import annotations

import subprocess

from lab.errors import LabError
from lab.host import Host

# The underscore keeps it apart from the hosts, whose names the cables' ends bear.
BRIDGE = "lab_switch"


def make_switch(switch: int) -> None:
    """Make the bridge in the switch's namespace."""
    _ip(
        switch,
        # Snooping would need a querier to keep IPv6's neighbour discovery alive.
        f"link add name {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
        f"link set dev {BRIDGE} addrgenmode none up",
    )


def plug_in(switch: int, hosts: list[Host]) -> None:
    """Run a cable from the switch to each host and give the host its addresses."""
    cables = []
    for host in hosts:
        cables += [
            f"link add name {host.name} type veth peer name eth0 netns {host.pid}",
            f"link set dev {host.name} master {BRIDGE} addrgenmode none up",
        ]
    _ip(switch, *cables)
    for host in hosts:
        _ip(
            host.pid,
            "link set dev lo up",
            f"addr add {host.ipv4}/24 dev eth0",
            # Without nodad the address could not be used for the first second or two.
            f"addr add {host.ipv6}/64 dev eth0 nodad",
            "link set dev eth0 up",
        )


def _ip(pid: int, *commands: str) -> None:
    """Run commands of ip in the network namespace of a process."""
    result = subprocess.run(
        # The network only: the numbers of processes stay the machine's.
        ["nsenter", f"--target={pid}", "--net", "--", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise LabError(f"The lab's network cannot be made: {result.stderr.strip()}")
