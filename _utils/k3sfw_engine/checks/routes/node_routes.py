"""The verdict on the routes to the addresses of nodes, and to the networks of this node. Pure.

What answers is not wrong: hosters lead even the neighbours of one network by a router, and there a
route by the link itself would lead nowhere. So a route that looks odd is a fault only if the
address does not answer by it, and does answer on the link without a router.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.routes.removable_routes import removal
from k3sfw_engine.checks.suggested_commands import (
    ip_route,
    lookup_in_words,
    route_in_words,
)
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.echo import EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import REFUSING, Interface, Route
from k3sfw_engine.model.rows import Node

Paths = Mapping[str, PathEchoes]


@dataclass(frozen=True)
class NodeAnswers:
    """The verdicts, and the addresses whose silence has its cause in one of them."""

    checks: tuple[Check, ...] = ()
    blamed: frozenset[str] = field(default_factory=frozenset)


def judge_nodes(at: NodeFacts, paths: Paths | None) -> NodeAnswers:
    """Judge the routes to the own networks, and to every peer.

    paths
        What came back to the echoes, by the peer's address; ``None`` if none could be sent.
    """
    ways = _Ways(at, paths or {})
    checks = [*ways.to_networks(), *ways.to_peers()]
    return NodeAnswers(tuple(checks), frozenset(ways.blamed))


def doubtful_addresses(at: NodeFacts, paths: Paths | None) -> dict[str, str]:
    """The addresses to ask without a router, each with the link on which it should be.

    Only IPv4 can be asked so: the kernel has no such option for IPv6.
    """
    ways = _Ways(at, paths or {})
    asked = {}
    for _peer, address in at.addresses_of(at.peers):
        near = at.prefix_of(address)
        if near and address.version == 4 and ways.is_silent(address) and ways.is_astray(address):
            asked[str(address)] = near[1]
    for link, network in ways.unconnected:
        # What is connected over the network must still be reached if its route changes.
        if any(netaddr.IPAddress(each) in network for each in asked):
            asked.update((str(each), link.name) for each in ways.relying_on(network))
    return asked


def no_route(at: NodeFacts, address: netaddr.IPAddress, deciding: Route | None) -> Problem:
    """The problem of an address to which the kernel sends nothing."""
    if deciding is not None and deciding.kind in REFUSING:
        return messages.refused_by_route(deciding, removal(at, deciding))
    return messages.no_route(address, at.lookup(address).error)


class _Ways:
    """The ways to the own networks and to the peers, judged one after the other."""

    def __init__(self, at: NodeFacts, paths: Paths) -> None:
        self._at = at
        self._paths = paths
        self.blamed: set[str] = set()
        self.unconnected = [
            (link, network)
            for link, network in self._own_networks()
            if not self._is_connected(link, network)
        ]
        self._lost: list[netaddr.IPNetwork] = []

    # -- what is known of an address --

    def is_silent(self, address: netaddr.IPAddress) -> bool:
        """Whether the address was asked, and nothing shows that it is reached."""
        if address in self._at.connected:
            return False
        if self._at.lookup(address).error:
            return True
        path = self._paths.get(str(address))
        if path is None or path.small.result is EchoResult.ANSWERED:
            return False
        return path.small.by != str(address)

    def is_astray(self, address: netaddr.IPAddress) -> bool:
        """Whether an address of an own network is not sought on the link of that network."""
        near, lookup = self._at.prefix_of(address), self._at.lookup(address)
        if near is None:
            return False
        return bool(lookup.error or lookup.gateway or lookup.device != near[1])

    def relying_on(self, network: netaddr.IPNetwork) -> list[netaddr.IPAddress]:
        """The connected addresses in this network that no narrower route leads to."""
        return [each for each in self._at.connected if self._decides(network, each)]

    def _decides(self, network: netaddr.IPNetwork, address: netaddr.IPAddress) -> bool:
        """Whether the route to this network decides about the address."""
        if address.version != network.version or address not in network:
            return False
        route = self._at.deciding(address)
        return route is None or bool(route.destination.prefixlen <= network.prefixlen)

    # -- the networks of the own addresses --

    def _own_networks(self) -> Iterator[tuple[Interface, netaddr.IPNetwork]]:
        at = self._at
        own = set(at.own)
        for link in at.uplinks:
            for network in link.addresses:
                if link not in at.down and network.ip in own and network.size > 1:
                    yield link, network

    def _is_connected(self, link: Interface, network: netaddr.IPNetwork) -> bool:
        """Whether the route is there that the kernel creates with the address."""
        return any(
            hop.device == link.name and not hop.gateway
            for route in self._at.exact(network.cidr)
            for hop in route.hops
        )

    def to_networks(self) -> Iterator[Check]:
        """The verdict on each network of an own address."""
        for link, network in self._own_networks():
            if (link, network) in self.unconnected:
                yield self._without_route(link, network)
            else:
                evidence = f"{network.cidr} is on {link.name}"
                yield self._at.check(None, "own network", Status.OK, evidence)

    def _without_route(self, link: Interface, network: netaddr.IPNetwork) -> Check:
        at = self._at
        silent = [
            address
            for _peer, address in at.addresses_of(at.peers)
            if self._decides(network, address) and self.is_silent(address)
        ]
        if not any(at.lookup(each).error or str(each) in at.direct for each in silent):
            evidence = f"{network.cidr} has no route by {link.name}, and no peer needs one"
            return at.check(None, "own network", Status.OK, evidence)
        self._lost.append(network)
        self.blamed.update(map(str, silent))
        harmless = all(str(each) in at.direct for each in self.relying_on(network))
        problem = messages.no_connected_route(
            at.node.name, link.name, network, at.exact(network.cidr), harmless
        )
        return at.check(None, "own network", Status.NO_ROUTE, problem, address=str(network.cidr))

    # -- the peers --

    def to_peers(self) -> Iterator[Check]:
        """The verdict on the route to each address of each peer."""
        at = self._at
        for peer, address in at.addresses_of(at.peers):
            if str(address) in self.blamed:
                continue
            fault = self._fault(peer, address)
            if fault is None:
                lookup = at.lookup(address)
                evidence = f"{lookup_in_words(lookup)} src {lookup.source}"
                yield at.check(peer, "node", Status.OK, evidence, address=str(address))
            else:
                self.blamed.add(str(address))
                status, problem = fault
                yield at.check(peer, "node", status, problem, address=str(address))

    def _fault(self, peer: Node, address: netaddr.IPAddress) -> tuple[Status, Problem] | None:
        """The fault of the route to a peer's address; None if it has none."""
        at = self._at
        lookup, deciding = at.lookup(address), at.deciding(address)
        if lookup.error:
            return Status.NO_ROUTE, no_route(at, address, deciding)
        if lookup.kind == "local":
            link = at.holders.get(address, "lo")
            return Status.CONFLICT, messages.peer_address_is_ours(peer.name, address, link)
        if lookup.device in at.cni and not self._is_reached(address):
            fix = self._remove(deciding, address)
            return Status.WRONG_ROUTE, messages.node_by_pod_interface(lookup.device, fix)
        near = at.prefix_of(address)
        if near and self.is_astray(address) and str(address) in at.direct:
            fix = self._remove(deciding, address)
            problem = messages.not_by_its_link(*near, lookup.gateway, lookup.device, fix)
            return Status.WRONG_ROUTE, problem
        if lookup.source and netaddr.IPAddress(lookup.source) not in at.node.addresses:
            replace = self._with_source(lookup.device, address.version, deciding)
            problem = messages.wrong_source(at.node, lookup.source, replace)
            return Status.SRC_MISMATCH, problem
        return None

    def _is_reached(self, address: netaddr.IPAddress) -> bool:
        return str(address) in self._paths and not self.is_silent(address)

    def _remove(self, route: Route | None, address: netaddr.IPAddress) -> str:
        """How to remove a wrong route to one address; the command only if it leads to no other."""
        if route is None:
            return messages.another_table()
        alone = route.destination.size == 1 and route.destination.ip == address
        return messages.remove_route(route, removal(self._at, route) if alone else "")

    def _with_source(self, device: str, family: int, route: Route | None) -> str:
        """The command by which packets leave with the node's own address.

        Not for a default route: its source may be what clients elsewhere know this host by.
        """
        ours = self._at.own_in(family, device)
        if route is None or ours is None or not route.destination.prefixlen:
            return ""
        words = [route_in_words(route)]
        # These keep the route what it is: without them ip would create another one beside it.
        words += [f"proto {route.protocol}"] if route.protocol else []
        words += [f"scope {route.scope}"] if route.scope == "link" else []
        words.append(f"src {ours}")
        return self._at.run_here(ip_route("replace", family, " ".join(words)))
