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
from k3sfw_engine.checks.routes.pillar_against_node import judge_pillar
from k3sfw_engine.checks.routes.pod_routes import judge_pod_routes
from k3sfw_engine.checks.suggested_commands import delete_route, ip_route, route_in_words
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.checks.zone_of_interface import judge_uplinks
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.echo import PathEchoes
from k3sfw_engine.model.interfaces_and_routes import REFUSING, Interface, Lookup, Route
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import FlannelBackend, Node
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
    pods = judge_pod_routes(at)
    return worst_first(
        [
            *other_firewalls.judge_drop_table(at),
            *_links(at),
            *_own_addresses(at),
            *_connected(at),
            *_to_nodes(at),
            *pods.checks,
            *judge_pillar(at),
            *network_overlaps.judge_overlaps(at, pods.networks),
            *network_overlaps.judge_refusing_routes(at, pods.networks),
            *_to_services(at),
            *_to_clients(at),
            *required_sysctls.judge_sysctls(at),
            *mtu.judge_mtus(at),
            *mtu.judge_echoes(at, paths),
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

    An address to which no packet can pass, for a cause reported elsewhere, is left out.
    """
    if other_firewalls.is_cut_off(at):
        return {}
    sizes = {}
    for peer, address in at.addresses_of(at.peers):
        lookup = at.lookup(address)
        link = at.network.interfaces.get(lookup.device)
        if link and not _fault_to_node(at, peer, address) and not _is_unconnected(at, address):
            sizes[str(address)] = mtu.largest_needed(at, link, address.version)
    return sizes


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


def _connected(at: NodeFacts) -> Iterator[Check]:
    """The route to the network of an own address, which the kernel creates with the address."""
    for link, network in _own_networks(at):
        if _is_connected(at, link, network):
            yield at.check(None, "own network", Status.OK, f"{network.cidr} is on {link.name}")
            continue
        wrong = at.exact(network.cidr)
        problem = messages.no_connected_route(at.node.name, link.name, network, wrong)
        yield at.check(None, "own network", Status.NO_ROUTE, problem, address=str(network.cidr))


def _own_networks(at: NodeFacts) -> Iterator[tuple[Interface, netaddr.IPNetwork]]:
    own = set(at.own)
    for link in at.uplinks:
        for network in link.addresses:
            if link not in at.down and network.ip in own and network.size > 1:
                yield link, network


def _is_connected(at: NodeFacts, link: Interface, network: netaddr.IPNetwork) -> bool:
    return any(hop.device == link.name for r in at.exact(network.cidr) for hop in r.hops)


def _is_unconnected(at: NodeFacts, address: netaddr.IPAddress) -> bool:
    """Whether the address needs a connected route that is missing, which is reported once."""
    return any(
        address in network and not _is_connected(at, link, network)
        for link, network in _own_networks(at)
        if network.version == address.version
    )


# -- routes to nodes ------------------------------------------------------------------------------


def _to_nodes(at: NodeFacts) -> Iterator[Check]:
    for peer, address in at.addresses_of(at.peers):
        if _is_unconnected(at, address):
            continue
        lookup = at.lookup(address)
        evidence = f"{_by(lookup)} src {lookup.source}"
        yield _fault_to_node(at, peer, address) or at.check(
            peer, "node", Status.OK, evidence, address=str(address)
        )


def _fault_to_node(at: NodeFacts, peer: Node, address: netaddr.IPAddress) -> Check | None:
    """The verdict on a wrong route to a peer's address; None if it is right."""
    lookup = at.lookup(address)
    deciding = at.deciding(address)
    near = at.prefix_of(address)
    status = Status.WRONG_ROUTE
    removal = at.run_here(delete_route(deciding)) if deciding else ""
    if lookup.error:
        status, problem = Status.NO_ROUTE, _no_route(at, address, deciding)
    elif lookup.kind == "local":
        holder = at.holders.get(address, "lo")
        length = _length_on(at, address, holder)
        problem = messages.peer_address_is_ours(at.node.name, peer.name, address, length, holder)
    elif lookup.device in at.cni:
        problem = messages.node_by_pod_interface(lookup.device, removal)
    elif near and (lookup.device != near[1] or lookup.gateway):
        problem = messages.not_by_its_link(*near, lookup.gateway, lookup.device, removal)
    elif lookup.source and netaddr.IPAddress(lookup.source) not in at.node.addresses:
        status = Status.SRC_MISMATCH
        fix = _with_source(at, lookup.device, address.version, deciding)
        problem = messages.wrong_source(lookup.source, at.node.addresses, fix)
    else:
        return None
    return at.check(peer, "node", status, problem, address=str(address))


def _no_route(at: NodeFacts, address: netaddr.IPAddress, deciding: Route | None) -> Problem:
    if deciding is not None and deciding.kind in REFUSING:
        return messages.refused_by_route(at.node.name, deciding)
    return messages.no_route(address, at.lookup(address).error)


def _length_on(at: NodeFacts, address: netaddr.IPAddress, device: str) -> int:
    link = at.network.interfaces.get(device)
    lengths = [each.prefixlen for each in link.addresses if each.ip == address] if link else []
    return lengths[0] if lengths else (32 if address.version == 4 else 128)


def _with_source(at: NodeFacts, device: str, family: int, route: Route | None) -> Problem:
    """How to make packets leave with the node's own address."""
    ours = at.own_in(family, device)
    if route is None or ours is None:
        return Problem("", see="ip rule: another table decides")
    words = [route_in_words(route)]
    # These keep the route what it is: without them ip would create another one beside it.
    words += [f"proto {route.protocol}"] if route.protocol else []
    words += [f"scope {route.scope}"] if route.scope == "link" else []
    words.append(f"src {ours}")
    return Problem("", at.run_here(ip_route("replace", family, " ".join(words))))


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
            evidence = f"{cidr} has a route ({_by(lookup)})"
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
        deciding = at.deciding(address)
        if lookup.error:
            status = Status.NO_ROUTE
            problem = messages.no_way_back(group, _no_route(at, address, deciding))
        elif lookup.device in at.cni:
            status = Status.WRONG_ROUTE
            fix = at.run_here(delete_route(deciding)) if deciding else ""
            problem = messages.back_by_pod_interface(group, lookup.device, fix)
        else:
            status, problem = Status.OK, Problem(_by(lookup))
        yield at.check(None, f"clients {group}", status, problem, address=str(network))


def _by(lookup: Lookup) -> str:
    return f"{f'via {lookup.gateway} ' if lookup.gateway else ''}dev {lookup.device}"


def _client_networks(at: NodeFacts) -> Iterator[tuple[str, netaddr.IPNetwork]]:
    for group, networks in sorted(at.tables.groups.items()):
        if all(network.prefixlen for network in networks):
            for network in networks:
                yield group, network


def _within(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    """An address in the network that a host may have."""
    offset = 1 if network.size > 2 else 0
    return netaddr.IPAddress(network.first + offset, network.version)
