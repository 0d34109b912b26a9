"""What an operator is told about promises. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.rows import EndpointKind, Promise, PromisedPorts, Row, Tables
from k3sfw_engine.plan.defaults import ITEMS_IN_A_SENTENCE, PARTS_OF_A_PROMISE
from k3sfw_engine.plan.promises import PartReason, PromisePart, PromiseValue, PromiseVerdict
from k3sfw_engine.plan.source_names import name_sources


def promise_problems(verdict: PromiseVerdict, tables: Tables) -> tuple[Problem, ...]:
    """Return why a promise is not kept, a sentence for each kind of packets; bounded."""
    promise = verdict.promise
    problems = []
    if verdict.is_told or verdict.value is PromiseValue.BROKEN:
        problems += list(_about_absence(verdict))
    sentences = [_about(promise, group, tables) for group in _grouped(verdict.parts)]
    problems += sentences[:PARTS_OF_A_PROMISE]
    left = len(sentences) - PARTS_OF_A_PROMISE
    if left > 0:
        problems.append(Problem(f"test {promise.name}: {left} more parts of it are not kept"))
    return tuple(problems)


def _about_absence(verdict: PromiseVerdict) -> Iterable[Problem]:
    promise = verdict.promise
    fix = f"correct {promise.path}, or set expect: optional there"
    if verdict.absent:
        names = _listed(verdict.absent)
        subject = "it is" if len(verdict.absent) == 1 else "they are"
        yield Problem(
            f"test {promise.name} names {names}, but {subject} neither a node nor a group", fix
        )
    if verdict.tests_nothing:
        yield Problem(
            f"test {promise.name} tests nothing: no packet goes from {_from(promise)} to "
            f"{_listed(map(str, promise.destinations))}",
            fix,
        )


class _Group(NamedTuple):
    """Parts that one sentence tells: the same packets but for ports and families."""

    parts: tuple[PromisePart, ...]
    ports: tuple[PromisedPorts, ...]
    sources: tuple[AddressSet, ...]


def _grouped(parts: Iterable[PromisePart]) -> list[_Group]:
    """The parts by what they have in common; first families are put together, then ports."""
    families: defaultdict[object, list[PromisePart]] = defaultdict(list)
    for part in parts:
        families[part.reason, part.role, part.nodes, part.protocol, part.ports, part.rows].append(
            part
        )
    groups: dict[object, _Group] = {}
    for several in families.values():
        first, sources = several[0], tuple(part.sources for part in several)
        common = (first.reason, first.role, first.nodes, first.rows, sources)
        known = groups.get(common, _Group((), (), sources))
        groups[common] = known._replace(
            parts=(*known.parts, *several),
            ports=(*known.ports, PromisedPorts(first.protocol, first.ports)),
        )
    return list(groups.values())


def _about(promise: Promise, group: _Group, tables: Tables) -> Problem:
    part = group.parts[0]
    ports = _listed(map(str, group.ports))
    nodes = _listed(part.nodes) or f"every {part.role.value} that joins"
    who = _who(promise, group, tables)
    why = f". {promise.why}" if promise.why else ""
    texts: Mapping[PartReason, str] = {
        PartReason.LET_IN: f"{who} would reach {ports} of {nodes} by {_rows(part.rows)}",
        PartReason.NOT_LET_IN: f"{who} would not reach {ports} of {nodes}: no row lets them in",
        PartReason.REDIRECTED: f"{ports} of {nodes} is redirected by Kubernetes before any rule "
        "of k3sfw is asked",
        PartReason.LEFT_TO_ZONES: f"{who} may reach {ports} of {nodes} by a zone; no row lets "
        "them in",
        PartReason.FORMER_NODES: f"former nodes may still reach {ports} of {nodes} by "
        f"{_rows(part.rows)}: no node is removed from any ipset, because the list of nodes may be "
        f"incomplete ({_listed(tables.unsure)})",
        PartReason.ROWS_UNKNOWN: f"{nodes} cannot be judged here: the rows of role "
        f"{part.role.value} are not in this pillar",
    }
    return Problem(f"test {promise.name}: {texts[part.reason]}{why}", _fix(promise, part))


def _fix(promise: Promise, part: PromisePart) -> str:
    change = f"or change {promise.path}, in k3s/site.sls"
    if part.reason is PartReason.LET_IN:
        return f"narrow {_listed(f'{row.path}:source' for row in part.rows)}, {change}"
    if part.reason is PartReason.FORMER_NODES:
        return "see that k3sfw.nodes lists all of them"
    if part.reason is PartReason.NOT_LET_IN:
        return f"give k3s:ports a row that lets them in, {change}"
    return ""


def _who(promise: Promise, group: _Group, tables: Tables) -> str:
    """The sources in the promise's own words if all of them are meant."""
    if all(part.all_sources for part in group.parts):
        families = sorted({sources.family for sources in group.sources})
        everyone = any(each.kind is EndpointKind.ANYONE for each in promise.sources)
        only = f" (IPv{families[0]})" if everyone and len(families) == 1 else ""
        return f"{_from(promise)}{only}"
    return ", ".join(name_sources(group.sources, tables))


def _from(promise: Promise) -> str:
    excepted = _listed(map(str, promise.exceptions))
    sources = _listed(map(str, promise.sources))
    return f"{sources} except {excepted}" if excepted else sources


def _rows(rows: Iterable[Row]) -> str:
    named = [f"{row.name} (source {', '.join(map(str, row.sources))})" for row in rows]
    return f"row{'s' if len(named) > 1 else ''} {_listed(named)}"


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    left = len(listed) - ITEMS_IN_A_SENTENCE
    shown = ", ".join(listed[:ITEMS_IN_A_SENTENCE])
    return f"{shown} and {left} more" if left > 0 else shown
