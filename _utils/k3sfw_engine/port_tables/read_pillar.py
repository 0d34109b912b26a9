"""The whole tree below the pillar key ``k3s``: typed tables, or every fault at once.

Pure: plain data in, frozen data out. It knows neither Salt nor firewalld.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from k3sfw_engine.errors import BadTables, Fault
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.rows import ROOT, FlannelBackend, Node, PodsFrom, Tables
from k3sfw_engine.port_tables.believed_addresses import Trust
from k3sfw_engine.port_tables.defaults import POD_CIDRS, SERVICE_CIDRS
from k3sfw_engine.port_tables.findings import Findings, short
from k3sfw_engine.port_tables.read_nodes import (
    note_unheard_minions,
    read_nodes,
    refuse_wrong_role,
)
from k3sfw_engine.port_tables.read_pod_networks import read_pod_networks
from k3sfw_engine.port_tables.read_rows import read_groups, read_ports, read_tables
from k3sfw_engine.port_tables.single_values import (
    boolean,
    choice,
    mapping,
    networks,
    refuse_unknown_keys,
    text,
)

_KEYS = {
    *("cluster", "flannel_backend", "pod_cidrs", "service_cidrs", "ports", "peer_ports"),
    *("groups", "nodes", "unheard_minions", "node_cidrs", "firewall"),
    "schedule",  # k3s.schedule reads it; here it only must not be taken for a spelling error.
}


class _FirewallSettings(NamedTuple):
    """What stands below ``k3s:firewall``."""

    pods_from: PodsFrom | None
    expected_nodes: int | None
    allow_lockout: bool


def parse_tables(pillar: object, *, minion_id: str, role: str | None) -> Tables:
    """Turn the pillar tree below ``k3s`` into ``Tables``.

    pillar
        What stands below the key ``k3s``, as plain Python data; ``None`` if there is nothing.
    minion_id
        The node that the tables are for; it must be one of the nodes.
    role
        The role that this node's grain gives, ``None`` if it has none.

    Raises ``BadTables`` with every fault that was found.
    """
    if pillar is None:
        raise BadTables([_no_pillar(minion_id)])
    found = Findings()
    tree = mapping(found, ROOT, pillar)
    refuse_unknown_keys(found, ROOT, tree, _KEYS)
    cluster = text(found, f"{ROOT}:cluster", tree.get("cluster", "default"))
    flannel = tree.get("flannel_backend", "vxlan")
    backend = choice(found, f"{ROOT}:flannel_backend", flannel, FlannelBackend)
    own = Findings()
    pod_cidrs = networks(own, f"{ROOT}:pod_cidrs", tree.get("pod_cidrs", POD_CIDRS))
    found.add(own)
    services = tree.get("service_cidrs", SERVICE_CIDRS)
    service_cidrs = networks(found, f"{ROOT}:service_cidrs", services)
    groups = read_groups(found, tree.get("groups", {}))
    rows = read_ports(found, tree, groups, backend)
    peer_rows = None
    if "peer_ports" in tree:
        peer_rows = read_tables(found, f"{ROOT}:peer_ports", tree["peer_ports"], groups, backend)
    nodes = _nodes(found, tree, minion_id, () if own.faults else pod_cidrs, service_cidrs)
    firewall = _firewall(found, tree.get("firewall", {}), nodes)
    refuse_wrong_role(found, minion_id, role, tree.get("nodes"))
    if found.faults or backend is None:
        raise BadTables(found.faults)
    return Tables(
        cluster=cluster,
        flannel_backend=backend,
        rows=rows,
        peer_rows=peer_rows,
        groups=groups,
        pod_cidrs=pod_cidrs,
        service_cidrs=service_cidrs,
        nodes=nodes,
        unsure=tuple(found.unsure),
        notices=tuple(found.notices),
        pods_by_address=firewall.pods_from is PodsFrom.ADDRESSES,
        expected_nodes=firewall.expected_nodes,
        allow_lockout=firewall.allow_lockout,
    )


def _no_pillar(minion_id: str) -> Fault:
    return Fault(
        ROOT,
        f"there is no such key for minion {minion_id}",
        "target pillar/k3s at this minion in the pillar top file (it needs the grain k3s_role), "
        "then run saltutil.refresh_pillar",
    )


def _nodes(
    found: Findings,
    tree: Mapping[Any, Any],
    minion_id: str,
    pod_cidrs: Networks,
    service_cidrs: Networks,
) -> tuple[Node, ...]:
    node_cidrs: Networks = ()
    if "node_cidrs" in tree:
        node_cidrs = networks(found, f"{ROOT}:node_cidrs", tree["node_cidrs"])
    nodes = read_nodes(found, tree, Trust(minion_id, node_cidrs, (*pod_cidrs, *service_cidrs)))
    nodes = read_pod_networks(found, nodes, tree.get("nodes"), pod_cidrs)
    note_unheard_minions(found, tree.get("unheard_minions", ()), nodes)
    return nodes


def _firewall(found: Findings, value: object, nodes: tuple[Node, ...]) -> _FirewallSettings:
    path = f"{ROOT}:firewall"
    settings = mapping(found, path, value)
    refuse_unknown_keys(found, path, settings, {"expected_nodes", "pods_from", "allow_lockout"})
    expected = None
    if "expected_nodes" in settings:
        where = f"{path}:expected_nodes"
        expected = _expected_nodes(found, where, settings["expected_nodes"], nodes)
    allowed = boolean(found, f"{path}:allow_lockout", settings.get("allow_lockout", False))
    pods_from = settings.get("pods_from", PodsFrom.INTERFACES.value)
    return _FirewallSettings(
        pods_from=choice(found, f"{path}:pods_from", pods_from, PodsFrom),
        expected_nodes=expected,
        allow_lockout=allowed is True,
    )


def _expected_nodes(
    found: Findings, path: str, expected: object, nodes: tuple[Node, ...]
) -> int | None:
    if not isinstance(expected, int) or isinstance(expected, bool) or expected < 1:
        found.fault(path, f"{short(expected)} is not a number of nodes")
        return None
    if len(nodes) < expected:
        found.unsure.append(f"{len(nodes)} nodes are known and {path} is {short(expected)}")
    return expected
