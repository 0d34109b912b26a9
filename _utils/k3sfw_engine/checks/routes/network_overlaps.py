"""The verdict on networks that overlap the cluster's, and on routes that discard its packets. Pure.

Routes into the pod network of a known peer are judged with that peer, not here.
"""

from __future__ import annotations

from collections.abc import Iterator

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.routes.defaults import SHORTEST_OVERLAP
from k3sfw_engine.checks.routes.removable_routes import removal
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import MAIN, REFUSING, Route
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.rows import FlannelBackend

# Pod networks of peers.
_NetworkSet = frozenset[netaddr.IPNetwork]

# The metric of the kernel's own IPv6 route that refuses whatever no other route matches.
_LAST_METRIC = 0xFFFFFFFF


def judge_overlaps(at: NodeFacts, judged: _NetworkSet) -> Iterator[Check]:
    """The networks and routes that overlap pods or services.

    judged
        The pod networks that are judged with their peers.
    """
    found = [
        at.check(None, "overlap", Status.OVERLAP, messages.pods_overlap_services(pods, services))
        for pods in at.tables.pod_cidrs
        for services in at.tables.service_cidrs
        if _overlap(pods, services)
    ]
    for what, cidr in _cluster_networks(at):
        found += _overlapping_links(at, what, cidr)
        found += _overlapping_routes(at, what, cidr, judged)
    if not found:
        evidence = "pods, services, this node's networks and its routes do not overlap"
        found.append(at.check(None, "overlap", Status.OK, evidence))
    yield from found


def _cluster_networks(at: NodeFacts) -> list[tuple[str, netaddr.IPNetwork]]:
    return [("pod", cidr) for cidr in at.tables.pod_cidrs] + [
        ("service", cidr) for cidr in at.tables.service_cidrs
    ]


def _overlapping_links(at: NodeFacts, what: str, cidr: netaddr.IPNetwork) -> Iterator[Check]:
    for name, link in sorted(at.network.interfaces.items()):
        for network in link.addresses:
            if not is_kubernetes_interface(name) and _overlap(network.cidr, cidr):
                problem = messages.link_overlaps(name, network.cidr, what, cidr)
                yield at.check(None, "overlap", Status.OVERLAP, problem, address=str(cidr))


def _overlapping_routes(
    at: NodeFacts, what: str, cidr: netaddr.IPNetwork, judged: _NetworkSet
) -> Iterator[Check]:
    own = {id(route) for route in at.pod_routes}
    # The interface is reported; its connected route would say the same again.
    linked = {network.cidr for link in at.network.interfaces.values() for network in link.addresses}
    for route in at.network.routes:
        network = route.destination
        if id(route) in own or network in linked or not _may_overlap(route, cidr):
            continue
        # A route to all services is what a node without a default route needs.
        if what == "service" and network == cidr:
            continue
        if network in cidr and _is_of_another_plugin(at, what):
            continue
        if network in cidr and not any(network in each for each in judged):
            if what == "pod" and _by_unknown_neighbour(at, route):
                status, problem = Status.CONFLICT, messages.by_unknown_neighbour(route)
            else:
                status, problem = Status.OVERLAP, messages.route_leads_out(route, what, cidr)
            yield at.check(None, "overlap", status, problem, address=str(cidr))
        elif cidr in network and cidr != network:
            problem = messages.route_contains(route, what, cidr)
            yield at.check(None, "overlap", Status.CONFLICT, problem, address=str(cidr))


def _by_unknown_neighbour(at: NodeFacts, route: Route) -> bool:
    """Whether it leads to a host of an own network that is neither a node nor the router.

    Such a host may be a node that pillar does not know: flannel leads to its pods in this way.
    """
    return (
        bool(route.gateway)
        and route.gateway not in at.names
        and route.gateway not in at.routers
        and at.prefix_of(netaddr.IPAddress(route.gateway)) is not None
    )


def _may_overlap(route: Route, cidr: netaddr.IPNetwork) -> bool:
    """Whether the route can overlap: not one of Kubernetes, not (a part of) a default route."""
    return (
        route.table == MAIN
        and route.kind == "unicast"
        and route.destination.version == cidr.version
        and route.destination.prefixlen >= SHORTEST_OVERLAP[cidr.version]
        and not any(is_kubernetes_interface(hop.device) for hop in route.hops)
    )


def _overlap(one: netaddr.IPNetwork, other: netaddr.IPNetwork) -> bool:
    return one.version == other.version and (one in other or other in one)


def judge_refusing_routes(at: NodeFacts, judged: _NetworkSet) -> Iterator[Check]:
    """Routes that discard packets of the cluster, unless they are judged with a peer."""
    found = [
        (what, cidr, route)
        for route in at.network.routes
        if route.kind in REFUSING and route.table == MAIN and route.metric != _LAST_METRIC
        for what, cidr in _cluster_networks(at)
        if _is_refused(route.destination, what, cidr, judged)
        and not _is_of_another_plugin(at, what)
    ]
    for what, cidr, route in found:
        problem = messages.route_discards(route, what, removal(at, route))
        yield at.check(None, "refusing routes", Status.NO_ROUTE, problem, address=str(cidr))
    if not found:
        evidence = "no route refuses addresses of pods or services"
        yield at.check(None, "refusing routes", Status.OK, evidence)


def _is_of_another_plugin(at: NodeFacts, what: str) -> bool:
    """Whether routes of pods are those of a plugin other than flannel.

    Calico discards what is left of the block of each node, and leads the blocks of others by
    devices of its own.
    """
    return what == "pod" and at.tables.flannel_backend is FlannelBackend.NONE


def _is_refused(
    network: netaddr.IPNetwork,
    what: str,
    cidr: netaddr.IPNetwork,
    judged: _NetworkSet,
) -> bool:
    if network not in cidr:
        return False
    # For all pods at once, such a route is good practice: that to each node's pods is narrower.
    if what == "pod":
        return bool(network != cidr) and not any(network in each for each in judged)
    return True
