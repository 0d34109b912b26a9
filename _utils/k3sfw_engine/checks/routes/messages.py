"""Every sentence of check_routes: what was observed, and what fixes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import netaddr

from k3sfw_engine.checks.suggested_commands import (
    CLOUD_SETUP_OFF,
    apply_routes,
    check_routes,
    heal,
    instead_there_is,
    ip_route,
    refresh_grains,
    route_in_words,
    run_on,
    set_link_up,
    set_mtu,
    until_then,
    write_into_site,
)
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.host_facts import BaseChain
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
        f"{refresh_grains(node)}; if it stays so, correct node-ip in K3s's configuration on "
        f"{node}, or k3s:nodes:{node}:addresses in pillar",
    )


def no_connected_route(
    node: str, link: str, network: netaddr.IPNetwork, others: list[Route], harmless: bool
) -> Problem:
    """The kernel creates this route with the address.

    others
        Routes to exactly this network that lead elsewhere. They stay.
    harmless
        Whether everything that is connected over the network is reached by that route too.
    """
    command = ip_route(
        "prepend", 4, f"{network.cidr} dev {link} proto kernel scope link src {network.ip}"
    )
    if network.version == 6:
        command = ip_route("add", 6, f"{network.cidr} dev {link} proto kernel metric 256")
    return Problem(
        f"{link} has {network}, but there is no route to {network.cidr} by it"
        f"{instead_there_is(others)}",
        until_then(
            f"make the network configuration of {node} keep the route that comes with the address",
            run_on(node, command) if harmless else "",
        ),
    )


# -- routes to nodes ------------------------------------------------------------------------------


def remove_route(route: Route, removal: str) -> str:
    """The fix for a route that leads elsewhere; ``removal`` is empty if it may not just go."""
    return until_then(f"remove the route {route_in_words(route)} where it is set", removal)


def another_table() -> str:
    return "correct the routing rule that takes precedence over the main table (ip rule show)"


def refused_by_route(route: Route, removal: str) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} refuses it",
        remove_route(route, removal),
    )


def no_route(address: netaddr.IPAddress, error: str) -> Problem:
    by_router = ip_route("add", address.version, f"{address} via ROUTER")
    return Problem(
        f"the kernel has no route to it ({error})",
        f"give the node its default route again, or: {by_router}",
    )


def peer_address_is_ours(peer: str, address: netaddr.IPAddress, link: str) -> Problem:
    """An address that moves between nodes is where it should be, and must not be deleted."""
    return Problem(
        f"this node itself has {address}, on {link}, which is an address of {peer} according to "
        "pillar",
        f"{refresh_grains(peer)}; if it stays so, leave an address that moves between nodes out of "
        f"k3s:nodes:{peer}:addresses and node-ip, or give one of the two hosts another address",
    )


def node_by_pod_interface(device: str, fix: str) -> Problem:
    return Problem(f"goes by {device}, which has only pods behind it", fix)


def not_by_its_link(
    network: netaddr.IPNetwork, link: str, gateway: str, device: str, fix: str
) -> Problem:
    via = f"via {gateway} " if gateway else ""
    return Problem(
        f"is in {network.cidr} on {link} and answers there, but goes {via}by {device} and does not "
        "answer that way",
        fix,
    )


def wrong_source(node: Node, source: str, replace: str) -> Problem:
    known = ", ".join(map(str, node.addresses))
    return Problem(
        f"packets to it leave with the address {source}, but peers allow this node only with "
        f"{known}",
        until_then(
            f"{refresh_grains(node.name)}; if it stays so, add {source} to "
            f"k3s:nodes:{node.name}:addresses in pillar if no other host has it, or correct the "
            "source of the route",
            replace,
        ),
    )


# -- routes to services and clients ---------------------------------------------------------------


def no_service_route(node: str, cidr: netaddr.IPNetwork, words: str, runs_k3s: bool) -> Problem:
    later = "" if runs_k3s else ", once K3s runs here"
    return Problem(
        f"neither a default route nor one to the service network {cidr}: programs of this node "
        f"cannot call a service{later}",
        until_then(
            "give the node a default route, or one to the service network, in its network "
            "configuration",
            run_on(node, ip_route("add", cidr.version, words)),
        ),
    )


def no_way_back(group: str, cause: Problem) -> Problem:
    return Problem(f"no route back to group {group}: {cause.text}", cause.fix)


def back_by_pod_interface(group: str, device: str) -> Problem:
    return Problem(
        f"the route back to group {group} goes by {device}, which has only pods behind it",
        "nothing, if a pod leads to these clients; otherwise correct the route where it is set",
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


def route_leads_out(route: Route, what: str, cidr: netaddr.IPNetwork) -> Problem:
    """No command: hosts may be behind the route that no connection shows at present."""
    return Problem(
        f"the route {route_in_words(route)} leads addresses of the {what} network {cidr} out of "
        "the cluster",
        f"{remove_route(route, '')}, or create the cluster with another network",
    )


def by_unknown_neighbour(route: Route) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} leads a part of the pod network to a host that is not "
        "a node in pillar",
        f"if {route.gateway} is a node, run a minion with the grain k3s_role on it, or enter it "
        f"into k3s:nodes; otherwise {remove_route(route, '')}",
    )


def route_contains(route: Route, what: str, cidr: netaddr.IPNetwork) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} leads to a network that contains the {what} network "
        f"{cidr}: hosts there with such an address are not reached from here",
        "nothing, if no host there has an address in that part",
    )


def route_discards(route: Route, what: str, removal: str) -> Problem:
    return Problem(
        f"the route {route_in_words(route)} discards packets for part of the {what} network",
        remove_route(route, removal),
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
        until_then(
            "remove the setting from the file below /etc/sysctl.d that makes it",
            run_on(node, f"sysctl -w {name}=1"),
        ),
    )


def strict_reverse_path(node: str, link: str, others: Iterable[str]) -> Problem:
    return Problem(
        f"is strict, but replies to some peers leave by {', '.join(sorted(others))}: what these "
        f"peers send to {link} is dropped",
        apply_routes(node),
    )


# -- MTU ------------------------------------------------------------------------------------------


def mtu_too_large(evidence: str, excess: int, link: str, shrink: str) -> Problem:
    """The link keeps its MTU: its network may not carry more."""
    return Problem(
        f"{evidence}: {excess} bytes too many",
        until_then(f"give {link} the MTU of its network at boot, then restart K3s", shrink),
    )


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


def echo_silent(peer: str, detour: str) -> Problem:
    """``detour`` is the way to it, if that is not the link of their common network."""
    way = f" (sent {detour}, although it is in a network of this node)" if detour else ""
    return Problem(
        f"no answer to an echo{way}: the node is down, or a firewall drops it",
        see=f"{check_routes(peer)}, if its minion answers",
    )


def path_too_small(by: str, mtu: int, needed: int, shrink: str) -> Problem:
    most = f"at most {mtu}" if mtu else "fewer"
    return Problem(
        f"{by} takes {most} bytes on the way to it, and {needed} are needed",
        until_then(f"raise the MTU on {by}", shrink),
    )


def peer_link_too_small(peer: str, size: int, passes: int, shrink: str) -> Problem:
    """Only who runs the network knows which of the two ends is right."""
    return Problem(
        f"{size} bytes get no answer, {passes} do: its link takes fewer",
        until_then(f"give the links of {peer} and of this node the MTU of their network", shrink),
    )


# -- what else filters packets --------------------------------------------------------------------


def panic_mode(node: str, table: str) -> Problem:
    return Problem(
        f"panic mode drops every packet (table {table})",
        f"{run_on(node, 'firewall-cmd --panic-off')}, once the reason for it is gone",
    )


def leftover_drop_table(node: str, table: str) -> Problem:
    """heal looks first whether firewalld's own rules are there, and deletes the table then."""
    return Problem(
        f"a killed reload left table {table}, which drops every new connection in both "
        "directions although firewalld runs",
        heal(node),
    )


