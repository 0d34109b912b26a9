"""The verdict on the route to every peer's pods, for each backend of flannel. Pure.

Which pod network a peer has is known only from flannel's routes, neighbours and forwarding entries
on this node, so each of them confirms the others: the route names the peer's overlay address, the
neighbour its MAC, the forwarding entry the node. If one entry is missing, the remaining ones show
which. What the peer claims in pillar fills a gap, and never overrules these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import pod_messages as messages
from k3sfw_engine.checks.routes.pod_networks import (
    PODS,
    PodAnswers,
    address_of_pods,
    claimed_pod_network,
    first_address,
    foreign_routes_by_pod_network,
    judge_contradictions,
    judge_route,
    most_common_length,
    overlay_link_down,
)
from k3sfw_engine.checks.routes.pod_routes_vxlan import judge_vxlan
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import MAIN, Route
from k3sfw_engine.model.kubernetes_names import TAILSCALE_DEVICE
from k3sfw_engine.model.rows import FlannelBackend, Node


def judge_pod_routes(at: NodeFacts) -> PodAnswers:
    """Judge the route to the pods of every peer, in each family that pods have."""
    backend = at.tables.flannel_backend
    if backend is FlannelBackend.NONE:
        return PodAnswers()
    if not (at.runs_k3s or at.pod_routes):
        return PodAnswers((_no_k3s(at),))
    judge = {
        FlannelBackend.VXLAN: judge_vxlan,
        FlannelBackend.WIREGUARD: _by_wireguard,
        FlannelBackend.HOST_GW: _by_nodes,
        FlannelBackend.TAILSCALE: _by_tailscale,
    }[backend]
    answers = [judge(at, family) for family in at.pod_families]
    return PodAnswers(
        tuple(check for each in answers for check in each.checks),
        frozenset(network for each in answers for network in each.networks),
    )


def pod_targets(at: NodeFacts) -> tuple[str, ...]:
    """An address in each peer's pod network, to which the kernel is asked for the route."""
    networks = [route.destination for route in at.pod_routes]
    networks += [network for peer in at.peers for network in peer.pod_cidrs]
    return tuple(str(address_of_pods(network)) for network in networks)


def _no_k3s(at: NodeFacts) -> Check:
    problem = messages.k3s_not_running(", ".join(sorted(at.cni)))
    return at.check(None, "overlay", Status.UNPROVEN, problem)


# -- wireguard ------------------------------------------------------------------------------------


def _by_wireguard(at: NodeFacts, family: int) -> PodAnswers:
    """Judge the routes by flannel's WireGuard device, one for the pods of all nodes.

    Its peers are in the device's own tables, which ip does not show.
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
        # A route that is missing for all of them is reported once.
        if network is not None and not any(network in cidr for cidr in cut):
            checks += _by_tunnel(at, peer, network, device)
    checks += judge_contradictions(at, family, {})
    return PodAnswers(tuple(checks), frozenset(networks.values()))


def _by_tunnel(
    at: NodeFacts, peer: Node, network: netaddr.IPNetwork, device: str
) -> Iterator[Check]:
    """The route to one peer's pods; it may cover more than these."""
    around = [r for r in at.network.routes if r.table == MAIN and network in r.destination]
    own = [route for route in around if route.device == device]
    best = max(own, key=lambda route: route.destination.prefixlen, default=None)
    least = best.destination.prefixlen if best else 0
    wrong = [
        route
        for route in around
        if route.device != device
        and route.destination.prefixlen > least
        and at.is_pod_network(route.destination)
    ]
    foreign = at.foreign_pod_routes
    if any(route in foreign and route.destination != network for route in wrong):
        return  # It leads the pods of other nodes out of the cluster too, and is reported as such.
    wrong += [r for r in foreign if r.destination in network and r not in wrong]
    yield judge_route(at, peer, network, best, f"dev {device}", f"by {device}", wrong)


def _by_device(at: NodeFacts, cidr: netaddr.IPNetwork, device: str) -> Check:
    found = [r for r in at.network.routes if r.device == device and r.destination in cidr]
    if found:
        evidence = f"{len(found)} routes by {device}"
        return at.check(None, PODS, Status.OK, evidence, address=str(cidr))
    problem = messages.no_device_route(at.node.name, cidr, device)
    return at.check(None, PODS, Status.NO_ROUTE, problem, address=str(cidr))


# -- tailscale ------------------------------------------------------------------------------------


def _by_tailscale(at: NodeFacts, family: int) -> PodAnswers:
    """Judge where the kernel sends packets to peers' pods: Tailscale's routes have own tables."""
    claimed = [(peer, peer.pods(family)) for peer in at.peers]
    networks = [(peer, network) for peer, network in claimed if network is not None]
    return PodAnswers(
        tuple(_by_tailnet(at, peer, network) for peer, network in networks),
        frozenset(network for _peer, network in networks),
    )


def _by_tailnet(at: NodeFacts, peer: Node, network: netaddr.IPNetwork) -> Check:
    lookup = at.lookup(address_of_pods(network))
    if lookup.device == TAILSCALE_DEVICE:
        evidence = f"by {TAILSCALE_DEVICE}"
        return at.check(peer, PODS, Status.OK, evidence, address=str(network))
    problem = messages.no_tailnet_route(
        at.node.name, peer.name, network, lookup.error or f"goes by {lookup.device}"
    )
    return at.check(peer, PODS, Status.NO_ROUTE, problem, address=str(network))


# -- host-gw --------------------------------------------------------------------------------------


def _by_nodes(at: NodeFacts, family: int) -> PodAnswers:
    """Judge the routes by the peers' node addresses, as the backend host-gw makes them."""
    routes = {
        at.names[route.gateway]: route
        for route in at.pod_routes
        if route.destination.version == family
    }
    seen = {name: route.destination for name, route in routes.items()}
    networks = dict(seen)
    for node in at.tables.nodes:
        said = claimed_pod_network(at, node, family, seen)
        if node.name != at.node.name and said is not None:
            networks.setdefault(node.name, said)
    lengths = [network.prefixlen for network in networks.values()]
    foreign = foreign_routes_by_pod_network(at, family, most_common_length((), lengths, family))
    others = (node.name for node in at.tables.nodes if node.name != at.node.name)
    lost = [name for name in others if name not in networks]
    loose = [network for network in foreign if network not in networks.values()]
    if len(loose) == len(lost) == 1:
        # The one network that a foreign route leads to belongs to the one peer without a route.
        networks[lost[0]] = loose[0]
    checks = [
        _by_node(at, peer, address, networks.get(peer.name), routes.get(peer.name), foreign)
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
    route: Route | None,
    foreign: Mapping[netaddr.IPNetwork, list[Route]],
) -> Check:
    if network is None:
        return _no_gateway(at, peer, address)
    hop = f"via {address} dev {at.lookup(address).device}"
    return judge_route(at, peer, network, route, hop, hop, foreign.get(network, []))


def _no_gateway(at: NodeFacts, peer: Node, address: netaddr.IPAddress) -> Check:
    problem = messages.no_gateway_route(peer.name, address, at.restart_k3s)
    return at.check(peer, PODS, Status.UNPROVEN, problem, by=peer.name)
