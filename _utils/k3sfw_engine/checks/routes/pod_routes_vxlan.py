"""The verdict on a peer's pods over VXLAN: route, neighbour and forwarding entry. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import pod_messages as messages
from k3sfw_engine.checks.routes.pod_networks import (
    PODS,
    PodAnswers,
    claimed_pod_network,
    first_address,
    foreign_routes_by_pod_network,
    judge_contradictions,
    judge_route,
    most_common_length,
    overlay_link_down,
)
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import Interface, Route
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import Node


def judge_vxlan(at: NodeFacts, family: int) -> PodAnswers:
    """Judge the overlay device and the chain of entries to every peer's pods."""
    device = at.overlays[family]
    link = at.network.interfaces.get(device)
    if link is None or not link.up:
        return PodAnswers((overlay_link_down(at, device, link),))
    direct = _direct_routes(at, family)
    chains = _ForwardingChains(at, family, direct)
    peers = [peer for peer in at.peers if first_address(peer, family)]
    seen = {**chains.seen, **{name: route.destination for name, route in direct.items()}}
    return PodAnswers(
        (
            _sender(at, family, link),
            *(
                _judge_direct(at, peer, direct[peer.name], chains.foreign)
                if peer.name in direct
                else chains.check(peer)
                for peer in peers
            ),
            *chains.unknown_nodes(),
            *judge_contradictions(at, family, seen),
        ),
        chains.networks | {route.destination for route in direct.values()},
    )


def _direct_routes(at: NodeFacts, family: int) -> dict[str, Route]:
    """The routes to pods by their node's address, by that node's name (DirectRouting).

    https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md#vxlan
    """
    return {
        at.names[route.gateway]: route
        for route in at.pod_routes
        if route.destination.version == family and route.gateway in at.names
    }


def _judge_direct(
    at: NodeFacts,
    peer: Node,
    route: Route,
    foreign: Mapping[netaddr.IPNetwork, list[Route]],
) -> Check:
    network, hop = route.destination, f"via {route.gateway} dev {route.device}"
    return judge_route(at, peer, network, route, hop, hop, foreign.get(network, []))


def _sender(at: NodeFacts, family: int, link: Interface) -> Check:
    """Peers allow the overlay's packets from the addresses in pillar, and from no other."""
    sender = link.details.get("local", "")
    ours = at.own_in(family)
    if not sender or ours is None or netaddr.IPAddress(sender) in at.node.addresses:
        evidence = f"{link.name} sends from {sender or 'what the route picks'}"
        return at.check(None, "overlay", Status.OK, evidence)
    held_by = at.holders.get(netaddr.IPAddress(sender), "")
    problem = messages.wrong_sender(at.node, link, sender, held_by, at.restart_k3s)
    return at.check(None, "overlay", Status.SRC_MISMATCH, problem)


@dataclass(frozen=True)
class _ChainLinks:
    """The entries that lead to one peer's pods; a missing one is empty."""

    overlay: str = ""
    mac: str = ""
    route: Route | None = None


