"""The way to the pods of peers over VXLAN: route, neighbor and forwarding entry. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
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

# -- vxlan ----------------------------------------------------------------------------------------


def judge_vxlan(at: NodeFacts, family: int) -> PodAnswers:
    device = at.overlays[family]
    link = at.network.interfaces.get(device)
    if link is None or not link.up:
        return PodAnswers((overlay_link_down(at, device, link),))
    chains = _ForwardingChains(at, family)
    peers = [peer for peer in at.peers if first_address(peer, family)]
    return PodAnswers(
        (
            _sender(at, family, link),
            *map(chains.check, peers),
            *chains.strangers(),
            *judge_contradictions(at, family, chains.seen),
        ),
        chains.networks,
    )


def _sender(at: NodeFacts, family: int, link: Interface) -> Check:
    """Peers let the overlay's packets in from the addresses in pillar, and from no other."""
    sender = link.details.get("local", "")
    ours = at.own_in(family)
    if not sender or ours is None or netaddr.IPAddress(sender) in at.node.addresses:
        evidence = f"{link.name} sends from {sender or 'what the route picks'}"
        return at.check(None, "overlay", Status.OK, evidence=evidence)
    command = f"ip link set {link.name} type vxlan id {link.details['id']} local {ours}"
    return at.check(
        None,
        "overlay",
        Status.SRC_MISMATCH,
        evidence=f"{link.name} sends from {sender}; peers let this node's packets in from "
        f"{', '.join(map(str, at.node.addresses))}",
        hint=at.typed(command),
    )


@dataclass(frozen=True)
class _ChainLinks:
    """What is known of one peer's pods; what is missing is empty."""

    overlay: str = ""
    mac: str = ""
    way: Route | None = None


