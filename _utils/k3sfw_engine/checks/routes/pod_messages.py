"""Every sentence about the routes to pods: what was observed, and what fixes it. Pure."""

from __future__ import annotations

import netaddr

from k3sfw_engine.checks.suggested_commands import (
    delete_route,
    instead_there_is,
    ip_route,
    refresh_grains,
    restart_k3s,
    route_in_words,
    routes_in_words,
    run_on,
)
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.interfaces_and_routes import Interface, Route
from k3sfw_engine.model.rows import Node


def k3s_not_running(devices: str) -> Problem:
    return Problem(
        f"none of {devices} exists: K3s does not run on this node, so its routes to pods cannot "
        "be judged",
        "start K3s on it, then check again",
    )


def overlay_link_down(node: Node, device: str, link: Interface | None) -> Problem:
    return Problem(
        f"{device} {'does not exist' if link is None else 'is down'}, and with it the routes to "
        "the pods of all other nodes",
        restart_k3s(node),
    )


def pillar_contradicts_flannel(peer: str, said: netaddr.IPNetwork, seen: str) -> Problem:
    return Problem(
        f"pillar has {said} for the pods of {peer}, but flannel here has {seen}",
        f"{refresh_grains(peer)}; if it stays so, compare k3s:nodes:{peer}:pod_cidrs with "
        f"/run/flannel/subnet.env on {peer}",
    )


def pod_route_missing(
    node: str, network: netaddr.IPNetwork, words: str, by: str, wrong: list[Route]
) -> Problem:
    return Problem(
        f"no route by {by}{instead_there_is(wrong)}",
        run_on(
            node,
            *map(delete_route, wrong),
            ip_route("replace", network.version, f"{network} {words}"),
        ),
    )


def pod_route_contested(node: str, route: Route, wrong: list[Route]) -> Problem:
    return Problem(
        f"beside {route_in_words(route)} there is {routes_in_words(wrong)}",
        run_on(node, *map(delete_route, wrong)),
    )


def pod_route_overruled(node: str, route: Route, went: str) -> Problem:
    return Problem(
        f"the main table has {route_in_words(route)}, but the kernel answers: {went}",
        f"find the routing rule that takes precedence: {run_on(node, 'ip rule show')}",
    )


def no_device_route(node: str, cidr: netaddr.IPNetwork, device: str) -> Problem:
    return Problem(
        f"no route by {device}",
        run_on(node, ip_route("replace", cidr.version, f"{cidr} dev {device}")),
    )


def no_gateway_route(node: Node, peer: str, address: netaddr.IPAddress) -> Problem:
    return Problem(
        f"no route to pods by {address}: K3s on {peer} has not joined, or flannel here lost it",
        f"{restart_k3s(node)}, if K3s runs on {peer}",
    )


def no_tailnet_route(node: str, peer: str, network: netaddr.IPNetwork, seen: str) -> Problem:
    return Problem(
        f"no route to {network} by Tailscale ({seen})",
        f"{run_on(node, 'tailscale set --accept-routes')}; if it stays so, approve the route of "
        f"{peer} in the tailnet's admin console",
    )


def no_entry(node: Node, peer: str, device: str) -> Problem:
    return Problem(
        f"{device} has no entry for it: K3s on {peer} has not joined, or flannel here lost it",
        f"{restart_k3s(node)}, if K3s runs on {peer}",
    )


def all_entries_lost(node: Node, device: str) -> Problem:
    # Only flannel knows the MAC that the entries need.
    return Problem(
        f"{device} has no route, no neighbour and no forwarding entry for it: flannel here lost "
        "them",
        restart_k3s(node),
    )


def entries_not_paired(node: Node, device: str, loose: str) -> Problem:
    return Problem(
        f"{device} has no forwarding entry for it, or no neighbour behind it; entries that belong "
        f"to no known peer: {loose}",
        restart_k3s(node),
    )


def unknown_node_has_pods(network: netaddr.IPNetwork, node: str) -> Problem:
    return Problem(
        f"pods in {network} are on {node}, which is not a node in pillar, so the firewalls of "
        "this cluster deny it",
        "run a minion with the grain k3s_role on it, or enter it into k3s:nodes",
    )


def wrong_mac(node: str, overlay: str, device: str, known: str, mac: str) -> Problem:
    ipv6 = "-6 " if ":" in overlay else ""
    what = f"has the MAC {known}, not {mac}" if known else "has no MAC"
    command = f"ip {ipv6}neigh replace {overlay} lladdr {mac} dev {device} nud permanent"
    return Problem(f"the neighbour {overlay} dev {device} {what}", run_on(node, command))


def frames_to_unknown_node(node: Node, peer: str, frames: str, stranger: str) -> Problem:
    # Only flannel knows whose entry it is. If it stays, the cluster has one more node.
    return Problem(
        f"frames for {frames} go to {stranger}, which is not a node in pillar, and none to {peer}",
        f"{restart_k3s(node)}; if it stays so, enter {stranger} into k3s:nodes",
    )


def no_neighbour(node: Node, device: str, overlay: str) -> Problem:
    return Problem(
        f"{device} has neither the neighbour {overlay} nor a forwarding entry for it",
        restart_k3s(node),
    )


def no_forwarding_entry(
    node: str, frames: str, mac: str, device: str, target: netaddr.IPAddress | None
) -> Problem:
    return Problem(
        f"frames for {frames} have no forwarding entry",
        run_on(node, f"bridge fdb replace {mac} dev {device} dst {target}"),
    )


def wrong_sender(node: Node, link: Interface, sender: str, ours: netaddr.IPAddress) -> Problem:
    command = f"ip link set {link.name} type vxlan id {link.details['id']} local {ours}"
    return Problem(
        f"{link.name} sends from {sender}; peers allow this node's packets only from "
        f"{', '.join(map(str, node.addresses))}",
        run_on(node.name, command),
    )
