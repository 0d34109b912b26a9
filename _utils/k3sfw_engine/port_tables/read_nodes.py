"""The nodes of the cluster with their roles, pinned by hand or claimed.

An entry is written by hand or claimed by the minion itself through its grains. A fault in a claim
is reported without refusing the pillar: one broken minion must not take the firewall away from all
the others. Nor does its node lose its access if it was a member before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from k3sfw_engine.model.rows import ROOT, Node, Role
from k3sfw_engine.port_tables import messages
from k3sfw_engine.port_tables.believed_addresses import ListedNode, Trust, believe_addresses
from k3sfw_engine.port_tables.defaults import MINION_ID
from k3sfw_engine.port_tables.findings import Findings, below, legible, printable, short
from k3sfw_engine.port_tables.single_values import (
    address,
    choice,
    each,
    mapping,
    refuse_unknown_keys,
)

_PATH = messages.NODES
_Value = TypeVar("_Value")


class _NodeEntry(NamedTuple):
    """What stands below one node's name, and the part of it that the minion claimed itself."""

    name: str
    columns: Mapping[Any, Any]
    claimed: Mapping[Any, Any]


def read_nodes(
    found: Findings, tree: Mapping[object, object], trust: Trust, *, image: bool = False
) -> tuple[Node, ...]:
    """Read ``k3s:nodes``; claimed addresses that are not believed are left out.

    image
        Whether there need not be any.
    """
    if image and not tree.get("nodes"):
        found.unsure.append(messages.IMAGE_KNOWS_NO_NODES)
        return ()
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
    listed = (_node(found, name, entries[name]) for name in sorted(entries, key=legible))
    return believe_addresses(found, [each for each in listed if each is not None], trust)


def _node(found: Findings, name: object, value: object) -> ListedNode | None:
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
    node = Node(entry.name, _lesser(found, entry, role), tuple(sorted(set(addresses))))
    return ListedNode(node, pinned=not _is_claimed(entry, "addresses"))


def _lesser(found: Findings, entry: _NodeEntry, role: Role) -> Role:
    """The role with the lesser right, if pin and claim contradict each other."""
    claimed = entry.claimed.get("role", role.value)
    if _is_claimed(entry, "role") or _role_named(claimed) is role:
        return role
    if _role_named(claimed) is None:
        # As without the pin: what cannot be read takes no node out of its sets.
        found.unsure.append(messages.unreadable_claim(entry.name, "role"))
    problem = messages.pin_against_claim(entry.name, role, short(claimed))
    found.notices.append(str(problem))
    return Role.AGENT


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
    if own.faults and _is_claimed(entry, column):
        found.notices += [f"{fault}; minion {entry.name} claims so itself" for fault in own.faults]
        found.unsure.append(messages.unreadable_claim(entry.name, column))
    else:
        found.add(own)
    return not own.faults, value


def _is_claimed(entry: _NodeEntry, column: str) -> bool:
    return column in entry.claimed and entry.columns.get(column) == entry.claimed[column]


def refuse_wrong_role(
    found: Findings, minion_id: str, role: str | None, entries: object, *, image: bool = False
) -> None:
    """Note that this node is not listed, or that its grain and the pillar contradict each other.

    image
        Whether it need not be listed.
    """
    own_role = _role_of_grain(found, minion_id, role)
    if own_role is None or not isinstance(entries, Mapping) or not entries:
        return
    path = f"{_PATH}:{minion_id}"
    if minion_id not in entries and image:
        return
    if minion_id not in entries:
        found.fault(
            path,
            f"this node is not among the nodes ({', '.join(sorted(map(printable, entries)))})",
            "add it, with its role and addresses",
        )
        return
    listed = entries[minion_id]
    pinned = _role_named(listed.get("role")) if isinstance(listed, Mapping) else None
    if pinned not in (None, own_role):
        found.fault(
            f"{path}:role",
            f"pillar says {pinned.value} and the grain k3s_role of the node says {own_role.value}",
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
    own_role = _role_named(role)
    if own_role is None:
        found.fault(
            ROOT,
            f"the grain k3s_role of minion {minion_id} is {short(role)}",
            "set it to server or agent, then run saltutil.refresh_grains",
        )
    return own_role


def _role_named(value: object) -> Role | None:
    if not isinstance(value, str):
        return None
    return next((each for each in Role if each.value == value.lower()), None)