class _ForwardingChains:
    """Joins routes, neighbours and forwarding entries of one overlay, peer by peer."""

    def __init__(self, at: NodeFacts, family: int) -> None:
        self._at = at
        self._family = family
        self._device = at.overlays[family]
        network = at.network
        self._ways = {
            route.gateway: route
            for route in at.pod_ways
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
        self._culprits = foreign_routes_by_pod_network(at, family, self._length)
        self._join()

    @property
    def networks(self) -> frozenset[netaddr.IPNetwork]:
        """The pod networks of all peers as far as they are known."""
        return frozenset(self._network(address) for address in {*self._ways, *self._macs})

    @property
    def seen(self) -> Mapping[str, netaddr.IPNetwork]:
        """The pod network of each peer of which there is an entry, by name."""
        return {name: self._network(chain.overlay) for name, chain in self._found.items()}

    def check(self, peer: Node) -> Check:
        """The verdict on the way to one peer's pods."""
        chain = self._found.get(peer.name)
        if chain is None:
            return self._unknown(peer)
        lacking = self._lacking(peer, chain)
        if lacking:
            return lacking
        return self._judge_route(peer, chain)

    def strangers(self) -> Iterator[Check]:
        """Overlay addresses behind nodes that pillar does not know."""
        for overlay in sorted(self._loose):
            node = self._sent_to.get(self._macs.get(overlay, ""), "")
            if node and not self._lost:
                yield self._at.check(
                    None,
                    "overlay",
                    Status.CONFLICT,
                    evidence=f"pods in {self._network(overlay)} are on {node}, which is no node in "
                    "pillar, so the firewalls of this cluster keep it out",
                    hint="run a minion with the grain k3s_role on it, or enter it into k3s:nodes",
                )

    # -- who belongs to whom --

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
            if node.name == self._at.node.name:
                continue
            mac = macs_of.get(node.name, "")
            overlay = addresses_of.get(mac, "")
            if overlay:
                self._found[node.name] = _ChainLinks(overlay, mac, self._ways.get(overlay))
            else:
                lost[node.name] = mac
        taken = {chain.overlay for chain in self._found.values()}
        self._loose = {*self._ways, *self._macs} - taken
        self._pair(lost)

    def _pair(self, lost: dict[str, str]) -> None:
        """Give each peer without an overlay address the loose one that can only be its own.

        Or the one that it says is.
        """
        for node in self._at.tables.nodes:
            said = node.pods(self._family) if node.name in lost else None
            if said is not None:
                end = str(netaddr.IPAddress(said.first, said.version))
                self._tie(lost, [node.name], [end] if end in self._loose else [])
        for has_mac in (True, False):
            peers = [name for name, mac in lost.items() if bool(mac) is has_mac]
            # A forwarding entry without its neighbour, and a neighbour without its entry.
            ends = [end for end in self._loose if (end in self._macs) is not has_mac]
            self._tie(lost, peers, ends)
        # A neighbour with another MAC than the forwarding entry has. Without any MAC it would be
        # a guess.
        peers = [name for name, mac in lost.items() if mac]
        self._tie(lost, peers, [end for end in self._loose if end in self._macs])
        self._lost = lost

    def _tie(self, lost: dict[str, str], peers: list[str], ends: list[str]) -> None:
        if len(peers) == len(ends) == 1:
            (name,), (overlay,) = peers, ends
            self._found[name] = _ChainLinks(overlay, lost.pop(name), self._ways.get(overlay))
            self._loose = self._loose - {overlay}

    # -- verdicts --

    def _unknown(self, peer: Node) -> Check:
        if self._loose:
            ends = ", ".join(sorted(self._loose))
            return self._at.check(
                peer,
                PODS,
                Status.NO_NEIGHBOUR,
                evidence=f"{self._device} has no forwarding entry for it, or no neighbour behind "
                f"it; loose ends: {ends}",
                hint=self._at.restart,
            )
        said = claimed_pod_network(self._at, peer, self._family, self.seen)
        if said is not None:
            # The MAC that the entries need is flannel's to tell.
            return self._at.check(
                peer,
                PODS,
                Status.NO_ROUTE,
                address=str(said),
                evidence=f"{self._device} has no route, no neighbour and no forwarding entry for "
                "it: flannel here lost it",
                hint=self._at.restart,
            )
        return self._at.check(
            peer,
            PODS,
            Status.UNPROVEN,
            by=peer.name,
            evidence=f"{self._device} has no entry for it: K3s on {peer.name} has not joined, or "
            "flannel here lost it",
            hint=f"{self._at.restart}, if K3s runs on {peer.name}",
        )

    def _lacking(self, peer: Node, chain: _ChainLinks) -> Check | None:
        """The entry below the route that is missing or wrong, with the one that must be there."""
        known = self._macs.get(chain.overlay, "")
        target = first_address(peer, self._family)
        if chain.mac and known != chain.mac:
            ipv6 = "-6 " if self._family == 6 else ""
            command = (
                f"ip {ipv6}neigh replace {chain.overlay} lladdr {chain.mac} dev {self._device} "
                "nud permanent"
            )
            what = f"has the MAC {known}, not {chain.mac}" if known else "has no MAC"
            evidence = f"the neighbour {chain.overlay} dev {self._device} {what}"
            hint = self._at.typed(command)
        elif not chain.mac and known in self._sent_to:
            stranger = self._sent_to[known]
            evidence = (
                f"frames for {known} ({chain.overlay} dev {self._device}) go to {stranger}, which "
                f"is no node in pillar, and none to {peer.name}"
            )
            # Whose entry it is, flannel knows. If it stays, there is one more node.
            hint = f"{self._at.restart}; if it stays so, enter {stranger} into k3s:nodes"
        elif not chain.mac and not known:
            evidence = (
                f"{self._device} has neither the neighbour {chain.overlay} nor a forwarding entry "
                "for it"
            )
            hint = self._at.restart
        elif not chain.mac:
            evidence = (
                f"frames for {known} ({chain.overlay} dev {self._device}) have no forwarding entry"
            )
            command = f"bridge fdb replace {known} dev {self._device} dst {target}"
            hint = self._at.typed(command)
        else:
            return None
        return self._at.check(
            peer,
            PODS,
            Status.NO_NEIGHBOUR,
            address=str(self._network(chain.overlay)),
            evidence=evidence,
            hint=hint,
        )

    def _judge_route(self, peer: Node, chain: _ChainLinks) -> Check:
        network = self._network(chain.overlay)
        hop = f"via {chain.overlay} dev {self._device}"
        sure = f"by {self._device}, neighbour {chain.mac}, which is at {self._sent_to[chain.mac]}"
        wrong = self._culprits.get(network, [])
        return judge_route(self._at, peer, network, chain.way, hop, sure, wrong, flags=" onlink")

    # -- what networks are there --

    def _network(self, overlay: str) -> netaddr.IPNetwork:
        way = self._ways.get(overlay)
        if way is not None:
            return way.destination
        return netaddr.IPNetwork(f"{overlay}/{self._length}").cidr

    def _usual_length(self) -> int:
        """The prefix length that every node's pod network has, by what is seen of it."""
        bridge = self._at.network.interfaces.get(CNI_BRIDGE)
        own = [
            address.prefixlen
            for address in (bridge.addresses if bridge else ())
            if address.version == self._family and self._at.is_pod_network(address.cidr)
        ]
        return most_common_length(self._ways.values(), own, self._family)
