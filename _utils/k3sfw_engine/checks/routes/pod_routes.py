"""The way to every peer's pods: routes, neighbours and forwarding entries as flannel makes them.

Pure. Which pod network a peer has stands on this node in these entries alone, so each is the
witness of the others: the route names the peer's overlay address, the neighbour entry its MAC, the
forwarding entry the node. Where one link of that chain is cut, the loose ends tell which. Beside
them there is the peer's own word, if pillar has it: it fills what they leave open, and against them
it does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    overlay_address_of,
    overlay_link_down,
)
from k3sfw_engine.checks.routes.pod_routes_vxlan import judge_vxlan
from k3sfw_engine.checks.suggested_commands import ip_route
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import MAIN, Route
from k3sfw_engine.model.rows import FlannelBackend, Node


def to_pods(at: NodeFacts) -> PodAnswers:
    """Judge the way to the pods of every peer, in each family that pods have."""
    backend = at.tables.flannel_backend
    if backend is FlannelBackend.NONE:
        return PodAnswers()
    if not (at.runs_k3s or at.pod_ways):
        return PodAnswers((_no_k3s(at),))
    judge = {
        FlannelBackend.VXLAN: judge_vxlan,
        FlannelBackend.WIREGUARD: _by_wireguard,
        FlannelBackend.HOST_GW: _by_nodes,
    }[backend]
    answers = [judge(at, family) for family in at.pod_families]
    return PodAnswers(
        tuple(check for each in answers for check in each.checks),
        frozenset(network for each in answers for network in each.networks),
    )


def pod_targets(at: NodeFacts) -> tuple[str, ...]:
    """An address in each peer's pod network, to ask the kernel about."""
    networks = [route.destination for route in at.pod_ways]
    networks += [network for peer in at.peers for network in peer.pod_cidrs]
    return tuple(str(overlay_address_of(network)) for network in networks)


def _no_k3s(at: NodeFacts) -> Check:
    devices = ", ".join(sorted(at.cni))
    return at.check(
        None,
        "overlay",
        Status.UNPROVEN,
        evidence=f"none of {devices} is here: K3s does not run on this node, so the way to pods "
        "cannot be judged",
        hint="start K3s on it, then check again",
    )


# -- wireguard ------------------------------------------------------------------------------------


def _by_wireguard(at: NodeFacts, family: int) -> PodAnswers:
    """Its peers stand in the device's own tables, which ip does not show; the route does.

    Flannel makes one for the pods of all nodes.
    """
    device = at.overlays[family]
    link = at.network.interfaces.get(device)
    if link is None or not link.up:
        return PodAnswers((overlay_link_down(at, device, link),))
    cidrs = [each for each in at.tables.pod_cidrs if each.version == family]
    checks = [_by_device(at, cidr, device) for cidr in cidrs]
    cut = [cidr for cidr, check in zip(cidrs, checks) if check.status is not Status.OK]
    networks = {
        node.name: said
        for node in at.tables.nodes
        if node.name != at.node.name
        and (said := claimed_pod_network(at, node, family, {})) is not None
    }
    for peer in at.peers:
        network = networks.get(peer.name)
        # What follows from a route that is missing for all of them is told once.
        if network is not None and not any(network in cidr for cidr in cut):
            checks += _by_tunnel(at, peer, network, device)
    checks += judge_contradictions(at, family, {})
    return PodAnswers(tuple(checks), frozenset(networks.values()))


def _by_tunnel(
    at: NodeFacts, peer: Node, network: netaddr.IPNetwork, device: str
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
    yield judge_route(at, peer, network, way, f"dev {device}", f"by {device}", wrong)


def _by_device(at: NodeFacts, cidr: netaddr.IPNetwork, device: str) -> Check:
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


def _by_nodes(at: NodeFacts, family: int) -> PodAnswers:
    """Routes by the peers' node addresses. What a missing one led to, the peer may have told."""
    ways = {
        at.names[route.gateway]: route
        for route in at.pod_ways
        if route.destination.version == family
    }
    seen = {name: route.destination for name, route in ways.items()}
    networks = dict(seen)
    for node in at.tables.nodes:
        said = claimed_pod_network(at, node, family, seen)
        if node.name != at.node.name and said is not None:
            networks.setdefault(node.name, said)
    lengths = [network.prefixlen for network in networks.values()]
    culprits = foreign_routes_by_pod_network(at, family, most_common_length((), lengths, family))
    others = (node.name for node in at.tables.nodes if node.name != at.node.name)
    lost = [name for name in others if name not in networks]
    loose = [network for network in culprits if network not in networks.values()]
    if len(loose) == len(lost) == 1:
        # The one network whose route leads elsewhere is that of the one peer without a route.
        networks[lost[0]] = loose[0]
    checks = [
        _by_node(at, peer, address, networks.get(peer.name), ways.get(peer.name), culprits)
        for peer in at.peers
        if (address := first_address(peer, family))
    ]
    checks += judge_contradictions(at, family, seen)
    return PodAnswers(tuple(checks), frozenset(networks.values()))


def _by_node(
    at: NodeFacts,
    peer: Node,
    address: netaddr.IPAddress,
    network: netaddr.IPNetwork | None,
    way: Route | None,
    culprits: Mapping[netaddr.IPNetwork, list[Route]],
) -> Check:
    if network is None:
        return _no_gateway(at, peer, address)
    hop = f"via {address} dev {at.lookup(address).device}"
    return judge_route(at, peer, network, way, hop, hop, culprits.get(network, []))


def _no_gateway(at: NodeFacts, peer: Node, address: netaddr.IPAddress) -> Check:
    return at.check(
        peer,
        PODS,
        Status.UNPROVEN,
        by=peer.name,
        evidence=f"no route to pods by {address}: K3s on {peer.name} has not joined, or flannel "
        "here lost it",
        hint=f"{at.restart}, if K3s runs on {peer.name}",
    )
