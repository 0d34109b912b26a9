"""Networks of the cluster that meet others, and routes that throw their packets away. Pure.

What is in the pod network of a known peer is judged with that peer, and not here.
"""

from __future__ import annotations

from collections.abc import Iterator

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import delete, spec
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import MAIN, REFUSING
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface

# Pod networks of peers.
_NetworkSet = frozenset[netaddr.IPNetwork]

# A shorter prefix is a default route in parts, as VPNs make them.
_SHORTEST = {4: 8, 6: 16}

# The kernel's own last word in IPv6, where there is no default route.
_LAST_METRIC = 0xFFFFFFFF


def judge_overlaps(at: NodeFacts, judged: _NetworkSet) -> Iterator[Check]:
    tables = at.tables
    found = []
    for pods in tables.pod_cidrs:
        for services in tables.service_cidrs:
            if _meet(pods, services):
                found.append(
                    at.check(
                        None,
                        "overlap",
                        Status.OVERLAP,
                        evidence=f"the pod network {pods} and the service network {services} have "
                        "addresses in common",
                        hint="correct k3s:pod_cidrs and k3s:service_cidrs in pillar; if K3s has "
                        "them so (--cluster-cidr, --service-cidr), the cluster must be made anew",
                    )
                )
    for what, cidr in _cluster_networks(at):
        found += _overlapping_links(at, what, cidr)
        found += _overlapping_routes(at, what, cidr, judged)
    if not found:
        evidence = "pods, services, this node's networks and its routes have nothing in common"
        found.append(at.check(None, "overlap", Status.OK, evidence=evidence))
    yield from found


def _cluster_networks(at: NodeFacts) -> list[tuple[str, netaddr.IPNetwork]]:
    return [("pod", cidr) for cidr in at.tables.pod_cidrs] + [
        ("service", cidr) for cidr in at.tables.service_cidrs
    ]


def _overlapping_links(at: NodeFacts, what: str, cidr: netaddr.IPNetwork) -> Iterator[Check]:
    for name, link in sorted(at.network.interfaces.items()):
        for network in link.addresses:
            if not is_kubernetes_interface(name) and _meet(network.cidr, cidr):
                yield at.check(
                    None,
                    "overlap",
                    Status.OVERLAP,
                    address=str(cidr),
                    evidence=f"{name} of this node is in {network.cidr}, which has addresses of "
                    f"the {what} network {cidr}: who is meant is decided by chance",
                    hint="renumber that interface, or make the cluster with another network "
                    f"(--{'cluster' if what == 'pod' else 'service'}-cidr)",
                )


def _overlapping_routes(
    at: NodeFacts, what: str, cidr: netaddr.IPNetwork, judged: _NetworkSet
) -> Iterator[Check]:
    linked = {network.cidr for link in at.network.interfaces.values() for network in link.addresses}
    own = {id(route) for route in at.pod_ways}
    for route in at.network.routes:
        network = route.destination
        if (
            route.table != MAIN
            or route.kind != "unicast"
            or network.version != cidr.version
            or network.prefixlen < _SHORTEST[cidr.version]
            or id(route) in own
            or any(is_kubernetes_interface(hop.device) for hop in route.hops)
            # With an interface's own route the interface is reported.
            or network in linked
            # A route to all services is what a node without a default route needs.
            or (what == "service" and network == cidr)
        ):
            continue
        if network in cidr and not any(network in each for each in judged):
            yield at.check(
                None,
                "overlap",
                Status.OVERLAP,
                address=str(cidr),
                evidence=f"the route {spec(route)} leads addresses of the {what} network {cidr} "
                "out of the cluster",
                hint=at.typed(delete(route)),
            )
        elif cidr in network and cidr != network:
            yield at.check(
                None,
                "overlap",
                Status.CONFLICT,
                address=str(cidr),
                evidence=f"the route {spec(route)} leads to a network that has the addresses of "
                f"the {what} network {cidr}: whoever has these there is not reached from here",
                hint="nothing, if nobody there has addresses of that part",
            )


def _meet(one: netaddr.IPNetwork, other: netaddr.IPNetwork) -> bool:
    return one.version == other.version and (one in other or other in one)


def refusing(at: NodeFacts, judged: _NetworkSet) -> Iterator[Check]:
    """Routes that throw packets of the cluster away, where no peer is known to suffer from them."""
    found = [
        (what, cidr, route)
        for route in at.network.routes
        if route.kind in REFUSING and route.table == MAIN and route.metric != _LAST_METRIC
        for what, cidr in _cluster_networks(at)
        if _is_refused(route.destination, what, cidr, judged)
    ]
    for what, cidr, route in found:
        yield at.check(
            None,
            "refusing routes",
            Status.NO_ROUTE,
            address=str(cidr),
            evidence=f"the route {spec(route)} throws packets to a part of the {what} network away",
            hint=at.typed(delete(route)),
        )
    if not found:
        evidence = "no route refuses addresses of pods or services"
        yield at.check(None, "refusing routes", Status.OK, evidence=evidence)


def _is_refused(
    network: netaddr.IPNetwork,
    what: str,
    cidr: netaddr.IPNetwork,
    judged: _NetworkSet,
) -> bool:
    if network not in cidr:
        return False
    # Over all pods at once it is good practice: every node's own route is narrower.
    if what == "pod":
        return bool(network != cidr) and not any(network in each for each in judged)
    return True
