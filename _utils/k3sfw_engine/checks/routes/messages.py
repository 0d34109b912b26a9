"""Every sentence of check_routes: what was observed, and what fixes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import netaddr

from k3sfw_engine.checks.suggested_commands import (
    CLOUD_SETUP_OFF,
    apply_routes,
    check_routes,
    delete_route,
    heal,
    instead_there_is,
    ip_route,
    refresh_grains,
    route_in_words,
    run_on,
    set_link_up,
    set_mtu,
    write_into_site,
)
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.interfaces_and_routes import Interface, Route
from k3sfw_engine.model.rows import FlannelBackend, Node

# -- the node's own links -------------------------------------------------------------------------


def uplink_switched_off(link: str) -> Problem:
    # The master does not reach the node either.
    return Problem(
        f"{link} is switched off: it reaches no peer", f"{set_link_up(link)}, on the node itself"
    )


def no_carrier(link: str) -> Problem:
    return Problem(
        f"{link} has no carrier: it reaches no peer",
        "plug its cable in, or find out why its driver or bond has no carrier",
    )


def bridge_switched_off(node: str, bridge: str) -> Problem:
    return Problem(
        f"{bridge} is switched off: the pods of this node reach nothing",
        run_on(node, set_link_up(bridge)),
    )


def own_address_missing(node: str, addresses: str) -> Problem:
    return Problem(
        f"pillar says that this node has {addresses}, but no interface has it: peers do not allow "
        "its other addresses",
        "give the interface this address, or correct node-ip in /etc/rancher/k3s/config.yaml and "
        f"refresh the grains ({refresh_grains(node)})",
    )


def no_connected_route(
    node: str, link: str, network: netaddr.IPNetwork, wrong: list[Route]
) -> Problem:
    """The kernel creates this route with the address."""
    how = "scope link" if network.version == 4 else "metric 256"
    words = f"{network.cidr} dev {link} proto kernel {how} src {network.ip}"
    return Problem(
        f"{link} has {network}, but there is no route to {network.cidr} by it"
        f"{instead_there_is(wrong)}",
        run_on(node, *map(delete_route, wrong), ip_route("replace", network.version, words)),
    )


# -- routes to nodes ------------------------------------------------------------------------------


def refused_by_route(node: str, route: Route) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} refuses it", run_on(node, delete_route(route))
    )


def no_route(address: netaddr.IPAddress, error: str) -> Problem:
    by_router = ip_route("add", address.version, f"{address} via ROUTER")
    return Problem(
        f"the kernel has no route to it ({error})",
        f"give the node its default route again, or: {by_router}",
    )


def peer_address_is_ours(
    node: str, peer: str, address: netaddr.IPAddress, length: int, link: str
) -> Problem:
    return Problem(
        f"this node itself has the address of {peer}, on {link}",
        run_on(node, f"ip address del {address}/{length} dev {link}"),
    )


def node_by_pod_interface(device: str, fix: str) -> Problem:
    return Problem(f"goes by {device}, which has only pods behind it", fix)


def not_by_its_link(
    network: netaddr.IPNetwork, link: str, gateway: str, device: str, fix: str
) -> Problem:
    via = f"via {gateway} " if gateway else ""
    return Problem(f"is in {network.cidr} on {link}, but goes {via}by {device}", fix)


def wrong_source(source: str, addresses: Iterable[netaddr.IPAddress], fix: Problem) -> Problem:
    known = ", ".join(map(str, addresses))
    return Problem(
        f"packets to it leave with the address {source}, but peers allow this node only with "
        f"{known}",
        fix.fix,
        fix.see,
    )


# -- routes to services and clients ---------------------------------------------------------------


def no_service_route(node: str, cidr: netaddr.IPNetwork, words: str, runs_k3s: bool) -> Problem:
    later = "" if runs_k3s else ", once K3s runs here"
    return Problem(
        f"neither a default route nor one to the service network {cidr}: programs of this node "
        f"cannot call a service{later}",
        run_on(node, ip_route("add", cidr.version, words)),
    )


def no_way_back(group: str, cause: Problem) -> Problem:
    return Problem(f"no route back to group {group}: {cause.text}", cause.fix)


def back_by_pod_interface(group: str, device: str, fix: str) -> Problem:
    return Problem(
        f"the route back to group {group} goes by {device}, which has only pods behind it", fix
    )


# -- overlaps -------------------------------------------------------------------------------------


def pods_overlap_services(pods: netaddr.IPNetwork, services: netaddr.IPNetwork) -> Problem:
    return Problem(
        f"the pod network {pods} and the service network {services} overlap",
        "correct k3s:pod_cidrs and k3s:service_cidrs in pillar; if K3s itself runs with these "
        "(--cluster-cidr, --service-cidr), the cluster must be created anew",
    )


def link_overlaps(
    name: str, network: netaddr.IPNetwork, what: str, cidr: netaddr.IPNetwork
) -> Problem:
    return Problem(
        f"{name} of this node is in {network}, which overlaps the {what} network {cidr}: which "
        "host gets a packet is undefined",
        "renumber that interface, or create the cluster with another network "
        f"(--{'cluster' if what == 'pod' else 'service'}-cidr)",
    )


def route_leads_out(node: str, route: Route, what: str, cidr: netaddr.IPNetwork) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} leads addresses of the {what} network {cidr} out of "
        "the cluster",
        run_on(node, delete_route(route)),
    )


def route_contains(route: Route, what: str, cidr: netaddr.IPNetwork) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} leads to a network that contains the {what} network "
        f"{cidr}: hosts there with such an address are not reached from here",
        "nothing, if no host there has an address in that part",
    )


def route_discards(node: str, route: Route, what: str) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} discards packets for part of the {what} network",
        run_on(node, delete_route(route)),
    )


# -- pillar against this node ---------------------------------------------------------------------


def other_pod_networks(here: Networks, said: Networks) -> Problem:
    return Problem(
        f"flannel on this node has {_listed(here)} for pods, but pillar has {_listed(said)}: rows "
        "of pods, routes and live connections are judged by the wrong networks",
        write_into_site("pod_cidrs", value=here),
    )


def other_service_network(dns: netaddr.IPAddress, said: Networks) -> Problem:
    return Problem(
        f"the cluster's DNS service has {dns} on this node, which is not in pillar's "
        f"service_cidrs ({_listed(said)})",
        "write the service-cidr of K3s's servers into k3s:service_cidrs in site.sls on the master",
    )


def other_backend(here: FlannelBackend, said: FlannelBackend) -> Problem:
    return Problem(
        f"{_BACKENDS.get(here, f'flannel with {here.value}')} carries the pods of this node, but "
        f"pillar says {said.value}: its ports, interfaces and routes are others",
        write_into_site("flannel_backend", value=here.value),
    )


_BACKENDS = {FlannelBackend.NONE: "another network plugin than flannel"}


def _listed(networks: Networks) -> str:
    return ", ".join(map(str, networks)) or "nothing"


# -- sysctls --------------------------------------------------------------------------------------


def sysctl_off(node: str, value: str, consequence: str) -> Problem:
    return Problem(f"is {value}, so {consequence}", apply_routes(node))


def forwarding_off(node: str, name: str, link: str) -> Problem:
    # The kernel passes a change of the general setting on to the links, and only a change.
    return Problem(
        f"is 0, so packets that arrive on {link} are not forwarded",
        run_on(node, f"sysctl -w {name}=1"),
    )


def strict_reverse_path(node: str, link: str, others: Iterable[str]) -> Problem:
    return Problem(
        f"is strict, but replies to some peers leave by {', '.join(sorted(others))}: what these "
        f"peers send to {link} is dropped",
        apply_routes(node),
    )


# -- MTU ------------------------------------------------------------------------------------------


def mtu_wrong(node: str, evidence: str, link: str, right: int) -> Problem:
    return Problem(evidence, run_on(node, set_mtu(link, right)))


def too_small_for_pods(bridge: Interface, overlay: Interface) -> str:
    return (
        f"pods send packets of up to {bridge.mtu} bytes by {bridge.name}, but {overlay.name} takes "
        f"{overlay.mtu}"
    )


def echoes_need_root() -> Problem:
    return Problem("echoes that may not be fragmented need root", "run the minion as root")


def echo_not_sent(node: str) -> Problem:
    return Problem(
        "this host refuses to send an echo to it",
        f"find the rule that drops on output: {run_on(node, 'nft list ruleset')}",
    )


def echo_refused_by_router(router: str, rejected: bool) -> Problem:
    refuses = "rejects" if rejected else "has no route for"
    return Problem(f"the router {router} {refuses} an echo to it", f"allow it on {router}")


def echo_rejected(peer: str) -> Problem:
    return Problem(
        "it is up but rejects echoes: which sizes pass is not proven",
        f"allow ICMP echo-request on {peer}",
    )


def echo_unreachable(peer: str, family: int) -> Problem:
    """By IPv6 a host that drops neighbour discovery looks like one that is down."""
    if family == 4:
        return Problem(
            "it does not answer ARP on the link: it is down or off the network",
            f"start {peer} and its network",
        )
    return Problem(
        "it does not answer neighbour discovery on the link: it is down, or drops everything, "
        "neighbour discovery included",
        f"{heal(peer)} if its minion answers, otherwise start {peer} and its network",
    )


def echo_silent(peer: str) -> Problem:
    return Problem(
        "no answer to an echo: the node is down, or a firewall drops it",
        see=f"{check_routes(peer)}, if its minion answers",
    )


def path_too_small(by: str, mtu: int, needed: int, fix: str) -> Problem:
    most = f"at most {mtu}" if mtu else "fewer"
    return Problem(
        f"{by} takes {most} bytes on the way to it, and {needed} are needed",
        fix or f"raise the MTU on {by}",
    )


def peer_link_too_small(peer: Node, size: int, passes: int) -> Problem:
    # Only the peer knows how its interface is called.
    device = f'$(ip -o address show to {next(iter(peer.addresses))} | cut -d" " -f2)'
    return Problem(
        f"{size} bytes get no answer, {passes} do: its link takes fewer",
        run_on(peer.name, set_mtu(device, size)),
    )


# -- what else filters packets --------------------------------------------------------------------


def panic_mode(node: str, table: str) -> Problem:
    return Problem(
        f"panic mode drops every packet (table {table})",
        f"{run_on(node, 'firewall-cmd --panic-off')}, once the reason for it is gone",
    )


def leftover_drop_table(node: str, table: str) -> Problem:
    return Problem(
        f"a killed reload left table {table}, which drops every new connection in both "
        "directions although firewalld runs",
        run_on(node, f"nft delete table {table}"),
    )


def ufw_enabled(node: str) -> Problem:
    return Problem("ufw is enabled beside firewalld", run_on(node, "ufw disable"))


def chain_drops(node: str, table: str, chain: str, hook: str, shared: bool) -> Problem:
    """A base chain whose policy is drop.

    shared
        Whether Kubernetes has rules in the table too, so that it must stay.
    """
    fix = run_on(node, f'nft "add chain {table} {chain} {{ policy accept; }}"')
    if not shared:
        fix = f"move its rules to firewalld, then {run_on(node, f'nft delete table {table}')}"
    return Problem(f"table {table} drops in chain {chain} ({hook}) what firewalld allows", fix)


def managed_by_nm(node: str, interfaces: str) -> Problem:
    return Problem(
        f"NetworkManager manages {interfaces}, and may remove their routes", apply_routes(node)
    )


def cloud_setup_enabled(node: str) -> Problem:
    return Problem(
        "nm-cloud-setup is enabled: its routing rules take precedence over the routes to pods",
        f"{run_on(node, CLOUD_SETUP_OFF)}, then reboot",
    )
