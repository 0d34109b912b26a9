"""Tables as plain data, and back: the form in which they are kept and sent.

It is the tree below ``k3s`` without what only the reading of it needs: defaults, claims and doubts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import ROOT, FlannelBackend, PodsFrom, Promise, Row, Tables
from k3sfw_engine.port_tables.believed_addresses import Trust
from k3sfw_engine.port_tables.defaults import TABLE_NAMES
from k3sfw_engine.port_tables.findings import Findings
from k3sfw_engine.port_tables.read_nodes import read_nodes
from k3sfw_engine.port_tables.read_pod_networks import read_pod_networks
from k3sfw_engine.port_tables.read_rows import read_groups, read_peer_ports, read_ports
from k3sfw_engine.port_tables.read_tests import read_tests
from k3sfw_engine.port_tables.single_values import choice, mapping, networks, text


def tables_as_tree(tables: Tables) -> dict[str, Any]:
    """Return the tables as plain data; nodes without a believed address are left out."""
    pods_from = PodsFrom.ADDRESSES if tables.pods_by_address else PodsFrom.INTERFACES
    tree: dict[str, Any] = {
        "cluster": tables.cluster,
        "flannel_backend": tables.flannel_backend.value,
        "pod_cidrs": list(map(str, tables.pod_cidrs)),
        "service_cidrs": list(map(str, tables.service_cidrs)),
        "groups": {name: list(map(str, members)) for name, members in tables.groups.items()},
        "ports": _ports(tables.rows),
        "nodes": {
            node.name: {
                "role": node.role.value,
                "addresses": list(map(str, node.addresses)),
                **({"pod_cidrs": list(map(str, node.pod_cidrs))} if node.pod_cidrs else {}),
            }
            for node in tables.nodes
            if node.addresses
        },
        "tests": {promise.name: _test(promise) for promise in tables.promises},
        "firewall": {"pods_from": pods_from.value},
    }
    if tables.peer_rows is not None:
        tree["peer_ports"] = _ports(tables.peer_rows)
    return tree


def tables_of_tree(tree: object) -> Tables:
    """Read tables that were kept. Raises ``BadTables`` if they cannot be read."""
    found = Findings()
    kept = mapping(found, ROOT, tree)
    groups = read_groups(found, kept.get("groups", {}))
    backend = choice(found, f"{ROOT}:flannel_backend", kept.get("flannel_backend"), FlannelBackend)
    rows = read_ports(found, kept, groups, backend)
    peer_rows = read_peer_ports(found, kept, groups, backend)
    pods = networks(found, f"{ROOT}:pod_cidrs", kept.get("pod_cidrs"))
    services = networks(found, f"{ROOT}:service_cidrs", kept.get("service_cidrs"))
    promises = read_tests(found, kept.get("tests", {}), groups, backend)
    nodes = read_nodes(found, kept, Trust("", (), ()))
    nodes = read_pod_networks(found, nodes, kept.get("nodes"), pods)
    cluster = text(found, f"{ROOT}:cluster", kept.get("cluster"))
    firewall = mapping(found, f"{ROOT}:firewall", kept.get("firewall", {}))
    if found.faults or backend is None:
        raise BadTables(found.faults)
    return Tables(
        cluster=cluster,
        flannel_backend=backend,
        rows=rows,
        peer_rows=peer_rows,
        groups=groups,
        pod_cidrs=pods,
        service_cidrs=services,
        nodes=nodes,
        pods_by_address=firewall.get("pods_from") == PodsFrom.ADDRESSES.value,
        promises=promises,
    )


def _ports(rows: Iterable[Row]) -> Mapping[str, Any]:
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLE_NAMES}
    for row in rows:
        ports = [str(each) if each.low < each.high else each.low for each in row.ports]
        tables[row.table][row.name] = {
            "protocol": row.protocol.value,
            **({"port": ports} if ports else {}),
            "source": list(map(str, row.sources)),
            "destination": row.destination.value,
            "description": row.description,
        }
    return tables


def _test(promise: Promise) -> Mapping[str, Any]:
    lists = {
        "from": promise.sources,
        "except": promise.exceptions,
        "to": promise.destinations,
        "accept": promise.accept,
        "deny": promise.deny,
        "ask_from": promise.ask_from,
    }
    return {
        **{key: list(map(str, values)) for key, values in lists.items() if values},
        "why": promise.why,
        "severity": promise.severity.value,
        "expect": promise.expect.value,
        "opened_by": promise.opened_by.value,
    }
