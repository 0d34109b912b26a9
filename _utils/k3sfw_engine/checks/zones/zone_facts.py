"""One node's zones, seen by what the tables say of it: the common ground of all zone checks.

Pure, as ``situation``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import OPTIONS
from k3sfw_engine.checks.verdicts import SEE
from k3sfw_engine.checks.zone_openings import parse_networks, rejects_the_rest
from k3sfw_engine.checks.zones.allowed_by_rows import AllowedByRows
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.firewall_objects import ZONE
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import kind_of
from k3sfw_engine.model.rows import FlannelBackend, Row
from k3sfw_engine.model.zones import ObservedZones
from k3sfw_engine.plan.desired.compute import compute_desired

# What takes a port's packets up as its own.
_MASTERS = ("bridge", "bond", "team")
_WHEN = {
    ("runtime", "permanent"): " (at runtime and permanently)",
    ("runtime",): " (at runtime)",
    ("permanent",): " (permanently: from the next reload on)",
}

LIMITS = f"{SEE}docs/limits.md of k3sfw"


@dataclass(frozen=True)
class ZoneFacts:
    """What was read, and who is who among it."""

    at: NodeFacts
    found: ObservedZones
    masters: tuple[netaddr.IPAddress, ...] = ()

    @cached_property
    def pods_by_interface(self) -> bool:
        """Whether zone k3s has the interfaces of pods."""
        return compute_desired(self.at.tables, self.at.node.role).pods_by_interface

    @cached_property
    def given(self) -> AllowedByRows:
        """What the tables of the whole cluster give."""
        tables = self.at.tables
        return self._given((*tables.rows, *(tables.peer_rows or ())))

    @cached_property
    def own(self) -> AllowedByRows:
        """What the tables give at this node."""
        return self._given(self.at.tables.rows_of(self.at.node.role))

    def _given(self, rows: tuple[Row, ...]) -> AllowedByRows:
        tables = self.at.tables
        # With host-gw pods of other nodes come in by the uplink, and are known by their address.
        routed = tables.flannel_backend is FlannelBackend.HOST_GW
        links = (self.at.network.interfaces[name] for name in self.outer)
        families = {address.version for link in links for address in link.addresses}
        by_interface = self.pods_by_interface and not routed
        return AllowedByRows(tables, rows, by_interface, tuple(sorted(families)))

    @cached_property
    def outer(self) -> tuple[str, ...]:
        """The interfaces of this host that neither pods nor the overlay have."""
        links = self.at.network.interfaces
        names = {name for name, link in links.items() if not self.carrier_of(link)}
        return tuple(sorted(n for n in names - self.at.cni - {"lo"} if not kind_of(n)))

    def carrier_of(self, link: Interface) -> str:
        """The bridge or bond by which an interface's packets come in, if not by itself."""
        master = self.at.network.interfaces.get(link.master)
        return link.master if master and master.kind in _MASTERS else ""

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """The zones of others that are in use in any layer."""
        return tuple(sorted(self.found.zones - {ZONE}))

    def zone_of(self, name: str, layer: str) -> str:
        """The zone that decides over an interface."""
        zones = self.found.layers[layer]
        # NetworkManager binds what it manages, also after a reload.
        connection = (self.found.connections or {}).get(name)
        later = connection.zone if connection and layer == "permanent" else ""
        return zones.bound.get(name) or later or zones.default

    def outer_in(self, zone: str, layer: str) -> tuple[str, ...]:
        """The interfaces by which others than pods come into a zone, those to come included."""
        here = [name for name in self.outer if self.zone_of(name, layer) == zone]
        to_come = [
            name
            for name, bound in self.found.layers[layer].bound.items()
            if bound == zone
            and name not in self.at.network.interfaces
            and name not in self.at.cni
            and name != "lo"
            and not kind_of(name)
        ]
        return (*here, *sorted(to_come))

    @cached_property
    def bindings(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """Every source of a zone of others, with that zone and the layers that have it."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, layer in self.found.layers.items():
            for zone in layer.zones.values():
                for source in zone.items("sources") if zone.name != ZONE else ():
                    found.setdefault((zone.name, source), []).append(name)
        return tuple((*key, tuple(layers)) for key, layers in sorted(found.items()))

    def accepts(self, zone: str, layers: Iterable[str]) -> bool:
        """Whether the zone lets everything in, in one of these layers."""
        zones = [self.found.layers[layer].zones.get(zone) for layer in layers]
        return any(
            each and each.settings["target"] == "ACCEPT" and not rejects_the_rest(each)
            for each in zones
        )

    def networks_of(self, source: str) -> Networks:
        """The networks of a zone's or a rule's source; none of a MAC."""
        if source not in self._networks:
            self._networks[source] = parse_networks(source, self.found.ipsets)
        return self._networks[source]

    @cached_property
    def _networks(self) -> dict[str, Networks]:
        # An ipset may have thousands of entries, and is asked about more than once.
        return {}

    def hosts_among(self, networks: Networks) -> tuple[str, ...]:
        """The nodes and masters that have an address there."""
        inside = netaddr.IPSet(networks)
        nodes = [
            node.name
            for node in self.at.tables.nodes
            if any(address in inside for address in node.addresses)
        ]
        master = any(address in inside for address in self.masters)
        return (*sorted(nodes), *(["the Salt master"] if master else []))

    def pods_among(self, networks: Networks) -> tuple[str, ...]:
        """The pod and service networks that have addresses there."""
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

    def without_source(self, zone: str, source: str, layers: Iterable[str]) -> str:
        """What takes a source away from a zone."""
        return self.at.typed(
            *(
                f"firewall-cmd {OPTIONS[layer]}--zone={zone} --remove-source={shlex.quote(source)}"
                for layer in layers
            )
        )


def when(layers: Iterable[str]) -> str:
    found = set(layers)
    return _WHEN[tuple(layer for layer in OPTIONS if layer in found)]
