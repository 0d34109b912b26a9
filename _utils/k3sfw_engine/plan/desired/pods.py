"""How packets of pods are accepted: by the zone of their interfaces or by their addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k3sfw_engine.model.addresses import FAMILIES, entry
from k3sfw_engine.model.firewall_objects import set_name
from k3sfw_engine.model.kubernetes_names import CNI_INTERFACES, ROUTED_BACKENDS
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS, is_pod_row
from k3sfw_engine.model.rows import FlannelBackend, Row, Source, SourceKind, Tables
from k3sfw_engine.plan.desired.desired_objects import RowRule
from k3sfw_engine.plan.desired.ipsets import AddressSets
from k3sfw_engine.plan.desired.policies import source_matches


def pods_come_by_interface(tables: Tables, rows: Iterable[Row]) -> bool:
    """Whether pods are recognised by the interface of their packets and not by their address.

    An address can be spoofed from outside, an interface of this node cannot.
    """
    return bool(CNI_INTERFACES[tables.flannel_backend]) and any(map(_opens_to_pods, rows))


def _opens_to_pods(row: Row) -> bool:
    return is_pod_row(row) and Source(SourceKind.PODS) in row.sources


def interfaces_of_pods(tables: Tables, overlay: OverlayFacts) -> tuple[str, ...]:
    """The interfaces of the backend, and the devices that flannel has or will have here.

    Its names tell flannel's devices from those that others have for other purposes.
    """
    usual = CNI_INTERFACES[tables.flannel_backend]
    return tuple(sorted({*usual, *(overlay.flannel_names if usual else ())}))


def pods_are_routed(tables: Tables, overlay: OverlayFacts) -> bool | None:
    """Whether packets of other nodes' pods arrive on the node's own interface; None if unknown.

    With a tunnel they do if flannel routes directly to nodes of the same link (DirectRouting).
    Where a tunnel carries them all, a packet from outside with a pod's address is spoofed.
    """
    if tables.flannel_backend is FlannelBackend.NONE:
        return False  # Their interfaces have no zone of ours, and other rules forward them.
    if tables.flannel_backend in ROUTED_BACKENDS:
        return True
    nodes = (address for node in tables.nodes for address in node.addresses)
    configured = overlay.config is not None and overlay.config.direct_routing
    if configured or overlay.direct_routes(tables.pod_cidrs, nodes):
        return True
    # A gateway that is not listed may be a node of which the list is not sure.
    if tables.unsure or overlay.routes_beside_tunnel(tables.pod_cidrs):
        return None
    return False if overlay.carries_pods else None


def routed_pods(tables: Tables, rows: Iterable[Row], sets: AddressSets) -> tuple[RowRule, ...]:
    """Return the rules for packets to pods that arrive on the node's own interface.

    Packets of remote pods have the pod's address, and packets of remote hosts the node's.
    """
    return pods_by_address(tables, rows, sets, (Source(SourceKind.ANY),))


def forwarded_pods(tables: Tables, rows: Iterable[Row], sets: AddressSets) -> tuple[RowRule, ...]:
    """Return the rules for forwarding with another network plugin: from pods, and to them.

    Its interfaces are not known, so they have no zone of ours, and both sides are recognised by
    their addresses.
    """
    rows = tuple(filter(_opens_to_pods, rows))
    if tables.flannel_backend is not FlannelBackend.NONE:
        return ()
    return (*pods_by_address(tables, rows, sets), *_nodes_to_pods(tables, rows))


def _nodes_to_pods(tables: Tables, rows: Iterable[Row]) -> Iterator[RowRule]:
    for row in rows:
        for network in tables.pod_cidrs:
            nodes = set_name(NODE_SETS[SourceKind.ANY], network.version)
            rule = RichRule(network.version, nodes, destination=entry(network))
            yield RowRule(row, rule)


def pods_by_address(
    tables: Tables, rows: Iterable[Row], sets: AddressSets, more: tuple[Source, ...] = ()
) -> tuple[RowRule, ...]:
    """Return rules that accept the sources of the rows for pods, and more, by their addresses."""
    return tuple(
        RowRule(row, RichRule(family, ipset, address))
        for row in rows
        if is_pod_row(row)
        for source in (*row.sources, *more)
        for family in FAMILIES
        for ipset, address in source_matches(source, family, tables, sets)
    )
