"""Everything that the page shows, in the order in which it shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from k3sfw_engine.errors import BadTables
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.messages import sentence
from k3sfw_engine.fleet.overview import Overview, overview
from k3sfw_engine.fleet.page import messages, signs
from k3sfw_engine.fleet.page.defaults import NODES_LISTED, NOTICES_SHOWN, PROBLEMS_SHOWN
from k3sfw_engine.fleet.page.node_lines import NodeLine, node_lines
from k3sfw_engine.fleet.page.pair_states import WORST, PairStates, pair_states
from k3sfw_engine.fleet.page.pair_views import (
    notes_of,
    pair_legend,
    pair_pictures,
    pair_tables,
    script_data,
)
from k3sfw_engine.fleet.page.problem_cards import (
    ProblemCard,
    explained_answers,
    problem_cards,
    told_cards,
)
from k3sfw_engine.fleet.page.promise_cards import PromiseCard, promise_cards
from k3sfw_engine.fleet.page.table_lines import group_lines, reached_roles, row_titles, table_lines
from k3sfw_engine.fleet.role_matrix import role_matrix
from k3sfw_engine.fleet.since import Since, since
from k3sfw_engine.fleet.text.style import clean
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.port_tables.read_pillar import parse_tables

# Nodes without a problem that are not folded away.
_UNFOLDED = 20


class PagePart(NamedTuple):
    """A part of the page, with the number beside its name in the navigation."""

    anchor: str
    name: str
    number: str = ""
    is_bad: bool = False


class Fact(NamedTuple):
    """One of the sentences below the headline."""

    text: str
    is_bad: bool = False


class NamedText(NamedTuple):
    """A name with a text, or a text that the search finds by its words."""

    name: str
    text: str
    words: str = ""


class NodeList(NamedTuple):
    """Some of the nodes, folded unless there is something to see."""

    title: str
    nodes: Sequence[NodeLine]
    is_open: bool


class SincePart(NamedTuple):
    """Causes that have in common how they compare with older answers."""

    title: str
    texts: Sequence[str]
    is_open: bool


class _Found(NamedTuple):
    """What several parts of the page need."""

    cluster: CheckedCluster
    judged: Overview
    tables: Tables | None
    refusal: str
    cards: Sequence[ProblemCard]
    promises: Sequence[PromiseCard]
    states: PairStates
    titles: Mapping[str, str]
    nodes: Sequence[NodeLine]
    changed: Since | None
    previous: CheckedCluster | None


def page_contents(
    cluster: CheckedCluster, previous: CheckedCluster | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what page.html shows, and what page.js reads."""
    tables, refusal = _tables(cluster)
    judged = overview(cluster)
    causes = judged.causes
    explained = explained_answers(cluster, causes)
    changed = since(causes, group(previous), cluster) if previous else None
    cards = problem_cards(causes, explained, changed.new if changed else None)
    cards += told_cards(judged, len(cards))
    states = pair_states(cluster, [name for cause in causes for name in cause.nodes])
    titles = {**row_titles(tables, states.rows), WORST: messages.WORST_OF_ALL}
    found = _Found(
        cluster,
        judged,
        tables,
        refusal,
        cards,
        promise_cards(cluster, judged.promises, tables),
        states,
        titles,
        node_lines(cluster),
        changed,
        previous,
    )
    notes = notes_of(states, explained.notes())
    data = script_data(cluster, states, titles, notes, messages.file_name(cluster))
    contents: dict[str, Any] = {}
    for part in (
        _head,
        _problems,
        _promises,
        _roles,
        _pairs,
        _nodes,
        _rows,
        _coverage,
        _about,
        _since,
    ):
        contents.update(part(found))
    contents["parts"] = _parts(contents)
    return contents, data


def _tables(cluster: CheckedCluster) -> tuple[Tables | None, str]:
    """The tables of the answers, or why they cannot be read."""
    if not cluster.tables or not cluster.nodes:
        return None, messages.NO_TABLES
    tree = {
        "nodes": {name: each.as_dict() for name, each in cluster.nodes.items()},
        **cluster.tables,
    }
    name = min(cluster.nodes)
    try:
        return parse_tables(tree, minion_id=name, role=cluster.nodes[name].role or None), ""
    except BadTables as error:
        return None, messages.tables_refused(error)


def _head(found: _Found) -> dict[str, Any]:
    cluster = found.cluster
    verdict = signs.SEVERITIES[found.judged.status]
    return {
        "title": messages.title(cluster, verdict, len(found.cards)),
        "icon_color": signs.ICONS[verdict.family],
        "cluster": clean(cluster.cluster),
        "verdict": verdict,
        "headline": messages.headline(found.judged),
        "facts": [Fact(*each) for each in messages.facts(cluster, found.judged)],
        "at": {
            "machine": messages.machine_time(cluster.at),
            "human": messages.human_time(cluster.at),
        },
    }


