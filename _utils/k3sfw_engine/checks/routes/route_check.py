"""check_routes on one node: does every packet find its route, with an address that peers allow.

Pure. It also says what has to be asked: the addresses to look up, and the sizes of echoes. A cause
is reported once: behind a link that is down, no route to a peer is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import (
    messages,
    mtu,
    network_overlaps,
    other_firewalls,
    required_sysctls,
)
from k3sfw_engine.checks.routes.node_routes import judge_nodes, no_route
from k3sfw_engine.checks.routes.overlay_packets import judge_overlay_packets, overlay_addresses
from k3sfw_engine.checks.routes.pillar_against_node import judge_pillar
from k3sfw_engine.checks.routes.pod_routes import judge_pod_routes
from k3sfw_engine.checks.suggested_commands import lookup_in_words
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.checks.zone_of_interface import judge_uplinks
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.echo import SMALL_ECHO, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import REFUSING
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import FlannelBackend
from k3sfw_engine.model.zones import ObservedZones


def judge_routes(
    at: NodeFacts, paths: Mapping[str, PathEchoes] | None, zones: ObservedZones | None = None
) -> tuple[Check, ...]:
    """Every verdict on this node, the worst first.

    paths
        What came back to the echoes, by the peer's address; ``None`` if none could be sent.
    zones
        firewalld's zones; ``None`` if they could not be read.
    """
    nodes, pods = judge_nodes(at, paths), judge_pod_routes(at)
    return worst_first(
        [
            *other_firewalls.judge_drop_table(at),
            *_links(at),
            *_own_addresses(at),
            *nodes.checks,
            *pods.checks,
            *judge_pillar(at),
            *judge_overlay_packets(at),
            *network_overlaps.judge_overlaps(at, pods.networks),
            *network_overlaps.judge_refusing_routes(at, pods.networks),
            *_to_services(at),
            *_to_clients(at),
            *required_sysctls.judge_sysctls(at),
            *mtu.judge_mtus(at),
            *mtu.judge_echoes(at, paths, nodes.blamed),
            *judge_uplinks(at, zones),
            *other_firewalls.judge_other_firewalls(at),
            *other_firewalls.judge_network_managers(at),
        ]
    )


# -- what is asked --------------------------------------------------------------------------------


def targets(at: NodeFacts) -> tuple[str, ...]:
    """The addresses to which the kernel is asked for the route."""
    peers = [str(address) for peer in at.peers for address in peer.addresses]
    services = [str(_within(cidr)) for cidr in at.tables.service_cidrs]
    clients = [str(_within(network)) for _group, network in _client_networks(at)]
    families = {address.version for address in at.node.addresses}
    asked = dict.fromkeys([*peers, *services, *clients])
    return tuple(each for each in asked if (6 if ":" in each else 4) in families)


def echo_sizes(at: NodeFacts) -> dict[str, int]:
    """The addresses to which echoes are sent, each with the size that must pass.

    An address to which the kernel sends nothing is left out.
    """
    if other_firewalls.is_cut_off(at):
        return {}
    sizes = {}
    for _peer, address in at.addresses_of(at.peers):
        lookup = at.lookup(address)
        link = at.network.interfaces.get(lookup.device)
        if link and lookup.kind != "local":
            sizes[str(address)] = mtu.largest_needed(at, link, address.version)
    return {**sizes, **dict.fromkeys(overlay_addresses(at), SMALL_ECHO)}


# -- the node's own links -------------------------------------------------------------------------


def _links(at: NodeFacts) -> Iterator[Check]:
    for link in at.uplinks:
        if not link.up:
            problem = messages.uplink_switched_off(link.name)
            yield at.check(None, "link", Status.LINK_DOWN, problem)
        elif not link.carrier:
            yield at.check(None, "link", Status.LINK_DOWN, messages.no_carrier(link.name))
        else:
            yield at.check(None, "link", Status.OK, f"{link.name} is up")
    # Without pods the bridge has no carrier, and needs none.
    bridge = at.network.interfaces.get(CNI_BRIDGE)
    needed = at.tables.flannel_backend is not FlannelBackend.NONE
    if bridge is not None and not bridge.up and needed:
        problem = messages.bridge_switched_off(at.node.name, bridge.name)
        yield at.check(None, "link", Status.LINK_DOWN, problem)


def _own_addresses(at: NodeFacts) -> Iterator[Check]:
    """Peers allow the addresses in pillar: in each family one of them must be on this host.

    One is enough: peers may know the node by a second address, which NAT translates.
    """
    for family in FAMILIES:
        known = [address for address in at.node.addresses if address.version == family]
        here = [address for address in known if address in at.holders]
        if here:
            evidence = ", ".join(f"{address} is on {at.holders[address]}" for address in here)
            yield at.check(None, "own address", Status.OK, evidence)
        elif known and not at.down:  # A link that goes down loses its IPv6 addresses.
            addresses = ", ".join(map(str, known))
            problem = messages.own_address_missing(at.node.name, addresses)
            yield at.check(None, "own address", Status.SRC_MISMATCH, problem, address=addresses)


# -- routes to services and to clients ------------------------------------------------------------


def _to_services(at: NodeFacts) -> Iterator[Check]:
    """kube-proxy redirects a packet only if the kernel found some route for it.

    https://docs.k3s.io/installation/airgap#default-network-route
    """
    for cidr in at.tables.service_cidrs:
        if cidr.version not in at.families:
            continue
        lookup = at.lookup(_within(cidr))
        if not lookup.error:
            evidence = f"{cidr} has a route ({lookup_in_words(lookup)})"
            yield at.check(None, "default route", Status.OK, evidence)
            continue
        deciding = at.deciding(_within(cidr))
        if deciding is not None and deciding.kind in REFUSING and deciding.destination in cidr:
            continue  # Reported as a refusing route.
        ours = at.own_in(cidr.version)
        device = at.holders.get(ours, "") if ours else ""
        words = f"{cidr} dev {device}" + (f" src {ours}" if cidr.version == 4 else "")
        status = Status.NO_ROUTE if at.runs_k3s else Status.UNPROVEN
        problem = messages.no_service_route(at.node.name, cidr, words, at.runs_k3s)
        yield at.check(None, "default route", status, problem, address=str(cidr))


def _to_clients(at: NodeFacts) -> Iterator[Check]:
    """The routes by which replies to clients leave."""
    for group, network in _client_networks(at):
        if network.version not in at.families:
            continue
        address = _within(network)
        lookup = at.lookup(address)
        if lookup.error:
            status = Status.NO_ROUTE
            cause = no_route(at, address, at.deciding(address))
            problem = messages.no_way_back(group, cause)
        elif lookup.device in at.cni:
            # Clients may be behind a pod that is a VPN gateway.
            status = Status.CONFLICT
            problem = messages.back_by_pod_interface(group, lookup.device)
        else:
            status, problem = Status.OK, Problem(lookup_in_words(lookup))
        yield at.check(None, f"clients {group}", status, problem, address=str(network))


def _client_networks(at: NodeFacts) -> Iterator[tuple[str, netaddr.IPNetwork]]:
    for group, networks in sorted(at.tables.groups.items()):
        if all(network.prefixlen for network in networks):
            for network in networks:
                if not at.is_pod_network(network):  # Routes to pods are judged by themselves.
                    yield group, network


def _within(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    """An address in the network that a host may have."""
    offset = 1 if network.size > 2 else 0
    return netaddr.IPAddress(network.first + offset, network.version)
