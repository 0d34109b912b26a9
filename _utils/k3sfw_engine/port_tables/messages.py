"""Sentences about what minions claim and what follows from it.

A claim that is not believed never refuses the pillar: it becomes a notice, on every node that reads
the list.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.rows import ROOT, Role
from k3sfw_engine.port_tables.defaults import MOST_NAMED

NODES = f"{ROOT}:nodes"
IMAGE_KNOWS_NO_NODES = (
    "an image knows no node of the cluster; a node that is made of it adds them with its first "
    "apply"
)
_REFRESH = "salt '*' saltutil.refresh_grains"

Claims = Sequence[tuple[str, netaddr.IPAddress]]


def some(items: Sequence[str], what: str = "", separator: str = ", ") -> str:
    """The first of many items, and how many more there are."""
    more = len(items) - MOST_NAMED
    shown = separator.join(items[:MOST_NAMED])
    return f"{shown} and {more} more {what}".rstrip() if more > 0 else shown


def outside_of_node_cidrs(claims: Claims, node_cidrs: Networks) -> Problem:
    """Claimed addresses that the site's own networks of nodes exclude."""
    return Problem(
        f"{NODES}: {_claims(claims)}, which is in none of {ROOT}:node_cidrs "
        f"({', '.join(map(str, node_cidrs))}); it is not let in",
        "add its network there, or correct node-ip on that node",
    )


def inside_of_cluster_networks(claims: Claims, networks: Networks) -> Problem:
    """Claimed addresses that belong to pods or services."""
    return Problem(
        f"{NODES}: {_claims(claims)}, which is an address of pods or services "
        f"({', '.join(map(str, networks))}) and not of a node; it is not let in",
        f"correct node-ip on that node, or {ROOT}:pod_cidrs and {ROOT}:service_cidrs",
    )


def claimed_by_several(shared: Mapping[netaddr.IPAddress, Sequence[str]]) -> Problem:
    """Addresses with the nodes that claim each of them."""
    each = [f"{address} is claimed by {some(names)}" for address, names in shared.items()]
    example = next(iter(shared.values()))[0]
    return Problem(
        f"{NODES}: {some(each, 'addresses', '; ')}. An address of several "
        "nodes identifies none of them: it is in no ipset, and no check asks it",
        "set node-ip in the configuration of K3s on these nodes if it is not what K3s uses, then "
        f"run {_REFRESH}; or pin what peers see, as {NODES}:{example}:addresses",
    )


def claimed_beside_pin(claims: Claims, pins: Mapping[netaddr.IPAddress, str]) -> Problem:
    """Claimed addresses that are pinned to other nodes."""
    each = [
        f"{name} claims {address}, which is pinned to {pins[address]}" for name, address in claims
    ]
    return Problem(
        f"{NODES}: {some(each, 'claims', '; ')}; the pin wins",
        f"correct node-ip on that node, then run {_REFRESH}; or correct the pin",
    )


def without_address(names: Sequence[str]) -> Problem:
    """Nodes of which no address is believed."""
    return Problem(
        f"{NODES}: no address is left of {some(names)}: no peer lets these nodes in, and no "
        "check asks them",
        f"pin what peers see, as {NODES}:{names[0]}:addresses",
    )


def unreadable_claim(name: str, column: str) -> str:
    """The doubt about the list of nodes that a claim leaves which cannot be read."""
    return f"what minion {name} claims as its {column} cannot be read"


def pin_against_claim(name: str, pin: Role, claim: str) -> Problem:
    """A pinned role that the minion itself contradicts."""
    return Problem(
        f"{NODES}:{name}: the pin says {pin.value} and the grain k3s_role says {claim}; in doubt "
        f"{name} has the rights of an agent only",
        f"correct {NODES}:{name}:role in pillar, or the grain on {name} and then run "
        f"salt {shlex.quote(name)} saltutil.refresh_grains",
    )


def unheard_minions(names: Sequence[str]) -> str:
    """Minions that are or may be nodes, and of which the master holds no grains."""
    return (
        f"the master holds no grains of the accepted minions {some(names)}; start them once, or "
        "delete their keys"
    )


def silent_nodes(silent: Sequence[tuple[str, int]]) -> Problem:
    """Nodes with the days since the master heard them, the longest first."""
    each = [f"{name} for {days} days" for name, days in silent]
    name = shlex.quote(silent[0][0])
    return Problem(
        f"{NODES}: the master has not heard {some(each)}, and they still count as nodes: a host "
        "that gets such an address is let in as a node",
        f"if the host is gone, salt-key -d {name} on the master; if it runs, salt {name} "
        "saltutil.refresh_pillar",
    )


def several_masters() -> Problem:
    """A list of nodes by one of several masters."""
    return Problem(
        f"{NODES}: this cluster has several masters, and each knows only the minions that report "
        "to it; a list that lacks the nodes of another master looks complete",
        f"set {ROOT}:firewall:expected_nodes in k3s/site.sls to the number of nodes",
    )


def _claims(claims: Claims) -> str:
    return some([f"{name} claims {address}" for name, address in claims], "claims")