def _problems(found: _Found) -> dict[str, Any]:
    notices = [messages.shared_notice(each) for each in found.judged.notices]
    left = len(found.cards) - PROBLEMS_SHOWN
    return {
        "problems": found.cards[:PROBLEMS_SHOWN],
        "problems_left": messages.left_out(left, "problem"),
        "no_problem": messages.no_problem(found.cluster),
        "notices_title": messages.counted(len(notices), "notice"),
        "notices": [
            NamedText("", clean(each), clean(each).lower()) for each in notices[:NOTICES_SHOWN]
        ],
    }


def _promises(found: _Found) -> dict[str, Any]:
    kept = [card for card in found.promises if card.state.name == "kept"]
    return {
        "promises_summary": messages.promises(found.promises),
        "promises": [card for card in found.promises if card not in kept],
        "kept": kept,
        "kept_title": f"{messages.counted(len(kept), 'promise')} kept",
    }


def _roles(found: _Found) -> dict[str, Any]:
    roles = reached_roles(role_matrix(found.tables)) if found.tables else ()
    used = {sign.name for role in roles for line in role.lines for sign in line.cells}
    return {
        "roles_summary": found.refusal or messages.ROLES,
        "roles": roles,
        "role_states": [sign for sign in signs.ACCESS.values() if sign.name in used],
    }


def _pairs(found: _Found) -> dict[str, Any]:
    states = found.states
    return {
        "pairs_summary": messages.pairs(found.cluster, states),
        "pair_tables": pair_tables(states, found.titles),
        "pair_names": [clean(name) for name in states.nodes],
        "pictures": pair_pictures(states, found.titles),
        "pair_legend": pair_legend(states),
    }


def _nodes(found: _Found) -> dict[str, Any]:
    bad = [line for line in found.nodes if line.is_bad]
    fine = [line for line in found.nodes if not line.is_bad]
    shown = fine[: max(0, NODES_LISTED - len(bad))]
    return {
        "nodes_summary": messages.nodes(found.cluster, len(bad)),
        "node_lists": [
            each
            for each in (
                NodeList(messages.bad_nodes(len(bad)), bad[:NODES_LISTED], is_open=True),
                NodeList(messages.fine_nodes(len(fine)), shown, is_open=len(fine) <= _UNFOLDED),
            )
            if each.nodes
        ],
        "nodes_left": messages.left_out(len(found.nodes) - len(bad) - len(shown), "node"),
        "silent": signs.SILENT,
    }


def _rows(found: _Found) -> dict[str, Any]:
    rows = table_lines(found.tables) if found.tables else ()
    return {
        "tables_summary": found.refusal or messages.tables(found.cluster, len(rows)),
        "rows": rows,
        "groups": group_lines(found.tables) if found.tables else (),
    }


def _coverage(found: _Found) -> dict[str, Any]:
    return {"coverage": messages.covered(found.cluster)}


def _about(found: _Found) -> dict[str, Any]:
    return {
        "about": [NamedText(name, clean(text)) for name, text in messages.about(found.cluster)],
        "download_note": messages.DOWNLOAD,
        "without_scripts": messages.WITHOUT_SCRIPTS,
    }


def _since(found: _Found) -> dict[str, Any]:
    changed, previous = found.changed, found.previous
    if changed is None or previous is None:
        return {"since": None}
    kinds = (
        ("New", changed.new, True),
        ("Fixed", changed.fixed, True),
        ("Not known, as a node of them is silent now", changed.unknown, True),
        ("Not all of it was asked now", changed.unasked, True),
        ("Still there", changed.still, False),
    )
    parts = [
        SincePart(
            f"{name}: {messages.counted(len(causes), 'problem')}",
            [clean(sentence(cause).text) for cause in causes[:PROBLEMS_SHOWN]],
            is_open,
        )
        for name, causes, is_open in kinds
        if causes
    ]
    age = messages.duration(max(0, found.cluster.at - previous.at))
    return {
        "since": {
            "title": f"Since {messages.human_time(previous.at)}",
            "summary": messages.compared(changed, age),
            "parts": parts,
        }
    }


def _parts(contents: Mapping[str, Any]) -> list[PagePart]:
    problems, promises = len(contents["problems"]), contents["promises"]
    promises_are_bad = any(card.state.is_problem for card in promises)
    return [
        PagePart("problems", "Problems", f"{problems:,}" if problems else "", problems > 0),
        *([PagePart("since", "Since")] if contents["since"] else []),
        PagePart("promises", "Promises", str(len(promises) or ""), promises_are_bad),
        PagePart("roles", "Roles"),
        PagePart("pairs", "Pairs"),
        PagePart("nodes", "Nodes"),
        PagePart("tables", "Tables"),
        PagePart("coverage", "Coverage"),
        PagePart("about", "About"),
    ]
