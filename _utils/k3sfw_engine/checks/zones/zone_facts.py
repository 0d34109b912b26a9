"""What is known of one node's zones, beside what the tables say. Pure.

It answers questions about what was read and never says whether the answer is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import netaddr

from k3sfw_engine.checks.kept_ssh import keep_ssh_from
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.zone_of_interface import accepts_everything, has_own_guests, zone_of
from k3sfw_engine.checks.zone_openings import parse_networks
from k3sfw_engine.checks.zones.allowed_by_rows import AllowedByRows
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import kind_of
from k3sfw_engine.model.rows import Row
from k3sfw_engine.model.zones import ObservedZones
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.pods import pods_are_routed

# The kinds of interfaces that carry the packets of their members.
_MASTERS = ("bridge", "bond", "team")


@dataclass(frozen=True)
class ZoneFacts:
    """The zones that were read, the node that they are on, and the addresses of its masters."""

    at: NodeFacts
    found: ObservedZones
    masters: tuple[netaddr.IPAddress, ...] = ()

    @cached_property
    def pods_by_interface(self) -> bool:
        """Whether zone k3s contains the interfaces of pods."""
        return self._wanted.pods_by_interface

    @cached_property
    def _wanted(self) -> Desired:
        return compute_desired(self.at.tables, self.at.node.role, self.at.overlay)

    @cached_property
    def allowed(self) -> AllowedByRows:
        """The sources that the rows of the whole cluster allow."""
        tables = self.at.tables
        return self._allowed((*tables.rows, *(tables.peer_rows or ())))

    @cached_property
    def allowed_here(self) -> AllowedByRows:
        """The sources that the rows of this node allow."""
        return self._allowed(self.at.tables.rows_of(self.at.node.role))

    def _allowed(self, rows: tuple[Row, ...]) -> AllowedByRows:
        tables = self.at.tables
        # Without a tunnel, pods of other nodes come in by the uplink and are recognised by address.
        routed = pods_are_routed(tables, self.at.overlay) is True
        links = (self.at.network.interfaces[name] for name in self.outer)
        families = {address.version for link in links for address in link.addresses}
        by_interface = self.pods_by_interface and not routed
        return AllowedByRows(tables, rows, by_interface, tuple(sorted(families)))

    @cached_property
    def outer(self) -> tuple[str, ...]:
        """The interfaces of this host that belong neither to pods nor to the overlay."""
        links = self.at.network.interfaces
        names = {name for name, link in links.items() if not self.carrier_of(link)}
        return tuple(sorted(n for n in names - self.at.cni - {"lo"} if not kind_of(n)))

    def carrier_of(self, link: Interface) -> str:
        """The bridge or bond that an interface is part of; empty if it is not."""
        master = self.at.network.interfaces.get(link.master)
        return link.master if master and master.kind in _MASTERS else ""

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """The zones in use in any layer, without zone k3s."""
        return tuple(sorted(self.found.zones - {ZONE}))

    def zone_of(self, name: str, layer: str) -> str:
        """The zone that an interface is in."""
        return zone_of(self.found, name, layer)

    def outer_in(self, zone: str, layer: str) -> tuple[str, ...]:
        """The interfaces in a zone that are not of pods, including those that do not exist yet."""
        here = [name for name in self.outer if self.zone_of(name, layer) == zone]
        future = [
            name
            for name, bound in self.found.layers[layer].bound.items()
            if bound == zone
            and name not in self.at.network.interfaces
            and name not in self.at.cni
            and name != "lo"
            and not kind_of(name)
        ]
        return (*here, *sorted(future))

    @cached_property
    def bindings(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """Every zone but k3s that has sources, with the source and the layers that have it."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, layer in self.found.layers.items():
            for zone in layer.zones.values():
                for source in zone.items("sources") if zone.name != ZONE else ():
                    found.setdefault((zone.name, source), []).append(name)
        return tuple((*key, tuple(layers)) for key, layers in sorted(found.items()))

    def accepts(self, zone: str, layers: Iterable[str]) -> bool:
        """Whether the zone accepts everything in one of these layers."""
        return accepts_everything(self.found, zone, layers)

    def guests_behind(self, networks: Networks) -> str:
        """The bridge of this host's own containers that these networks are behind; or nothing."""
        for name, link in sorted(self.at.network.interfaces.items()):
            own = [address.cidr for address in link.addresses]
            if has_own_guests(self.at, name) and all(
                any(network in each for each in own) for network in networks
            ):
                return name
        return ""

    def keeping_ssh(self, source: str, zone: str, layers: Iterable[str]) -> list[str]:
        """The commands that keep ssh open to a source that is removed from its zone."""
        return [
            command
            for layer in layers
            for target in sorted({self.zone_of(link.name, layer) for link in self.at.uplinks})
            if target != zone
            for command in keep_ssh_from(source, self.at.host, self.found, target, [layer])
        ]

    def networks_of(self, source: str) -> Networks:
        """The networks of a zone's or a rule's source; none if it is a MAC address."""
        if source not in self._networks:
            self._networks[source] = parse_networks(source, self.found.ipsets)
        return self._networks[source]

    @cached_property
    def _networks(self) -> dict[str, Networks]:
        # An ipset may have thousands of entries, and is parsed once.
        return {}

    def hosts_among(self, networks: Networks) -> tuple[str, ...]:
        """The nodes and masters with an address in these networks."""
        inside = netaddr.IPSet(networks)
        nodes = [
            node.name
            for node in self.at.tables.nodes
            if any(address in inside for address in node.addresses)
        ]
        master = any(address in inside for address in self.masters)
        return (*sorted(nodes), *(["the Salt master"] if master else []))

    def pods_among(self, networks: Networks) -> tuple[str, ...]:
        """The pod and service networks that overlap these networks."""
        tables = self.at.tables
        return tuple(
            f"{what} ({cidr})"
            for what, cidrs in (("pods", tables.pod_cidrs), ("services", tables.service_cidrs))
            for cidr in cidrs
            if any(
                network.version == cidr.version and (network in cidr or cidr in network)
                for network in networks
            )
        )
