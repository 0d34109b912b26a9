"""check_routes on one node: does every packet of the cluster find its way, and with which address.

Pure: what was read comes in as a ``Situation`` and the echoes as ``Path``. One function a matter.
What follows from a cause that is reported already is not reported again: behind a link that is
down nobody's route is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.checks import zone_of_interface
from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import mtu, network_overlaps, other_firewalls, required_sysctls
from k3sfw_engine.checks.routes.pod_routes import to_pods
from k3sfw_engine.checks.suggested_commands import delete, ip_route, spec
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.echo import PathEchoes
from k3sfw_engine.model.interfaces_and_routes import REFUSING, Interface, Route
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.rows import FlannelBackend, Node


def judge_routes(at: NodeFacts, paths: Mapping[str, PathEchoes] | None) -> tuple[Check, ...]:
    """Every answer about this node, worst first.

    paths
        What became of the echoes to the peers' addresses, ``None`` if none could be sent.
    """
    pods = to_pods(at)
    return worst_first(
        [
            *other_firewalls.cut_off(at),
            *_links(at),
            *_own_addresses(at),
            *_connected(at),
            *_to_nodes(at),
            *pods.checks,
            *network_overlaps.judge_overlaps(at, pods.networks),
            *network_overlaps.refusing(at, pods.networks),
            *_to_services(at),
            *_to_clients(at),
            *required_sysctls.judge_sysctls(at),
            *mtu.sizes(at),
            *mtu.paths_proven(at, paths),
            *zone_of_interface.judge_zones_of_uplinks(at),
            *other_firewalls.other_firewalls(at),
            *other_firewalls.other_managers(at),
        ]
    )


# -- what is asked --------------------------------------------------------------------------------


def targets(at: NodeFacts) -> tuple[str, ...]:
    """The addresses that the kernel is asked the way to."""
    peers = [str(address) for peer in at.peers for address in peer.addresses]
    services = [str(_within(cidr)) for cidr in at.tables.service_cidrs]
    clients = [str(_within(network)) for _group, network in _client_networks(at)]
    families = {address.version for address in at.node.addresses}
    asked = dict.fromkeys([*peers, *services, *clients])
    return tuple(each for each in asked if (6 if ":" in each else 4) in families)


def echo_sizes(at: NodeFacts) -> dict[str, int]:
    """The addresses that an echo shall prove the size to, and the size that must pass.

    None where what is known already says that it cannot.
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
    bridge = at.network.interfaces.get(CNI_BRIDGE)
    for link in at.uplinks:
        if not link.up:
            yield _link_down(
                at,
                f"{link.name} is switched off: no peer is reached by it",
                # Nor does the master reach it.
                f"ip link set {link.name} up, on the node itself",
            )
        elif not link.carrier:
            yield _link_down(
                at,
                f"{link.name} has no carrier: no peer is reached by it",
                "plug its cable in, or see why its driver or bond has no carrier",
            )
        else:
            yield at.check(None, "link", Status.OK, evidence=f"{link.name} is up")
    # Without pods the bridge has no carrier, and needs none.
    if (
        bridge is not None
        and not bridge.up
        and at.tables.flannel_backend is not FlannelBackend.NONE
    ):
        yield _link_down(
            at,
            f"{bridge.name} is switched off: this node's pods reach nobody",
            at.typed(f"ip link set {bridge.name} up"),
        )


def _link_down(at: NodeFacts, evidence: str, hint: str) -> Check:
    return at.check(None, "link", Status.LINK_DOWN, evidence=evidence, hint=hint)


def _own_addresses(at: NodeFacts) -> Iterator[Check]:
    """Peers let in what comes from the addresses in pillar: in each family one must be here.

    One alone: peers may know the node by another one too, which a NAT puts in the place of this.
    """
    for family in FAMILIES:
        known = [address for address in at.node.addresses if address.version == family]
        here = [address for address in known if address in at.holders]
        if here:
            evidence = ", ".join(f"{address} is on {at.holders[address]}" for address in here)
            yield at.check(None, "own address", Status.OK, evidence=evidence)
        elif known and not at.down:  # A link that goes down loses its IPv6 addresses.
            addresses = ", ".join(map(str, known))
            yield at.check(
                None,
                "own address",
                Status.SRC_MISMATCH,
                address=addresses,
                evidence=f"pillar says that this node has {addresses}, and no interface has it: "
                "peers do not let its other addresses in",
                hint="give the interface this address, or correct node-ip in "
                "/etc/rancher/k3s/config.yaml and refresh the grains "
                f"(salt {at.node.name} saltutil.refresh_grains)",
            )