def ufw_enabled(node: str) -> Problem:
    return Problem("ufw is enabled beside firewalld", run_on(node, "ufw disable"))


def chain_closes(chain: BaseChain, files: tuple[str, ...], accept_pods: str) -> Problem:
    """A chain of another firewall that drops or rejects what its rules do not accept.

    files
        The files that set such rules at boot.
    accept_pods
        The command that lets pods through this chain; empty if that does not help.
    """
    how = "by its policy" if chain.policy == "drop" else "by its last rule"
    where = f" in {' or '.join(files)}" if files else ""
    return Problem(
        f"table {chain.table} closes chain {chain.name} ({chain.hook}) {how}: what firewalld "
        "allows does not pass unless a rule there allows it too",
        until_then(
            f"allow{where} what the rows allow, or leave filtering to firewalld and remove that "
            "firewall's rules where they are set",
            accept_pods,
        ),
    )


def managed_by_nm(node: str, interfaces: str, override: str) -> Problem:
    """``override`` is the file that replaces the list of k3s.routes."""
    text = f"NetworkManager manages {interfaces}, and may remove their routes"
    if not override:
        return Problem(text, apply_routes(node))
    return Problem(
        f"{text}: {override} replaces the list of unmanaged devices",
        f"write unmanaged-devices+= in {override} of {node}, then nmcli general reload conf there",
    )


def networkd_drops_routes(node: str) -> Problem:
    return Problem(
        "systemd-networkd drops the routes to pods whenever it starts, as they are not its own "
        "(ManageForeignRoutes, ManageForeignRoutingPolicyRules)",
        apply_routes(node),
    )


def cloud_setup_enabled(node: str) -> Problem:
    return Problem(
        "nm-cloud-setup is enabled: its routing rules take precedence over the routes to pods",
        f"{run_on(node, CLOUD_SETUP_OFF)}, then reboot; more addresses of the node that it has set "
        "are then set by hand",
    )
