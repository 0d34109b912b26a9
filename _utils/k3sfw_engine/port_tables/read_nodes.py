"""The nodes of the cluster, and which of a minion's own claims are believed.

An entry is written by hand or claimed by the minion itself through its grains. A fault in a claim
is reported without refusing the pillar: one broken minion must not take the firewall away from all
the others. Nor does its node lose its access if it was a member before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks, parse_address
from k3sfw_engine.model.rows import ROOT, Node, Role
from k3sfw_engine.port_tables.defaults import MINION_ID
from k3sfw_engine.port_tables.findings import Findings, below, legible, printable, short
from k3sfw_engine.port_tables.single_values import (
    address,
    choice,
    each,
    mapping,
    refuse_unknown_keys,
    text,
)

_PATH = f"{ROOT}:nodes"
_Value = TypeVar("_Value")


class _NodeEntry(NamedTuple):
    """What stands below one node's name, and the part of it that the minion claimed itself."""

    name: str
    columns: Mapping[Any, Any]
    claimed: Mapping[Any, Any]


def read_nodes(
    found: Findings, tree: Mapping[object, object], node_cidrs: Networks
) -> tuple[Node, ...]:
    """Read ``k3s:nodes``.

    node_cidrs
        A claimed address outside these networks is left out; without any, all are believed.
    """
    fix = (
        "include k3s.nodes in the pillar of this minion (it reads the grains cache of the "
        "master), or list the nodes by hand"
    )
    if "nodes" not in tree:
        found.fault(_PATH, "the nodes of the cluster are not known", fix)
        return ()
    entries = mapping(found, _PATH, tree["nodes"])
    if isinstance(tree["nodes"], Mapping) and not entries:
        found.fault(_PATH, "no node is known, not even this one", fix)
    nodes = (_node(found, name, entries[name], node_cidrs) for name in sorted(entries, key=legible))
    return tuple(node for node in nodes if node is not None)


def _node(found: Findings, name: object, value: object, node_cidrs: Networks) -> Node | None:
    path = below(_PATH, name)
    entry = _entry(found, path, name, value)
    if entry is None:
        return None
    role_read, role = _unless_claimed(
        found,
        entry,
        "role",
        lambda own: choice(own, f"{path}:role", entry.columns.get("role"), Role),
    )
    addresses_read, addresses = _unless_claimed(
        found,
        entry,
        "addresses",
        lambda own: each(own, f"{path}:addresses", entry.columns.get("addresses"), address),
    )
    if role is None or not (role_read and addresses_read):
        return None
    outside = _claimed_outside(found, path, entry, addresses, node_cidrs)
    return Node(entry.name, role, tuple(sorted(set(addresses) - outside)))


def _entry(found: Findings, path: str, name: object, value: object) -> _NodeEntry | None:
    own = Findings()
    if not isinstance(name, str) or not name.isprintable() or not MINION_ID.match(name):
        own.fault(path, f"{short(name)} is not a minion id")
    columns = mapping(own, path, value)
    found.add(own)
    if own.faults:
        return None
    # An unknown key does not hide what is wrong with the known ones.
    refuse_unknown_keys(found, path, columns, {"role", "addresses", "pod_cidrs", "claimed"})
    claimed = mapping(found, f"{path}:claimed", columns.get("claimed", {}))
    return _NodeEntry(str(name), columns, claimed)


def _unless_claimed(
    found: Findings, entry: _NodeEntry, column: str, read: Callable[[Findings], _Value]
) -> tuple[bool, _Value]:
    """Read a column; whether it could be read, and the value.

    A fault in what the minion claimed itself becomes a notice, and a doubt about the node list.
    """
    own = Findings()
    value = read(own)
    claimed = column in entry.claimed and entry.columns.get(column) == entry.claimed[column]
    if own.faults and claimed:
        found.notices += [f"{fault}; minion {entry.name} claims so itself" for fault in own.faults]
        found.unsure.append(f"what minion {entry.name} claims as its {column} cannot be read")
    else:
        found.add(own)
    return not own.faults, value


def _claimed_outside(
    found: Findings,
    path: str,
    entry: _NodeEntry,
    addresses: list[netaddr.IPAddress],
    node_cidrs: Networks,
) -> frozenset[netaddr.IPAddress]:
    """The claimed addresses that are in none of the site's node networks."""
    if not node_cidrs:
        return frozenset()
    claimed = _legible_addresses(entry.claimed.get("addresses"))
    outside = [
        each
        for each in addresses
        if each in claimed and not any(each in network for network in node_cidrs)
    ]
    found.notices += [
        str(
            Problem(
                f"{path}: {entry.name} claims {each}, which is in none of {ROOT}:node_cidrs "
                f"({', '.join(map(str, node_cidrs))}); it is not let in",
                "add its network there, or correct node-ip on that node",
            )
        )
        for each in outside
    ]
    return frozenset(outside)


def _legible_addresses(value: object) -> frozenset[netaddr.IPAddress]:
    """What can be read of a list of addresses, however they are spelled."""
    read = set()
    for item in value if isinstance(value, (list, tuple)) else ():
        try:
            read.add(parse_address(item))
        except ValueError:
            continue  # It cannot be in force, so it need not be judged.
    return frozenset(read)


def note_unheard_minions(found: Findings, value: object, nodes: tuple[Node, ...]) -> None:
    """Note accepted minions of which the master holds no grains: each may be a node."""
    path = f"{ROOT}:unheard_minions"
    if not isinstance(value, (list, tuple)):
        found.fault(path, f"{short(value)} is not a list of minion ids")
        return
    named = [text(found, f"{path}:{index}", item) for index, item in enumerate(value)]
    silent = sorted(set(named) - {node.name for node in nodes})
    if silent:
        found.unsure.append(
            f"the master holds no grains of the accepted minions {', '.join(silent)}; start "
            "them once, or delete their keys"
        )


def refuse_wrong_role(
    found: Findings, minion_id: str, role: str | None, entries: object, nodes: tuple[Node, ...]
) -> None:
    """Note that this node is not listed, or that its grain and the pillar contradict each other."""
    own_role = _role_of_grain(found, minion_id, role)
    if own_role is None or not isinstance(entries, Mapping) or not entries:
        return
    path = f"{_PATH}:{minion_id}"
    own = next((node for node in nodes if node.name == minion_id), None)
    if minion_id not in entries:
        found.fault(
            path,
            f"this node is not among the nodes ({', '.join(sorted(map(printable, entries)))})",
            "add it, with its role and addresses",
        )
    elif own is not None and own.role is not own_role:
        found.fault(
            f"{path}:role",
            f"pillar says {own.role.value} and the grain k3s_role of the node says "
            f"{own_role.value}",
            "correct the pin in pillar, or the grain on the node and then run "
            "saltutil.refresh_grains",
        )


def _role_of_grain(found: Findings, minion_id: str, role: str | None) -> Role | None:
    if role is None:
        found.fault(
            ROOT,
            f"minion {minion_id} has no grain k3s_role",
            "install K3s on it, or set the grain to server or agent in its minion "
            "configuration, then run saltutil.refresh_grains",
        )
        return None
    own_role = next((each for each in Role if each.value == str(role).lower()), None)
    if own_role is None:
        found.fault(
            ROOT,
            f"the grain k3s_role of minion {minion_id} is {short(role)}",
            "set it to server or agent, then run saltutil.refresh_grains",
        )
    return own_role