def _connected(at: NodeFacts) -> Iterator[Check]:
    """The route to the network that an own address is in; the kernel makes it with the address."""
    for link, network in _own_networks(at):
        if _is_connected(at, link, network):
            evidence = f"{network.cidr} is on {link.name}"
            yield at.check(None, "own network", Status.OK, evidence=evidence)
            continue
        how = "scope link" if network.version == 4 else "metric 256"
        words = f"{network.cidr} dev {link.name} proto kernel {how} src {network.ip}"
        wrong = at.exact(network.cidr)
        instead = f"; instead there is {', '.join(map(spec, wrong))}" if wrong else ""
        yield at.check(
            None,
            "own network",
            Status.NO_ROUTE,
            address=str(network.cidr),
            evidence=f"{link.name} has {network}, and there is no route to {network.cidr} by it"
            f"{instead}",
            hint=at.typed(*map(delete, wrong), ip_route("replace", network.version, words)),
        )


def _own_networks(at: NodeFacts) -> Iterator[tuple[Interface, netaddr.IPNetwork]]:
    own = set(at.own)
    for link in at.uplinks:
        for network in link.addresses:
            if link not in at.down and network.ip in own and network.size > 1:
                yield link, network


def _is_connected(at: NodeFacts, link: Interface, network: netaddr.IPNetwork) -> bool:
    return any(hop.device == link.name for r in at.exact(network.cidr) for hop in r.hops)


def _is_unconnected(at: NodeFacts, address: netaddr.IPAddress) -> bool:
    """Whether the route is missing that the address depends on, and that is reported once."""
    return any(
        address in network and not _is_connected(at, link, network)
        for link, network in _own_networks(at)
        if network.version == address.version
    )


# -- the way to nodes -----------------------------------------------------------------------------


def _to_nodes(at: NodeFacts) -> Iterator[Check]:
    for peer, address in at.addresses_of(at.peers):
        if _is_unconnected(at, address):
            continue
        fault = _fault_to_node(at, peer, address)
        lookup = at.lookup(address)
        way = f"via {lookup.gateway} " if lookup.gateway else ""
        yield fault or at.check(
            peer,
            "node",
            Status.OK,
            address=str(address),
            evidence=f"{way}dev {lookup.device} src {lookup.source}",
        )


def _fault_to_node(at: NodeFacts, peer: Node, address: netaddr.IPAddress) -> Check | None:
    lookup = at.lookup(address)
    deciding = at.deciding(address)
    near = at.prefix_of(address)
    status = Status.WRONG_ROUTE
    hint = at.typed(delete(deciding)) if deciding else ""
    if lookup.error:
        status = Status.NO_ROUTE
        evidence, hint = _no_way(at, address, deciding)
    elif lookup.kind == "local":
        holder = at.holders.get(address, "lo")
        evidence = f"this node has the address of {peer.name} itself, on {holder}"
        length = _length_on(at, address, holder)
        hint = at.typed(f"ip address del {address}/{length} dev {holder}")
    elif lookup.device in at.cni:
        evidence = f"goes by {lookup.device}, where only pods are"
    elif near and (lookup.device != near[1] or lookup.gateway):
        way = f"via {lookup.gateway} " if lookup.gateway else ""
        evidence = f"is in {near[0].cidr} on {near[1]}, and goes {way}by {lookup.device}"
    elif lookup.source and netaddr.IPAddress(lookup.source) not in at.node.addresses:
        status = Status.SRC_MISMATCH
        evidence = (
            f"packets to it leave with the address {lookup.source}, and peers let this node in by "
            f"{', '.join(map(str, at.node.addresses))} alone"
        )
        hint = _with_source(at, lookup.device, address.version, deciding)
    else:
        return None
    return at.check(peer, "node", status, address=str(address), evidence=evidence, hint=hint)