class _ForwardingChains:
    """Joins the routes, neighbours and forwarding entries of one overlay, peer by peer.

    without
        The nodes that have no entries here, as other routes lead to their pods.
    """

    def __init__(self, at: NodeFacts, family: int, without: Container[str]) -> None:
        self._at = at
        self._without = without
        self._family = family
        self._device = at.overlays[family]
        network = at.network
        self._routes = {
            route.gateway: route
            for route in at.pod_routes
            if route.device == self._device and route.destination.version == family
        }
        self._macs = {
            each.address: each.mac
            for each in network.neighbours
            if each.device == self._device and (":" in each.address) == (family == 6)
        }
        self._sent_to = {
            each.mac: each.destination
            for each in network.forwarding
            if each.device == self._device and each.mac != "00:00:00:00:00:00"
        }
        self._length = self._usual_length()
        self.foreign = foreign_routes_by_pod_network(at, family, self._length)
        self._join()

    @property
    def networks(self) -> frozenset[netaddr.IPNetwork]:
        """The pod networks of all peers, as far as they are known."""
        return frozenset(self._network(address) for address in {*self._routes, *self._macs})

    @property
    def seen(self) -> Mapping[str, netaddr.IPNetwork]:
        """The pod network of each peer that has an entry, by name."""
        return {name: self._network(chain.overlay) for name, chain in self._found.items()}

    def check(self, peer: Node) -> Check:
        """The verdict on the route to one peer's pods."""
        chain = self._found.get(peer.name)
        if chain is None:
            return self._unknown(peer)
        lacking = self._lacking(peer, chain)
        if lacking:
            return lacking
        return self._judge_route(peer, chain)

    def unknown_nodes(self) -> Iterator[Check]:
        """Overlay addresses behind nodes that pillar does not know."""
        for overlay in sorted(self._loose):
            node = self._sent_to.get(self._macs.get(overlay, ""), "")
            if node and not self._lost:
                problem = messages.unknown_node_has_pods(self._network(overlay), node)
                yield self._at.check(None, "overlay", Status.CONFLICT, problem)

    # -- which entry belongs to which peer --

    def _join(self) -> None:
        addresses_of: dict[str, str] = {}
        for address, mac in self._macs.items():
            addresses_of.setdefault(mac, address)
        macs_of: dict[str, str] = {}
        for mac, destination in self._sent_to.items():
            name = self._at.names.get(destination)
            if name and (name not in macs_of or mac in addresses_of):
                macs_of[name] = mac
        self._found: dict[str, _ChainLinks] = {}
        lost: dict[str, str] = {}
        for node in self._at.tables.nodes:
            if node.name == self._at.node.name or node.name in self._without:
                continue
            mac = macs_of.get(node.name, "")
            overlay = addresses_of.get(mac, "")
            if overlay:
                self._found[node.name] = _ChainLinks(overlay, mac, self._routes.get(overlay))
            else:
                lost[node.name] = mac
        taken = {chain.overlay for chain in self._found.values()}
        self._loose = {*self._routes, *self._macs} - taken
        self._pair(lost)

    def _pair(self, lost: dict[str, str]) -> None:
        """Give each peer without an overlay address the one that can only be its own.

        What it claims in pillar comes first, as far as such an entry is left.
        """
        for node in self._at.tables.nodes:
            said = node.pods(self._family) if node.name in lost else None
            if said is not None:
                end = str(netaddr.IPAddress(said.first, said.version))
                self._tie(lost, [node.name], [end] if end in self._loose else [])
        for has_mac in (True, False):
            peers = [name for name, mac in lost.items() if bool(mac) is has_mac]
            # A forwarding entry without a neighbour belongs to a neighbour without an entry.
            ends = [end for end in self._loose if (end in self._macs) is not has_mac]
            self._tie(lost, peers, ends)
        # A neighbour may have another MAC than the forwarding entry. Without any MAC it would be a
        # guess.
        peers = [name for name, mac in lost.items() if mac]
        self._tie(lost, peers, [end for end in self._loose if end in self._macs])
        self._lost = lost

    def _tie(self, lost: dict[str, str], peers: list[str], ends: list[str]) -> None:
        if len(peers) == len(ends) == 1:
            (name,), (overlay,) = peers, ends
            self._found[name] = _ChainLinks(overlay, lost.pop(name), self._routes.get(overlay))
            self._loose = self._loose - {overlay}

    # -- verdicts --

    def _unknown(self, peer: Node) -> Check:
        at, device = self._at, self._device
        if self._loose:
            problem = messages.entries_not_paired(
                device, ", ".join(sorted(self._loose)), at.restart_k3s
            )
            return at.check(peer, PODS, Status.NO_NEIGHBOUR, problem)
        said = claimed_pod_network(at, peer, self._family, self.seen)
        if said is not None:
            problem = messages.all_entries_lost(device, at.restart_k3s)
            return at.check(peer, PODS, Status.NO_ROUTE, problem, address=str(said))
        problem = messages.no_entry(peer.name, device, at.restart_k3s)
        return at.check(peer, PODS, Status.UNPROVEN, problem, by=peer.name)

    def _lacking(self, peer: Node, chain: _ChainLinks) -> Check | None:
        """The verdict on the entry below the route that is missing or wrong; None if none is."""
        node, device, overlay = self._at.node, self._device, chain.overlay
        restart = self._at.restart_k3s
        known = self._macs.get(overlay, "")
        frames = f"{known} ({overlay} dev {device})"
        if chain.mac and known != chain.mac:
            problem = messages.wrong_mac(node.name, overlay, device, known, chain.mac)
        elif not chain.mac and known in self._sent_to:
            stranger = self._sent_to[known]
            problem = messages.frames_to_unknown_node(peer.name, frames, stranger, restart)
        elif not chain.mac and not known:
            problem = messages.no_neighbour(device, overlay, restart)
        elif not chain.mac:
            target = first_address(peer, self._family)
            problem = messages.no_forwarding_entry(node.name, frames, known, device, target)
        else:
            return None
        network = str(self._network(overlay))
        return self._at.check(peer, PODS, Status.NO_NEIGHBOUR, problem, address=network)

    def _judge_route(self, peer: Node, chain: _ChainLinks) -> Check:
        network = self._network(chain.overlay)
        hop = f"via {chain.overlay} dev {self._device}"
        proof = f"by {self._device}, neighbour {chain.mac}, which is at {self._sent_to[chain.mac]}"
        wrong = self.foreign.get(network, [])
        return judge_route(self._at, peer, network, chain.route, hop, proof, wrong, " onlink")

    # -- networks --

    def _network(self, overlay: str) -> netaddr.IPNetwork:
        route = self._routes.get(overlay)
        if route is not None:
            return route.destination
        return netaddr.IPNetwork(f"{overlay}/{self._length}").cidr

    def _usual_length(self) -> int:
        """The prefix length of every node's pod network, as far as this host shows it."""
        bridge = self._at.network.interfaces.get(CNI_BRIDGE)
        own = [
            address.prefixlen
            for address in (bridge.addresses if bridge else ())
            if address.version == self._family and self._at.is_pod_network(address.cidr)
        ]
        return most_common_length(self._routes.values(), own, self._family)
