"""What the nodes of a cluster have in force, asked of all of them: first digests, then examples.

Nodes with the same digests have the same rules and tables, so one of them is asked for all. Its
answer must give these digests again: a minion cannot speak for others with what is not theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import netaddr

from k3sfw_engine.cluster_pillar.defaults import LONGEST_RULE, MOST_ENTRIES, MOST_RULES
from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.tables_digest import digest_of_rules, digest_of_tree
from k3sfw_engine.plan.live_reach import LiveRules, live_reach
from k3sfw_engine.plan.reach import Reach, compute_reach
from k3sfw_engine.port_tables.kept_form import tables_of_tree

# Minions, a function and its arguments in, the answers of those that answered out.
Ask = Callable[[Sequence[str], str, Mapping[str, Any]], Mapping[str, object]]
_FUNCTION = "k3sfw.in_force"


@dataclass(frozen=True)
class AlikeInForce:
    """Nodes of one role that have the same in force, and had the same tables proven.

    live
        Who gets in by their rules.
    kept
        The last tables that were proven there, ``None`` if there are none.
    """

    nodes: tuple[str, ...]
    role: Role
    live: Reach
    kept: Tables | None

    @property
    def by_kept(self) -> Reach:
        """Who gets in by the tables that were proven; by the rules if there are none."""
        return compute_reach(self.kept, (self.role,)) if self.kept else self.live


@dataclass(frozen=True)
class NodesInForce:
    """The answers of all nodes.

    silent
        The nodes that did not answer, and those whose answer is of no use, with the reason.
    """

    groups: tuple[AlikeInForce, ...]
    silent: Mapping[str, str]

    def merged_tables(self) -> Tables | None:
        """The proven tables of the whole cluster: the rows of the servers and of the agents."""
        kept = [group.kept for group in self.groups if group.kept]
        if not kept:
            return None
        # The largest group of a role comes first: it is the rule, and another the exception.
        rows = {row.path: row for tables in reversed(kept) for row in tables.every_row}
        return replace(kept[0], rows=tuple(rows[path] for path in sorted(rows)), peer_rows=None)


def ask_in_force(ask: Ask, roles: Mapping[str, Role], today: Tables) -> NodesInForce:
    """Ask every node what it has in force.

    roles
        The nodes to ask, with their roles.
    today
        The tables of today: rules that no kept tables explain may come from them.
    """
    alike: defaultdict[tuple[Role, _Digests], list[str]] = defaultdict(list)
    silent = {}
    answers = ask(sorted(roles), _FUNCTION, {"digests": True})
    for node, role in sorted(roles.items()):
        answer = answers.get(node)
        if isinstance(answer, Mapping) and {"kept", "in_force"} <= answer.keys():
            digests = _Digests(str(answer["kept"]), str(answer["in_force"]))
            alike[role, digests].append(node)
        else:
            silent[node] = "no answer" if answer is None else "no usable answer"
    groups = []
    for (role, digests), nodes in sorted(alike.items(), key=lambda each: -len(each[1])):
        found = _example(ask, tuple(nodes), role, digests, today)
        if found is None:
            silent.update(dict.fromkeys(nodes, "its rules could not be read"))
        else:
            groups.append(found)
    return NodesInForce(tuple(groups), silent)


class _Digests(NamedTuple):
    """What nodes that are alike have in common: their proven tables, and what is in force."""

    kept: str
    in_force: str


def _example(
    ask: Ask, nodes: tuple[str, ...], role: Role, digests: _Digests, today: Tables
) -> AlikeInForce | None:
    """What the first node tells that answers with what all of them have."""
    for node in nodes[:3]:
        answer = ask([node], _FUNCTION, {"full": True}).get(node)
        if not isinstance(answer, Mapping):
            continue
        try:
            rules, kept = _read(answer, digests.in_force), _kept(answer["tables"], digests.kept)
            explained_by = (kept, today) if kept else (today,)
            return AlikeInForce(nodes, role, live_reach(role, rules, explained_by), kept)
        except (TypeError, ValueError, KeyError, netaddr.AddrFormatError):
            continue  # It is data of a minion.
    return None


def _read(answer: Mapping[Any, Any], state: str) -> LiveRules:
    """Raises ``ValueError`` if it is not what ``in_force`` returns, or has another digest."""
    if not isinstance(answer.get("ipsets"), Mapping):
        raise ValueError("no ipsets")
    rules = _texts(answer["rules"], MOST_RULES)
    ipsets = {
        str(name): _texts(entries, MOST_ENTRIES) for name, entries in answer["ipsets"].items()
    }
    has_zone = bool(answer["zone_interfaces"])
    if digest_of_rules(rules, ipsets, has_zone) != state:
        raise ValueError("other rules than those of its digest")
    return LiveRules(
        rules,
        {name: tuple(map(netaddr.IPNetwork, entries)) for name, entries in ipsets.items()},
        has_zone,
    )


def _texts(value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise ValueError("not a list, or one that is too long")
    if any(not isinstance(each, str) or len(each) > LONGEST_RULE for each in value):
        raise ValueError("not texts, or too long")
    return tuple(value)


def _kept(tree: object, digest: str) -> Tables | None:
    """Raises ``ValueError`` if they have another digest."""
    if not isinstance(tree, Mapping):
        raise ValueError("no tables")
    if (digest_of_tree(tree) if tree else "") != digest:
        raise ValueError("other tables than those of its digest")
    if not tree:
        return None
    try:
        return tables_of_tree(tree)
    except BadTables:
        return None  # Of another version; the rules are known.


def silent_note(silent: Mapping[str, str]) -> Iterable[str]:
    """Return a sentence about the nodes of which nothing is known."""
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for node, reason in sorted(silent.items()):
        by_reason[reason].append(node)
    for reason, nodes in by_reason.items():
        yield f"not compared: {', '.join(nodes)} ({reason})"
