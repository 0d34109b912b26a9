"""The network of a lab: bridges in a namespace of their own, and a veth pair for each card.

Both ends of a pair are created directly in their namespaces, so the machine's own network never
holds any part of it.
"""

from __future__ import annotations

import contextlib
import subprocess

from lab.errors import LabError
from lab.host import Host
from lab.spec import MAIN_SWITCH, Card, HostSpec

# The veth ends are named after the hosts, and no host name has an underscore.
PREFIX = "lab_"
MAIN = PREFIX + MAIN_SWITCH


def make_switch(switch: int) -> None:
    """Create the bridge in the switch's namespace."""
    _ip(switch, *_bridge(MAIN))


def plug_in(switch: int, hosts: list[Host]) -> None:
    """Connect each host to its switches and set its addresses."""
    cables, bridges = [], _bridges(switch)
    for host in hosts:
        for card in host.spec.all_cards:
            bridge, end = PREFIX + card.switch, _end(host, card)
            if bridge not in bridges:
                cables += _bridge(bridge)
                bridges.add(bridge)
            cables += [
                f"link add name {end} type veth peer name {card.name} netns {host.pid}",
                f"link set dev {end} master {bridge} addrgenmode none up",
            ]
    _ip(switch, *cables)
    for host in hosts:
        _ip(host.pid, "link set dev lo up", *_settings(host.spec))
        if host.spec.translates:
            _translate(host)


def unplug(switch: int, host: Host) -> None:
    """Remove the cables of a host that has just ended: the kernel takes its time to do so."""
    shown = _in_network(switch, ["ip", "-brief", "link", "show"]).stdout
    here = {line.split("@")[0] for line in shown.splitlines()}
    for end in {_end(host, card) for card in host.spec.all_cards} & here:
        with contextlib.suppress(LabError):
            _ip(switch, f"link delete dev {end}")


def _end(host: Host, card: Card) -> str:
    """The name of a card's cable at its switch."""
    # A host's name may take all 15 bytes, so its number stands for it.
    return host.name if card.name == "eth0" else f"{host.spec.number}_{card.name}"


def _bridge(name: str) -> list[str]:
    return [
        # With snooping, IPv6 neighbour discovery would need a multicast querier.
        f"link add name {name} type bridge forward_delay 0 mcast_snooping 0",
        f"link set dev {name} addrgenmode none up",
    ]


def _bridges(switch: int) -> set[str]:
    """The bridges that exist. Their namespace has no /sys of its own, so ip is asked."""
    shown = _in_network(switch, ["ip", "-brief", "link", "show", "type", "bridge"]).stdout
    return {line.split()[0] for line in shown.splitlines()}


def _settings(spec: HostSpec) -> list[str]:
    """The addresses and the default route of a host."""
    lines = []
    for card in spec.all_cards:
        for address in card.addresses:
            # Without nodad an IPv6 address cannot be used for the first second or two.
            options = "nodad" if ":" in address else ""
            lines.append(f"addr add {address} dev {card.name} {options}")
        lines.append(f"link set dev {card.name} up")
    lines += [f"addr add {outside}/32 dev eth0" for outside, _inside in spec.translates]
    return lines + ([f"route add default via {spec.gateway}"] if spec.gateway else [])


def _translate(host: Host) -> None:
    """Stand between hosts and the main switch, with one outer address for each of them."""
    pairs = host.spec.translates
    arriving = ", ".join(f"{outside} : {inside}" for outside, inside in pairs)
    leaving = ", ".join(f"{inside} : {outside}" for outside, inside in pairs)
    rules = f"""table ip translation {{
  chain arriving {{ type nat hook prerouting priority dstnat;
    dnat to ip daddr map {{ {arriving} }}; }}
  chain leaving {{ type nat hook postrouting priority srcnat;
    snat to ip saddr map {{ {leaving} }}; }}
}}
"""
    _in_network(host.pid, ["nft", "-f", "-"], rules)
    host.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])


def _ip(pid: int, *commands: str) -> None:
    """Run commands of ip in the network namespace of a process."""
    _in_network(pid, ["ip", "-batch", "-"], "\n".join(commands) + "\n")


def _in_network(pid: int, argv: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program in the network namespace of a process."""
    result = subprocess.run(
        # Only the network namespace: the process ids must be those of the machine.
        ["nsenter", f"--target={pid}", "--net", "--", *argv],
        input=given,
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise LabError(f"The lab's network cannot be created: {result.stderr.strip()}")
    return result
