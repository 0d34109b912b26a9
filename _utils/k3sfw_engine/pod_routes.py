"""The way to every peer's pods: routes, neighbours and forwarding entries as flannel makes them.

Pure. Which pod network a peer has stands on this node in these entries alone, so each is the
witness of the others: the route names the peer's overlay address, the neighbour entry its MAC, the
forwarding entry the node. Where one link of that chain is cut, the loose ends tell which. Beside
them there is the peer's own word, if pillar has it: it fills what they leave open, and against them
it does not count.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from .network import Interface, Route
from .rows import FlannelBackend, Node
from .situation import BRIDGE, MAIN, Situation, delete, ip_route, spec
from .verdicts import Check, Status

PODS = "pods"
_USUAL_LENGTH = {4: 24, 6: 64}


@dataclass(frozen=True)
class PodAnswers:
    """The verdicts, and the pod networks of peers that they are about."""

    checks: tuple[Check, ...] = ()
    networks: frozenset[netaddr.IPNetwork] = frozenset()


def to_pods(at: Situation) -> PodAnswers:
    """Judge the way to the pods of every peer, in each family that pods have."""
    backend = at.tables.flannel_backend
    if backend is FlannelBackend.NONE:
        return PodAnswers()
    if not (at.runs_k3s or at.pod_ways):
        return PodAnswers((_no_k3s(at),))
    judge = {
        FlannelBackend.VXLAN: _by_vxlan,
        FlannelBackend.WIREGUARD: _by_wireguard,
        FlannelBackend.HOST_GW: _by_nodes,
    }[backend]
    answers = [judge(at, family) for family in at.pod_families]
    return PodAnswers(
        tuple(check for each in answers for check in each.checks),
        frozenset(network for each in answers for network in each.networks),
    )


def pod_targets(at: Situation) -> tuple[str, ...]:
    """An address in each peer's pod network, to ask the kernel about."""
    networks = [route.destination for route in at.pod_ways]
    networks += [network for peer in at.peers for network in peer.pod_cidrs]
    return tuple(str(_first(network)) for network in networks)


def _no_k3s(at: Situation) -> Check:
    devices = ", ".join(sorted(at.cni))
    return at.check(
        None,
        "overlay",
        Status.UNPROVEN,
        evidence=f"none of {devices} is here: K3s does not run on this node, so the way to pods "
        "cannot be judged",
        hint="start K3s on it, then check again",
    )


