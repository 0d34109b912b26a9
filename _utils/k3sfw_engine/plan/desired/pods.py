"""How packets of pods are accepted: by the zone of their interfaces or by their addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.kubernetes_names import CNI_INTERFACES
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import FlannelBackend, Row, Source, SourceKind, Tables
from k3sfw_engine.plan.desired.desired_objects import RowRule
from k3sfw_engine.plan.desired.ipsets import AddressSets
from k3sfw_engine.plan.desired.policies import source_matches


def pods_come_by_interface(tables: Tables, rows: Iterable[Row]) -> bool:
    """Whether pods are recognised by the interface of their packets and not by their address.

    An address can be spoofed from outside, an interface of this node cannot.
    """
    return bool(CNI_INTERFACES[tables.flannel_backend]) and any(
        is_pod_row(row) and Source(SourceKind.PODS) in row.sources for row in rows
    )


def routed_pods(tables: Tables, rows: Iterable[Row], sets: AddressSets) -> tuple[RowRule, ...]:
    """Return the rules for packets to pods that arrive on the node's own interface.

    With host-gw, packets of remote pods have the pod's address, and packets of remote hosts the
    node's.
    """
    if tables.flannel_backend is not FlannelBackend.HOST_GW:
        return ()
    return pods_by_address(tables, rows, sets, (Source(SourceKind.ANY),))


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