def _no_way(at: NodeFacts, address: netaddr.IPAddress, deciding: Route | None) -> tuple[str, str]:
    if deciding is not None and deciding.kind in REFUSING:
        return f"the route {spec(deciding)} refuses it", at.typed(delete(deciding))
    gateway = "give the node its default route again, or: " + ip_route(
        "add", address.version, f"{address} via ROUTER"
    )
    return f"the kernel has no route to it ({at.lookup(address).error})", gateway


def _length_on(at: NodeFacts, address: netaddr.IPAddress, device: str) -> int:
    link = at.network.interfaces.get(device)
    lengths = [each.prefixlen for each in link.addresses if each.ip == address] if link else []
    return lengths[0] if lengths else (32 if address.version == 4 else 128)


def _with_source(at: NodeFacts, device: str, family: int, route: Route | None) -> str:
    ours = at.own_in(family, device)
    if route is None or ours is None:
        return "see ip rule: another table decides over it"
    words = [spec(route)]
    # A route by the link alone stays one: otherwise it would be another route beside it.
    words += [f"proto {route.protocol}"] if route.protocol else []
    words += [f"scope {route.scope}"] if route.scope == "link" else []
    words.append(f"src {ours}")
    return at.typed(ip_route("replace", family, " ".join(words)))


# -- the way to services and to clients -----------------------------------------------------------


def _to_services(at: NodeFacts) -> Iterator[Check]:
    """kube-proxy redirects a packet only after the kernel found some route for it.

    https://docs.k3s.io/installation/airgap#default-network-route
    """
    for cidr in at.tables.service_cidrs:
        if cidr.version not in at.families:
            continue
        lookup = at.lookup(_within(cidr))
        if not lookup.error:
            way = f"via {lookup.gateway} " if lookup.gateway else ""
            evidence = f"{cidr} has a route ({way}dev {lookup.device})"
            yield at.check(None, "default route", Status.OK, evidence=evidence)
            continue
        deciding = at.deciding(_within(cidr))
        if deciding is not None and deciding.kind in REFUSING and deciding.destination in cidr:
            continue  # Reported as a refusing route.
        ours = at.own_in(cidr.version)
        device = at.holders.get(ours, "") if ours else ""
        words = f"{cidr} dev {device}" + (f" src {ours}" if cidr.version == 4 else "")
        yield at.check(
            None,
            "default route",
            Status.NO_ROUTE if at.runs_k3s else Status.UNPROVEN,
            address=str(cidr),
            evidence=f"neither a default route nor one to the service network {cidr}: this "
            "node's own programs cannot call a service"
            + ("" if at.runs_k3s else ", once K3s runs here"),
            hint=at.typed(ip_route("add", cidr.version, words)),
        )


def _to_clients(at: NodeFacts) -> Iterator[Check]:
    """What a client asks for comes back by this node's routes."""
    for group, network in _client_networks(at):
        if network.version not in at.families:
            continue
        address = _within(network)
        lookup = at.lookup(address)
        deciding = at.deciding(address)
        if lookup.error:
            evidence, hint = _no_way(at, address, deciding)
            status, evidence = Status.NO_ROUTE, f"no way back to group {group}: {evidence}"
        elif lookup.device in at.cni:
            status = Status.WRONG_ROUTE
            evidence = f"the way back to group {group} goes by {lookup.device}, where only pods are"
            hint = at.typed(delete(deciding)) if deciding else ""
        else:
            way = f"via {lookup.gateway} " if lookup.gateway else ""
            status, evidence, hint = Status.OK, f"{way}dev {lookup.device}", ""
        yield at.check(
            None,
            f"clients {group}",
            status,
            address=str(network),
            evidence=evidence,
            hint=hint,
        )


def _client_networks(at: NodeFacts) -> Iterator[tuple[str, netaddr.IPNetwork]]:
    for group, networks in sorted(at.tables.groups.items()):
        if all(network.prefixlen for network in networks):
            for network in networks:
                yield group, network


def _within(network: netaddr.IPNetwork) -> netaddr.IPAddress:
    offset = 1 if network.size > 2 else 0
    return netaddr.IPAddress(network.first + offset, network.version)
