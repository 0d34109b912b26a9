"""Every sentence about the routes to pods: what was observed, and what fixes it. Pure."""

from __future__ import annotations

import netaddr

from k3sfw_engine.checks.routes.messages import remove_route
from k3sfw_engine.checks.suggested_commands import (
    instead_there_is,
    ip_route,
    refresh_grains,
    route_in_words,
    routes_in_words,
    run_on,
    until_then,
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


def overlay_link_down(device: str, link: Interface | None, restart: str) -> Problem:
    return Problem(
        f"{device} {'does not exist' if link is None else 'is down'}, and with it the routes to "
        "the pods of all other nodes",
        restart,
    )


def pillar_contradicts_flannel(peer: str, said: netaddr.IPNetwork, seen: str) -> Problem:
    return Problem(
        f"pillar has {said} for the pods of {peer}, but flannel here has {seen}",
        f"{refresh_grains(peer)}; if it stays so, compare k3s:nodes:{peer}:pod_cidrs with "
        f"/run/flannel/subnet.env on {peer}",
    )


def pod_route_missing(by: str, wrong: list[Route], add: str) -> Problem:
    """``add`` is the command that adds the route; empty if others must be removed before."""
    removed = "; ".join(remove_route(route, "") for route in wrong)
    return Problem(f"no route by {by}{instead_there_is(wrong)}", add or removed)


def pod_route_contested(route: Route, wrong: list[Route], removal: str) -> Problem:
    removed = "; ".join(remove_route(route, "") for route in wrong)
    return Problem(
        f"beside {route_in_words(route)} there is {routes_in_words(wrong)}",
        until_then(removed, removal),
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


def no_gateway_route(peer: str, address: netaddr.IPAddress, restart: str) -> Problem:
    return Problem(
        f"no route to pods by {address}: K3s on {peer} has not joined, or flannel here lost it",
        f"{restart}, if K3s runs on {peer}",
    )


def no_tailnet_route(node: str, peer: str, network: netaddr.IPNetwork, seen: str) -> Problem:
    return Problem(
        f"no route to {network} by Tailscale ({seen})",
        f"{run_on(node, 'tailscale set --accept-routes')}; if it stays so, approve the route of "
        f"{peer} in the tailnet's admin console",
    )


def no_entry(peer: str, device: str, restart: str) -> Problem:
    return Problem(
        f"{device} has no entry for it: K3s on {peer} has not joined, or flannel here lost it",
        f"{restart}, if K3s runs on {peer}",
    )


def all_entries_lost(device: str, restart: str) -> Problem:
    # Only flannel knows the MAC that the entries need.
    return Problem(
        f"{device} has no route, no neighbour and no forwarding entry for it: flannel here lost "
        "them",
        restart,
    )


def entries_not_paired(device: str, loose: str, restart: str) -> Problem:
    return Problem(
        f"{device} has no forwarding entry for it, or no neighbour behind it; entries that belong "
        f"to no known peer: {loose}",
        restart,
    )


def only_echoes_pass(node: str, peer: str, device: str) -> Problem:
    """A known fault of cards and hypervisors; https://github.com/flannel-io/flannel/issues/1279."""
    command = f"ethtool -K {device} tx-checksum-ip-generic off"
    both = " && ".join(run_on(each, command) for each in (node, peer))
    return Problem(
        f"echoes pass through {device}, and TCP does not: wrong checksums of VXLAN packets, or a "
        "rule that drops TCP inside the tunnel",
        until_then(
            "update the driver or hypervisor that computes wrong checksums for VXLAN, or switch "
            f"this offload of {device} off at boot",
            both,
        ),
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


def frames_to_unknown_node(peer: str, frames: str, stranger: str, restart: str) -> Problem:
    """Only flannel knows whose entry it is: the peer's by another card, or one more node's."""
    return Problem(
        f"frames for {frames} go to {stranger}, which is not a node in pillar, and none to {peer}",
        f"{restart}; if it stays so, {stranger} is an address from which flannel of {peer} sends: "
        f"set flannel-iface there, or add it to k3s:nodes:{peer}:addresses; or it is a node that "
        "k3s:nodes lacks",
    )


def no_neighbour(device: str, overlay: str, restart: str) -> Problem:
    return Problem(
        f"{device} has neither the neighbour {overlay} nor a forwarding entry for it",
        restart,
    )


def no_forwarding_entry(
    node: str, frames: str, mac: str, device: str, target: netaddr.IPAddress | None
) -> Problem:
    return Problem(
        f"frames for {frames} have no forwarding entry",
        run_on(node, f"bridge fdb replace {mac} dev {device} dst {target}"),
    )


def wrong_sender(node: Node, link: Interface, sender: str, held_by: str, restart: str) -> Problem:
    """flannel sends from the interface of the default route, whatever node-ip says.

    held_by
        The interface that has this address; empty if none has it any more.
    """
    by = held_by or "an interface that had it"
    return Problem(
        f"{link.name} sends from {sender}, the address of {by}; peers allow this node's packets "
        f"only from {', '.join(map(str, node.addresses))}",
        f"set flannel-iface in K3s's configuration of every node to the interface of its node-ip, "
        f"and restart K3s; or add {sender} to k3s:nodes:{node.name}:addresses in pillar"
        if held_by
        else restart,
    )
