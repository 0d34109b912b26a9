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
from k3sfw_engine.port_tables.membership import note_membership
from k3sfw_engine.port_tables.read_nodes import (
    read_nodes,
    refuse_wrong_role,
)
from k3sfw_engine.port_tables.read_pod_networks import read_pod_networks
from k3sfw_engine.port_tables.read_rows import read_groups, read_peer_ports, read_ports
from k3sfw_engine.port_tables.read_tests import read_tests
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
    *("groups", "nodes", "node_cidrs", "firewall", "tests"),
    *("unheard_minions", "silent_minions", "other_masters"),
    # k3s.schedule and k3s.metrics read these; here they must not be taken for spelling errors.
    *("schedule", "metrics"),
}
_FIREWALL_KEYS = {"expected_nodes", "pods_from", "allow_lockout", "allow_broken_tests"}


class _Here(NamedTuple):
    """What is known of the node that the tables are for, besides the pillar."""

    minion_id: str
    role: str | None
    several_masters: bool
    image: bool


class _FirewallSettings(NamedTuple):
    """What stands below ``k3s:firewall``, by the names that ``Tables`` has for it."""

    pods_by_address: bool
    expected_nodes: int | None
    allow_lockout: bool
    allow_broken_tests: bool


def parse_tables(
    pillar: object,
    *,
    minion_id: str,
    role: str | None,
    several_masters: bool = False,
    image: bool = False,
) -> Tables:
    """Turn the pillar tree below ``k3s`` into ``Tables``.

    pillar
        What stands below the key ``k3s``, as plain Python data; ``None`` if there is nothing.
    minion_id
        The node that the tables are for; it must be one of the nodes.
    role
        The role that this node's grain gives, ``None`` if it has none.
    several_masters
        Whether this minion has several masters, each with its own list of nodes.
    image
        Whether they are for an image, which is not a node of any cluster yet.

    Raises ``BadTables`` with every fault that was found.
    """
    if pillar is None:
        raise BadTables([_no_pillar(minion_id)])
    return _parse(pillar, _Here(minion_id, role, several_masters, image))


def _parse(pillar: object, here: _Here) -> Tables:
    found = Findings()
    tree = mapping(found, ROOT, pillar)
    refuse_unknown_keys(found, ROOT, tree, _KEYS)
    cluster = text(found, f"{ROOT}:cluster", tree.get("cluster", "default"))
    flannel = tree.get("flannel_backend", "vxlan")
    backend = choice(found, f"{ROOT}:flannel_backend", flannel, FlannelBackend)
    pod_cidrs = _networks(found, tree, "pod_cidrs", POD_CIDRS)
    service_cidrs = _networks(found, tree, "service_cidrs", SERVICE_CIDRS)
    groups = read_groups(found, tree.get("groups", {}))
    rows = read_ports(found, tree, groups, backend)
    peer_rows = read_peer_ports(found, tree, groups, backend)
    promises = read_tests(found, tree.get("tests", {}), groups, backend)
    nodes = _nodes(found, tree, here, pod_cidrs, service_cidrs)
    firewall = _firewall(found, tree.get("firewall", {}), nodes)
    note_membership(found, tree, nodes, here.several_masters, firewall.expected_nodes)
    refuse_wrong_role(found, here.minion_id, here.role, tree.get("nodes"), image=here.image)
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
        promises=promises,
        **firewall._asdict(),
    )


def _no_pillar(minion_id: str) -> Fault:
    return Fault(
        ROOT,
        f"there is no such key for minion {minion_id}",
        "target pillar/k3s at this minion in the pillar top file (it needs the grain k3s_role), "
        "then run saltutil.refresh_pillar",
    )


def _networks(
    found: Findings, tree: Mapping[Any, Any], key: str, default: tuple[str, ...] = ()
) -> Networks:
    """The networks below a key; none at all if one of them cannot be read."""
    own = Findings()
    read = networks(own, f"{ROOT}:{key}", tree.get(key, default))
    found.add(own)
    return () if own.faults else read


def _nodes(
    found: Findings,
    tree: Mapping[Any, Any],
    here: _Here,
    pod_cidrs: Networks,
    service_cidrs: Networks,
) -> tuple[Node, ...]:
    node_cidrs = _networks(found, tree, "node_cidrs") if "node_cidrs" in tree else ()
    trust = Trust(here.minion_id, node_cidrs, (*pod_cidrs, *service_cidrs))
    nodes = read_nodes(found, tree, trust, image=here.image)
    return read_pod_networks(found, nodes, tree.get("nodes"), pod_cidrs)


def _firewall(found: Findings, value: object, nodes: tuple[Node, ...]) -> _FirewallSettings:
    path = f"{ROOT}:firewall"
    settings = mapping(found, path, value)
    refuse_unknown_keys(found, path, settings, _FIREWALL_KEYS)
    expected = None
    if "expected_nodes" in settings:
        where = f"{path}:expected_nodes"
        expected = _expected_nodes(found, where, settings["expected_nodes"], nodes)
    allowed = {
        key: boolean(found, f"{path}:{key}", settings.get(key, False)) is True
        for key in ("allow_lockout", "allow_broken_tests")
    }
    pods_from = settings.get("pods_from", PodsFrom.INTERFACES.value)
    read = choice(found, f"{path}:pods_from", pods_from, PodsFrom)
    return _FirewallSettings(
        pods_by_address=read is PodsFrom.ADDRESSES,
        expected_nodes=expected,
        **allowed,
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
