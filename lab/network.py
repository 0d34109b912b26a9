"""The network of a lab: a bridge in a namespace of its own, and a veth pair to each host.

Both ends of a pair are created directly in their namespaces, so the machine's own network never
holds any part of it.
"""

from __future__ import annotations

import subprocess

from lab.errors import LabError
from lab.host import Host

# The veth ends are named after the hosts, and no host name has an underscore.
BRIDGE = "lab_switch"


def make_switch(switch: int) -> None:
    """Create the bridge in the switch's namespace."""
    _ip(
        switch,
        # With snooping, IPv6 neighbour discovery would need a multicast querier.
        f"link add name {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
        f"link set dev {BRIDGE} addrgenmode none up",
    )


def plug_in(switch: int, hosts: list[Host]) -> None:
    """Connect each host to the switch and set its addresses."""
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
            # Without nodad the address cannot be used for the first second or two.
            f"addr add {host.ipv6}/64 dev eth0 nodad",
            "link set dev eth0 up",
        )


def _ip(pid: int, *commands: str) -> None:
    """Run commands of ip in the network namespace of a process."""
    result = subprocess.run(
        # Only the network namespace: the process ids must be those of the machine.
        ["nsenter", f"--target={pid}", "--net", "--", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise LabError(f"The lab's network cannot be created: {result.stderr.strip()}")
