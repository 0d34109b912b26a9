"""The pod network of each node, and the verdicts that all backends of flannel share. Pure.

``pod_routes`` and ``pod_routes_vxlan`` find the route of each peer; ``judge_route`` here judges it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import pod_messages as messages
from k3sfw_engine.checks.routes.defaults import USUAL_POD_NETWORK
from k3sfw_engine.checks.routes.removable_routes import removal
from k3sfw_engine.checks.suggested_commands import ip_route
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.interfaces_and_routes import MAIN, Interface, Route
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import Node

PODS = "pods"


@dataclass(frozen=True)
class PodAnswers:
    """The verdicts, and the pod networks of peers that they are about."""

    checks: tuple[Check, ...] = ()
    networks: frozenset[netaddr.IPNetwork] = frozenset()


def address_of_pods(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    """An address in a node's pod network: that of its bridge.

    flannel gives the first address to the overlay device and the second to the bridge.
    """
    return netaddr.IPAddress(network.first + (1 if network.size > 1 else 0), network.version)


# -- what a peer claims ---------------------------------------------------------------------------


def claimed_pod_network(
    at: NodeFacts, node: Node, family: int, seen: Mapping[str, netaddr.IPNetwork]
) -> netaddr.IPNetwork | None:
    """The pod network that a node claims in pillar; None if flannel's entries here contradict it.

    seen
        The pod networks of other nodes according to flannel's entries, by name.
    """
    said = node.pods(family)
    return None if said is None or _owner(at, said, node, seen) else said


def _owner(
    at: NodeFacts, said: netaddr.IPNetwork, node: Node, seen: Mapping[str, netaddr.IPNetwork]
) -> str:
    """The owner of that network according to this host; empty if it may be the node's."""
    bridge = at.network.interfaces.get(CNI_BRIDGE)
    if bridge and any(address in said for address in bridge.addresses):
        return f"it on {CNI_BRIDGE} of {at.node.name}"
    own = seen.get(node.name)
    if own is not None:
        return "" if own == said else f"{own} of {node.name}"
    others = (f"{n} of {name}" for name, n in sorted(seen.items()) if n in said or said in n)
    return next(others, "")


def judge_contradictions(
    at: NodeFacts, family: int, seen: Mapping[str, netaddr.IPNetwork]
) -> Iterator[Check]:
    """Peers whose pod network in pillar contradicts flannel's entries."""
    for peer in at.peers:
        said = peer.pods(family)
        owner = _owner(at, said, peer, seen) if said is not None else ""
        if said is not None and owner:
            problem = messages.pillar_contradicts_flannel(peer.name, said, owner)
            yield at.check(
                peer, "pod network", Status.CONFLICT, problem, by=peer.name, address=str(said)
            )


def first_address(peer: Node, family: int) -> netaddr.IPAddress | None:
    """The peer's first address of this family, which flannel uses; or None."""
    return next((each for each in peer.addresses if each.version == family), None)


def overlay_link_down(at: NodeFacts, device: str, link: Interface | None) -> Check:
    """The verdict on an overlay device that is down or missing."""
    problem = messages.overlay_link_down(device, link, at.restart_k3s)
    return at.check(None, "overlay", Status.LINK_DOWN, problem)


def most_common_length(routes: Iterable[Route], own: list[int], family: int) -> int:
    """The prefix length of most pod networks on this host, else the usual one."""
    counted = Counter([*own, *(route.destination.prefixlen for route in routes)]).most_common(1)
    return counted[0][0] if counted else USUAL_POD_NETWORK[family]


def foreign_routes_by_pod_network(
    at: NodeFacts, family: int, length: int
) -> dict[netaddr.IPNetwork, list[Route]]:
    """Routes that do not come from Kubernetes, by the pod network of a node that they are in."""
    found: dict[netaddr.IPNetwork, list[Route]] = {}
    for route in at.foreign_pod_routes:
        network = route.destination
        if network.version == family and network.prefixlen >= length:
            around = netaddr.IPNetwork(f"{network.ip}/{length}").cidr
            found.setdefault(around, []).append(route)
    return found


def judge_route(
    at: NodeFacts,
    peer: Node,
    network: netaddr.IPNetwork,
    route: Route | None,
    hop: str,
    proof: str,
    wrong: list[Route],
    flags: str = "",
) -> Check:
    """Whether the route exists, whether another one competes with it, and what the kernel does.

    hop, flags
        What the right route has behind its network, in the words of ip.
    proof
        The evidence if all is right.
    wrong
        Routes to the network, or to a part of it, that do not come from Kubernetes.
    """
    lookup = at.lookup(address_of_pods(network))
    wrong = [each for each in wrong if _comes_first(at, each, network)]
    if route is None:
        by = hop.removeprefix("via ").removeprefix("dev ")
        status = Status.NO_ROUTE
        add = _add_route(at, network, f"{hop}{flags}", wrong)
        problem = messages.pod_route_missing(by, wrong, add)
    elif wrong:
        refused = any(each.kind != "unicast" for each in wrong)
        status = Status.NO_ROUTE if refused else Status.WRONG_ROUTE
        problem = messages.pod_route_contested(route, wrong, removal(at, *wrong))
    elif lookup.error or lookup.device != route.device:
        status = Status.WRONG_ROUTE
        went = lookup.error or f"by {lookup.device} (table {lookup.table or MAIN})"
        problem = messages.pod_route_overruled(at.node.name, route, went)
    else:
        status, problem = Status.OK, Problem(proof)
    return at.check(peer, PODS, status, problem, address=str(network))


def _comes_first(at: NodeFacts, route: Route, network: netaddr.IPNetwork) -> bool:
    """Whether the kernel takes this route into the network, or into a part of it."""
    if route.destination != network:
        return True
    return at.exact(network)[0] is route


def _add_route(at: NodeFacts, network: netaddr.IPNetwork, words: str, wrong: list[Route]) -> str:
    """The command that adds a route to pods; empty if it would cut a connection, or not help."""
    ours = ip_route("replace", network.version, f"{network} {words}")
    narrower = [each for each in wrong if each.destination != network]
    if any(id(each) in at.routes_in_use for each in wrong):
        return ""
    if not narrower:
        return at.run_here(ours)
    before = removal(at, *narrower)
    return f"{before} && {at.run_here(ours)}" if before else ""
