"""What is known of one node: its place in the tables, its network, its peers. Pure.

It answers questions about what was read (which interface has an address of the pillar, which route
the kernel takes) and never judges. ``check`` fills in a verdict that its caller reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import netaddr

from k3sfw_engine.checks.suggested_commands import restart_k3s, run_on
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.interfaces_and_routes import MAIN, Interface, Lookup, Network, Route
from k3sfw_engine.model.kubernetes_names import (
    CNI_INTERFACES,
    is_kubernetes_interface,
)
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts, overlay_names
from k3sfw_engine.model.packet_question import ProbeResult
from k3sfw_engine.model.rows import Node, Tables


@dataclass(frozen=True)
class NodeFacts:
    """The node, the peers that are asked about, and what was read on the node.

    overlay
        What carries pods' packets to other nodes here.
    direct
        The addresses that answered an echo which took no router.
    tcp
        What came back to a connection, by the address in the overlay.
    """

    node: Node
    peers: tuple[Node, ...]
    tables: Tables
    network: Network
    host: HostFacts
    overlay: OverlayFacts = NOTHING_KNOWN
    direct: frozenset[str] = frozenset()
    tcp: Mapping[str, ProbeResult] = field(default_factory=dict)

    # -- the node's own addresses and their interfaces --

    @cached_property
    def own(self) -> tuple[netaddr.IPAddress, ...]:
        """The addresses by which peers know this node and that it really has."""
        return tuple(address for address in self.node.addresses if address in self.holders)

    @cached_property
    def holders(self) -> Mapping[netaddr.IPAddress, str]:
        """The interface of each address that this host has."""
        return {
            address.ip: name
            for name, each in self.network.interfaces.items()
            for address in each.addresses
        }

    @cached_property
    def uplinks(self) -> tuple[Interface, ...]:
        """The interfaces with the node's own addresses."""
        names = sorted({self.holders[address] for address in self.own})
        return tuple(self.network.interfaces[name] for name in names)

    @cached_property
    def down(self) -> tuple[Interface, ...]:
        """The uplinks that are switched off or have no carrier."""
        return tuple(each for each in self.uplinks if not (each.up and each.carrier))

    @cached_property
    def families(self) -> tuple[int, ...]:
        """The families in which the node has an address on a working link."""
        down = {each.name for each in self.down}
        alive = {each.version for each in self.own if self.holders[each] not in down}
        return tuple(sorted(alive))

    @property
    def connected(self) -> frozenset[netaddr.IPAddress]:
        """The addresses with which this host has a connection, the master's among them."""
        return self.host.connected

    def own_in(self, family: int, device: str = "") -> netaddr.IPAddress | None:
        """The node's address of this family, preferably the one on that device; or None."""
        ours = [each for each in self.own if each.version == family]
        there = [each for each in ours if self.holders[each] == device]
        return next(iter(there or ours), None)

    def prefix_of(self, address: netaddr.IPAddress) -> tuple[netaddr.IPNetwork, str] | None:
        """The network of an uplink that contains the address, and the uplink's name; or None."""
        for link in self.uplinks:
            for network in link.addresses:
                if network.version == address.version and address in network:
                    return network, link.name
        return None

    # -- the peers --

    def addresses_of(self, peers: Iterable[Node]) -> Iterator[tuple[Node, netaddr.IPAddress]]:
        """Each peer with each of its addresses in the families of this node."""
        for peer in peers:
            for address in peer.addresses:
                if address.version in self.families:
                    yield peer, address

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The node at each address in pillar, this node included."""
        return {str(a): node.name for node in self.tables.nodes for a in node.addresses}

    def lookup(self, address: netaddr.IPAddress) -> Lookup:
        """What the kernel would do with a packet to this address."""
        return self.network.lookups.get(str(address), Lookup(str(address), error="not asked"))

    # -- routes --

    @cached_property
    def _by_prefix(self) -> Mapping[int, Mapping[int, Mapping[int, list[Route]]]]:
        found: dict[int, dict[int, dict[int, list[Route]]]] = {4: {}, 6: {}}
        for route in self.network.routes:
            if route.table == MAIN:
                network = route.destination
                lengths = found[network.version].setdefault(network.prefixlen, {})
                lengths.setdefault(network.first, []).append(route)
        return found

    def exact(self, network: netaddr.IPNetwork) -> list[Route]:
        """The routes of the main table to exactly this network, the preferred one first."""
        found = self._by_prefix[network.version].get(network.prefixlen, {}).get(network.first, [])
        return sorted(found, key=lambda route: route.metric)

    def deciding(self, address: netaddr.IPAddress) -> Route | None:
        """The most specific route of the main table to the address; or None."""
        width = 32 if address.version == 4 else 128
        for length in sorted(self._by_prefix[address.version], reverse=True):
            first = int(address) >> (width - length) << (width - length)
            found = self._by_prefix[address.version][length].get(first)
            if found:
                return min(found, key=lambda route: route.metric)
        return None

    @cached_property
    def routers(self) -> frozenset[str]:
        """The gateways of the default routes."""
        return frozenset(r.gateway for r in self.network.routes if not r.destination.prefixlen)

    @cached_property
    def routes_in_use(self) -> frozenset[int]:
        """The routes over which this host has a connection, by their ``id``."""
        return frozenset(id(self.deciding(address)) for address in self.connected)

    # -- pods --

    @cached_property
    def overlays(self) -> Mapping[int, str]:
        """The overlay device of each family; empty for a backend without an overlay."""
        return overlay_names(self.tables.flannel_backend, self.overlay)

    @cached_property
    def cni(self) -> frozenset[str]:
        """The interfaces of the CNI and the overlay."""
        usual = CNI_INTERFACES[self.tables.flannel_backend]
        return frozenset((*usual, *(self.overlay.flannel_names if usual else ())))

    @cached_property
    def pod_families(self) -> tuple[int, ...]:
        """The families in which both pods and this node have addresses."""
        return tuple(
            family
            for family in (4, 6)
            if any(network.version == family for network in self.tables.pod_cidrs)
            and any(address.version == family for address in self.node.addresses)
        )

    def is_pod_network(self, network: netaddr.IPNetwork) -> bool:
        """Whether the network lies in one of the cluster's pod networks."""
        return any(network in cidr for cidr in self.tables.pod_cidrs)

    @cached_property
    def pod_routes(self) -> tuple[Route, ...]:
        """The backend's own routes to the pods of other nodes.

        With DirectRouting, flannel leads to the pods of neighbours by their node addresses.
        """
        overlay = set(self.overlays.values())
        return tuple(
            route
            for route in self.network.routes
            if route.table == MAIN
            and route.gateway
            and (route.device in overlay or route.gateway in self.names)
            and self.is_pod_network(route.destination)
        )

    @cached_property
    def foreign_pod_routes(self) -> tuple[Route, ...]:
        """Routes into the pod networks that neither flannel nor the CNI created."""
        own = {id(route) for route in self.pod_routes}
        return tuple(
            route
            for route in self.network.routes
            if route.table == MAIN
            and id(route) not in own
            and not any(is_kubernetes_interface(hop.device) for hop in route.hops)
            and self.is_pod_network(route.destination)
        )

    @cached_property
    def runs_k3s(self) -> bool:
        """Whether anything shows that K3s runs; if not, its routes are not missing."""
        return bool(self.cni & set(self.network.interfaces)) or self.host.flannel_mtu > 0

    # -- answers --

    def check(
        self,
        to: Node | None,
        description: str,
        status: Status,
        problem: Problem | str,
        *,
        by: str | None = None,
        address: str = "",
        sls: str = "",
    ) -> Check:
        """Return a verdict on the way to a peer, or on the node itself.

        by
            What caused it; by default this node, unless the status is ok.
        """
        if isinstance(problem, str):
            problem = Problem(problem)
        if by is None:
            by = "" if status is Status.OK else self.node.name
        return Check(
            source=self.node.name if to else "",
            to=(to or self.node).name,
            description=description,
            status=status,
            by=by,
            address=address,
            evidence=problem.text,
            fix=problem.fix,
            see=problem.see,
            sls=sls,
        )

    @property
    def restart_k3s(self) -> str:
        """The command that restarts K3s on this node."""
        return restart_k3s(self.node, self.host.k3s_service, openrc=self.host.openrc)

    def run_here(self, *commands: str) -> str:
        """The command that runs shell commands on this node."""
        return run_on(self.node.name, *commands)
