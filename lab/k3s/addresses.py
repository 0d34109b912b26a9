"""Addresses of pods and services, by the number of their node, and ``ip`` inside a host."""

from __future__ import annotations

from collections.abc import Sequence

from lab.namespaces import Namespaces

# An IPv4 and an IPv6 pattern each, for the number of a node and of a pod or service on it. Services
# do not belong to nodes, but tests that send from their addresses need some on each node.
POD = ("10.42.{}.{}", "fd42::{}:{}")
SERVICE = ("10.43.{}.{}", "fd43::{}:{}")
ALL_PODS = {4: "10.42.0.0/16", 6: "fd42::/56"}


def addresses(patterns: tuple[str, str], number: int, last: int) -> tuple[str, str]:
    """The IPv4 and the IPv6 address of one place in a node's network."""
    four, six = patterns
    return four.format(number, last), six.format(number, last)


def node_network(family: int, number: int) -> str:
    """The network of one node's pods."""
    return f"10.42.{number}.0/24" if family == 4 else f"fd42::{number}:0/112"


def with_length(address: str) -> str:
    """The address with the prefix length of its node's network."""
    return f"{address}/{112 if ':' in address else 24}"


def no_wait(address: str) -> str:
    """Options to use a new address at once: IPv6 looks for duplicates first."""
    return "nodad" if ":" in address else ""


def ip(host: Namespaces, *commands: str, inside: Sequence[str] = ()) -> None:
    """Run ``ip`` commands on a host; ``inside`` is a prefix that enters one of its namespaces."""
    host.run([*inside, "ip", "-batch", "-"], input="\n".join(commands) + "\n")
