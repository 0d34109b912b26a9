"""Which addresses of the nodes are believed: each identifies one node, or none.

An address that two nodes claim would let each of them in as the other, and a check would ask the
wrong host. What an operator pinned wins over every claim. Nothing here makes the node list unsure:
which nodes there are is known, and an address in doubt must not keep the rights of others alive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import netaddr

from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.rows import Node
from k3sfw_engine.port_tables import messages
from k3sfw_engine.port_tables.findings import Findings


class ListedNode(NamedTuple):
    """A node as it is listed, and whether its addresses are pinned by hand."""

    node: Node
    pinned: bool


class Trust(NamedTuple):
    """What claimed addresses are judged by.

    own
        The node that reads the list: what concerns it is named first.
    node_cidrs
        Where nodes have addresses, as the site says; empty if it does not.
    cluster
        The networks of pods and services: nodes have no address there.
    """

    own: str
    node_cidrs: Networks
    cluster: Networks


def believe_addresses(
    found: Findings, listed: Sequence[ListedNode], trust: Trust
) -> tuple[Node, ...]:
    """The same nodes with those addresses that identify each of them."""
    doubted = _misplaced(found, listed, trust)
    doubted |= _shared(found, listed, trust.own, doubted)
    nodes = tuple(
        replace(
            node,
            addresses=tuple(one for one in node.addresses if (node.name, one) not in doubted),
        )
        for node, _pinned in listed
    )
    lost = [node.name for node in nodes if not node.addresses]
    if lost:
        found.notices.append(str(messages.without_address(lost)))
    return nodes


_Claim = tuple[str, netaddr.IPAddress]


def _misplaced(found: Findings, listed: Sequence[ListedNode], trust: Trust) -> set[_Claim]:
    """The claims of addresses at which no node of this cluster can be."""
    claims = [(node.name, one) for node, pinned in listed if not pinned for one in node.addresses]
    inside_of_cluster = _within(trust.cluster)
    inside_of_nodes = _within(trust.node_cidrs)
    outside = [claim for claim in claims if trust.node_cidrs and not inside_of_nodes(claim[1])]
    if outside:
        problem = messages.outside_of_node_cidrs(outside, trust.node_cidrs)
        found.notices.append(str(problem))
    inside = [claim for claim in claims if inside_of_cluster(claim[1])]
    if inside:
        problem = messages.inside_of_cluster_networks(inside, trust.cluster)
        found.notices.append(str(problem))
    return {*outside, *inside}


def _within(networks: Networks) -> Callable[[netaddr.IPAddress], bool]:
    return lambda address: any(address in network for network in networks)


def _shared(
    found: Findings, listed: Sequence[ListedNode], own: str, doubted: set[_Claim]
) -> set[_Claim]:
    """The claims of addresses that another node has as well."""
    pins: dict[netaddr.IPAddress, str] = {}
    claimants: defaultdict[netaddr.IPAddress, list[str]] = defaultdict(list)
    for node, pinned in listed:
        for one in node.addresses:
            if not pinned and (node.name, one) not in doubted:
                claimants[one].append(node.name)
            elif pinned and pins.setdefault(one, node.name) != node.name:
                found.fault(
                    f"{messages.NODES}:{node.name}:addresses",
                    f"{one} is pinned to {pins[one]} as well",
                    "give every node addresses of its own",
                )
    beside = [(name, one) for one in sorted(claimants) if one in pins for name in claimants[one]]
    if beside:
        found.notices.append(str(messages.claimed_beside_pin(beside, pins)))
    several = {
        one: sorted(names, key=lambda name: name != own)
        for one, names in sorted(claimants.items(), key=lambda each: (own not in each[1], each[0]))
        if len(names) > 1 and one not in pins
    }
    if several:
        found.notices.append(str(messages.claimed_by_several(several)))
    return {*beside, *((name, one) for one, names in several.items() for name in names)}
