"""Which pod network belongs to which node, and whether the route to it is right. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import delete, ip_route, spec
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.interfaces_and_routes import MAIN, Interface, Route
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import Node

PODS = "pods"
_USUAL_LENGTH = {4: 24, 6: 64}


@dataclass(frozen=True)
class PodAnswers:
    """The verdicts, and the pod networks of peers that they are about."""

    checks: tuple[Check, ...] = ()
    networks: frozenset[netaddr.IPNetwork] = frozenset()


def overlay_address_of(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    # The first is the overlay address of the node itself, the second the bridge: any pod's way.
    return netaddr.IPAddress(network.first + (1 if network.size > 1 else 0), network.version)


# -- what a peer says of its pods -----------------------------------------------------------------


def claimed_pod_network(
    at: NodeFacts, node: Node, family: int, seen: Mapping[str, netaddr.IPNetwork]
) -> netaddr.IPNetwork | None:
    """The pod network of a node by its own word, if nothing that is seen here speaks against it.

    seen
        The pod networks of other nodes by flannel's entries, by name.
    """
    said = node.pods(family)
    return None if said is None or _owner(at, said, node, seen) else said


def _owner(
    at: NodeFacts, said: netaddr.IPNetwork, node: Node, seen: Mapping[str, netaddr.IPNetwork]
) -> str:
    """Whose pods those are by what is seen here, if not the node's."""
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


def first_address(peer: Node, family: int) -> netaddr.IPAddress | None:
    return next((each for each in peer.addresses if each.version == family), None)


def overlay_link_down(at: NodeFacts, device: str, link: Interface | None) -> Check:
    return at.check(
        None,
        "overlay",
        Status.LINK_DOWN,
        evidence=f"{device} is {'not there' if link is None else 'down'}, and with it the routes "
        "to the pods of all other nodes",
        hint=at.restart,
    )


def most_common_length(ways: Iterable[Route], own: list[int], family: int) -> int:
    counted = Counter([*own, *(route.destination.prefixlen for route in ways)]).most_common(1)
    return counted[0][0] if counted else _USUAL_LENGTH[family]


def foreign_routes_by_pod_network(
    at: NodeFacts, family: int, length: int
) -> dict[netaddr.IPNetwork, list[Route]]:
    """Routes that nobody of Kubernetes makes, by the node's pod network that they are in."""
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
    lookup = at.lookup(overlay_address_of(network))
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