def _first(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    # The first is the overlay address of the node itself, the second the bridge: any pod's way.
    return netaddr.IPAddress(network.first + (1 if network.size > 1 else 0), network.version)


# -- what a peer says of its pods -----------------------------------------------------------------


def _believed(
    at: Situation, node: Node, family: int, seen: Mapping[str, netaddr.IPNetwork]
) -> netaddr.IPNetwork | None:
    """The pod network of a node by its own word, if nothing that is seen here speaks against it.

    seen
        The pod networks of other nodes by flannel's entries, by name.
    """
    said = node.pods(family)
    return None if said is None or _owner(at, said, node, seen) else said


def _owner(
    at: Situation, said: netaddr.IPNetwork, node: Node, seen: Mapping[str, netaddr.IPNetwork]
) -> str:
    """Whose pods those are by what is seen here, if not the node's."""
    bridge = at.network.interfaces.get(BRIDGE)
    if bridge and any(address in said for address in bridge.addresses):
        return f"it on {BRIDGE} of {at.node.name}"
    own = seen.get(node.name)
    if own is not None:
        return "" if own == said else f"{own} of {node.name}"
    others = (f"{n} of {name}" for name, n in sorted(seen.items()) if n in said or said in n)
    return next(others, "")


def _contradictions(
    at: Situation, family: int, seen: Mapping[str, netaddr.IPNetwork]
) -> Iterator[Check]:
    for peer in at.peers:
        said = peer.pods(family)
        owner = _owner(at, said, peer, seen) if said is not None else ""
        if owner:
            name = shlex.quote(peer.name)
            yield at.check(
                peer,
                "pod network",
                Status.CONFLICT,
                by=peer.name,
                address=str(said),
                evidence=f"pillar has {said} for the pods of {peer.name}, and flannel here has "
                f"{owner}",
                hint=f"salt {name} saltutil.refresh_grains; if it stays so, compare "
                f"k3s:nodes:{peer.name}:pod_cidrs with /run/flannel/subnet.env on {peer.name}",
            )


# -- vxlan ----------------------------------------------------------------------------------------


def _by_vxlan(at: Situation, family: int) -> PodAnswers:
    device = at.overlays[family]
    link = at.network.interfaces.get(device)
    if link is None or not link.up:
        return PodAnswers((_link_down(at, device, link),))
    chains = _Chains(at, family)
    peers = [peer for peer in at.peers if _address(peer, family)]
    return PodAnswers(
        (
            _sender(at, family, link),
            *map(chains.check, peers),
            *chains.strangers(),
            *_contradictions(at, family, chains.seen),
        ),
        chains.networks,
    )


def _address(peer: Node, family: int) -> netaddr.IPAddress | None:
    return next((each for each in peer.addresses if each.version == family), None)


def _link_down(at: Situation, device: str, link: Interface | None) -> Check:
    return at.check(
        None,
        "overlay",
        Status.LINK_DOWN,
        evidence=f"{device} is {'not there' if link is None else 'down'}, and with it the routes "
        "to the pods of all other nodes",
        hint=at.restart,
    )


def _sender(at: Situation, family: int, link: Interface) -> Check:
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
class _Chain:
    """What is known of one peer's pods; what is missing is empty."""

    overlay: str = ""
    mac: str = ""
    way: Route | None = None


class _Chains:
    """Joins routes, neighbours and forwarding entries of one overlay, peer by peer."""

    def __init__(self, at: Situation, family: int) -> None:
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
        self._culprits = _culprits(at, family, self._length)
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
        self._found: dict[str, _Chain] = {}
        lost: dict[str, str] = {}
        for node in self._at.tables.nodes:
            if node.name == self._at.node.name:
                continue
            mac = macs_of.get(node.name, "")
            overlay = addresses_of.get(mac, "")
            if overlay:
                self._found[node.name] = _Chain(overlay, mac, self._ways.get(overlay))
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
            self._found[name] = _Chain(overlay, lost.pop(name), self._ways.get(overlay))
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
        said = _believed(self._at, peer, self._family, self.seen)
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

    def _lacking(self, peer: Node, chain: _Chain) -> Check | None:
        """The entry below the route that is missing or wrong, with the one that must be there."""
        known = self._macs.get(chain.overlay, "")
        target = _address(peer, self._family)
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

    def _judge_route(self, peer: Node, chain: _Chain) -> Check:
        network = self._network(chain.overlay)
        hop = f"via {chain.overlay} dev {self._device}"
        sure = f"by {self._device}, neighbour {chain.mac}, which is at {self._sent_to[chain.mac]}"
        wrong = self._culprits.get(network, [])
        return _route_verdict(self._at, peer, network, chain.way, hop, sure, wrong, flags=" onlink")

    # -- what networks are there --

    def _network(self, overlay: str) -> netaddr.IPNetwork:
        way = self._ways.get(overlay)
        if way is not None:
            return way.destination
        return netaddr.IPNetwork(f"{overlay}/{self._length}").cidr

    def _usual_length(self) -> int:
        """The prefix length that every node's pod network has, by what is seen of it."""
        bridge = self._at.network.interfaces.get(BRIDGE)
        own = [
            address.prefixlen
            for address in (bridge.addresses if bridge else ())
            if address.version == self._family and self._at.is_pod_network(address.cidr)
        ]
        return _most_common(self._ways.values(), own, self._family)


def _most_common(ways: Iterable[Route], own: list[int], family: int) -> int:
    counted = Counter([*own, *(route.destination.prefixlen for route in ways)]).most_common(1)
    return counted[0][0] if counted else _USUAL_LENGTH[family]


def _culprits(at: Situation, family: int, length: int) -> dict[netaddr.IPNetwork, list[Route]]:
    """Routes that nobody of Kubernetes makes, by the node's pod network that they are in."""
    found: dict[netaddr.IPNetwork, list[Route]] = {}
    for route in at.foreign_pod_routes:
        network = route.destination
        if network.version == family and network.prefixlen >= length:
            around = netaddr.IPNetwork(f"{network.ip}/{length}").cidr
            found.setdefault(around, []).append(route)
    return found


def _route_verdict(
    at: Situation,
    peer: Node,
    network: netaddr.IPNetwork,
    way: Route | None,
    hop: str,
    sure: str,
    wrong: list[Route],
    flags: str = "",
) -> Check:
    """Whether the route is there, whether another one is in its place, and what the kernel does.

    hop, flags
        What the right route has behind its network, in the words of ip.
    wrong
        Routes to the network, or to a part of it, that are none of Kubernetes.
    """
    removals = [delete(route) for route in wrong]
    instead = f"; instead there is {', '.join(map(spec, wrong))}" if wrong else ""
    lookup = at.lookup(_first(network))
    hint = ""
    if way is None:
        status = Status.NO_ROUTE
        by = hop.removeprefix("via ").removeprefix("dev ")
        evidence = f"no route by {by}{instead}"
        words = f"{network} {hop}{flags}"
        hint = at.typed(*removals, ip_route("replace", network.version, words))
    elif wrong:
        refused = any(route.kind != "unicast" for route in wrong)
        status = Status.NO_ROUTE if refused else Status.WRONG_ROUTE
        evidence = f"beside {spec(way)} there is {', '.join(map(spec, wrong))}"
        hint = at.typed(*removals)
    elif lookup.error or lookup.device != way.device:
        status = Status.WRONG_ROUTE
        went = lookup.error or f"by {lookup.device} (table {lookup.table or MAIN})"
        evidence = f"the main table has {spec(way)}, and yet the kernel answers: {went}"
        hint = f"find the routing rule that wins over it: {at.typed('ip rule show')}"
    else:
        status, evidence = Status.OK, sure
    return at.check(peer, PODS, status, address=str(network), evidence=evidence, hint=hint)


# -- wireguard ------------------------------------------------------------------------------------


def _by_wireguard(at: Situation, family: int) -> PodAnswers:
    """Its peers stand in the device's own tables, which ip does not show; the route does.

    Flannel makes one for the pods of all nodes.
    """
    device = at.overlays[family]
    link = at.network.interfaces.get(device)
    if link is None or not link.up:
        return PodAnswers((_link_down(at, device, link),))
    cidrs = [each for each in at.tables.pod_cidrs if each.version == family]
    checks = [_by_device(at, cidr, device) for cidr in cidrs]
    cut = [cidr for cidr, check in zip(cidrs, checks) if check.status is not Status.OK]
    networks = {
        node.name: said
        for node in at.tables.nodes
        if node.name != at.node.name and (said := _believed(at, node, family, {})) is not None
    }
    for peer in at.peers:
        network = networks.get(peer.name)
        # What follows from a route that is missing for all of them is told once.
        if network is not None and not any(network in cidr for cidr in cut):
            checks += _by_tunnel(at, peer, network, device)
    checks += _contradictions(at, family, {})
    return PodAnswers(tuple(checks), frozenset(networks.values()))


def _by_tunnel(
    at: Situation, peer: Node, network: netaddr.IPNetwork, device: str
) -> Iterator[Check]:
    """The route to one peer's pods; it may be one for more than these."""
    around = [r for r in at.network.routes if r.table == MAIN and network in r.destination]
    ways = [route for route in around if route.device == device]
    way = max(ways, key=lambda route: route.destination.prefixlen, default=None)
    least = way.destination.prefixlen if way else 0
    wrong = [
        route
        for route in around
        if route.device != device
        and route.destination.prefixlen > least
        and at.is_pod_network(route.destination)
    ]
    foreign = at.foreign_pod_routes
    if any(route in foreign and route.destination != network for route in wrong):
        return  # One that leads the pods of others out of the cluster as well is told as such.
    wrong += [r for r in foreign if r.destination in network and r not in wrong]
    yield _route_verdict(at, peer, network, way, f"dev {device}", f"by {device}", wrong)


def _by_device(at: Situation, cidr: netaddr.IPNetwork, device: str) -> Check:
    found = [r for r in at.network.routes if r.device == device and r.destination in cidr]
    return at.check(
        None,
        PODS,
        Status.OK if found else Status.NO_ROUTE,
        address=str(cidr),
        evidence=f"{len(found)} routes by {device}" if found else f"no route by {device}",
        hint="" if found else at.typed(ip_route("replace", cidr.version, f"{cidr} dev {device}")),
    )


# -- host-gw --------------------------------------------------------------------------------------


def _by_nodes(at: Situation, family: int) -> PodAnswers:
    """Routes by the peers' node addresses. What a missing one led to, the peer may have told."""
    ways = {
        at.names[route.gateway]: route
        for route in at.pod_ways
        if route.destination.version == family
    }
    seen = {name: route.destination for name, route in ways.items()}
    networks = dict(seen)
    for node in at.tables.nodes:
        said = _believed(at, node, family, seen)
        if node.name != at.node.name and said is not None:
            networks.setdefault(node.name, said)
    lengths = [network.prefixlen for network in networks.values()]
    culprits = _culprits(at, family, _most_common((), lengths, family))
    others = (node.name for node in at.tables.nodes if node.name != at.node.name)
    lost = [name for name in others if name not in networks]
    loose = [network for network in culprits if network not in networks.values()]
    if len(loose) == len(lost) == 1:
        # The one network whose route leads elsewhere is that of the one peer without a route.
        networks[lost[0]] = loose[0]
    checks = [
        _by_node(at, peer, address, networks.get(peer.name), ways.get(peer.name), culprits)
        for peer in at.peers
        if (address := _address(peer, family))
    ]
    checks += _contradictions(at, family, seen)
    return PodAnswers(tuple(checks), frozenset(networks.values()))


def _by_node(
    at: Situation,
    peer: Node,
    address: netaddr.IPAddress,
    network: netaddr.IPNetwork | None,
    way: Route | None,
    culprits: Mapping[netaddr.IPNetwork, list[Route]],
) -> Check:
    if network is None:
        return _no_gateway(at, peer, address)
    hop = f"via {address} dev {at.lookup(address).device}"
    return _route_verdict(at, peer, network, way, hop, hop, culprits.get(network, []))


def _no_gateway(at: Situation, peer: Node, address: netaddr.IPAddress) -> Check:
    return at.check(
        peer,
        PODS,
        Status.UNPROVEN,
        by=peer.name,
        evidence=f"no route to pods by {address}: K3s on {peer.name} has not joined, or flannel "
        "here lost it",
        hint=f"{at.restart}, if K3s runs on {peer.name}",
    )
