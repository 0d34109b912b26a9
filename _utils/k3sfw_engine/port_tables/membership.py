"""What the master knows of its minions besides their claims, and what it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k3sfw_engine.model.rows import ROOT, Node
from k3sfw_engine.port_tables import messages
from k3sfw_engine.port_tables.findings import Findings, short
from k3sfw_engine.port_tables.single_values import boolean, mapping, text


def note_membership(
    found: Findings,
    tree: Mapping[Any, Any],
    nodes: tuple[Node, ...],
    several_masters: bool,
    expected_nodes: int | None,
) -> None:
    """Note why the nodes may be more than those that are listed, or fewer.

    several_masters
        Whether this minion has several masters.
    expected_nodes
        The number of nodes that the operator vouches for.
    """
    _note_unheard(found, tree.get("unheard_minions", ()), nodes)
    _note_silent(found, tree.get("silent_minions", {}), nodes)
    others = boolean(found, f"{ROOT}:other_masters", tree.get("other_masters", False))
    if (several_masters or others) and expected_nodes is None:
        found.notices.append(str(messages.several_masters()))


def _note_unheard(found: Findings, value: object, nodes: tuple[Node, ...]) -> None:
    """Note accepted minions of which the master holds no grains, although each may be a node."""
    path = f"{ROOT}:unheard_minions"
    if not isinstance(value, (list, tuple)):
        found.fault(path, f"{short(value)} is not a list of minion ids")
        return
    named = [text(found, f"{path}:{index}", item) for index, item in enumerate(value)]
    unheard = sorted(set(named) - {node.name for node in nodes})
    if unheard:
        found.unsure.append(messages.unheard_minions(unheard))


def _note_silent(found: Findings, value: object, nodes: tuple[Node, ...]) -> None:
    """Note nodes that have not been heard for long. They are members until the operator says no."""
    path = f"{ROOT}:silent_minions"
    days = mapping(found, path, value)
    silent: list[tuple[str, int]] = []
    for node in nodes:
        if node.name not in days:
            continue
        if type(days[node.name]) is int:
            silent.append((node.name, days[node.name]))
        else:
            found.fault(f"{path}:{node.name}", f"{short(days[node.name])} is not a number of days")
    if silent:
        problem = messages.silent_nodes(sorted(silent, key=lambda each: (-each[1], each[0])))
        found.notices.append(str(problem))
