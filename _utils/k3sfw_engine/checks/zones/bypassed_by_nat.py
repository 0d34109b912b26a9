"""The verdict on rows that NAT bypasses: it redirects their ports before any INPUT rule. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import netaddr

from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zone_openings import forward_ports
from k3sfw_engine.checks.zones import messages
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.nat import NODE_PORT, Redirection
from k3sfw_engine.model.port_ranges import in_common
from k3sfw_engine.model.rows import PortRange, Protocol, Row


def judge_redirections(seen: ZoneFacts) -> Iterator[Check]:
    """A verdict for each row whose ports are redirected, and one for all other ports."""
    for problem in seen.found.redirected.unread:
        yield seen.at.check(None, "redirections", Status.UNPROVEN, problem)
    unnamed = []
    ports: dict[tuple[Protocol, PortRange], list[Redirection]] = {}
    for each in sorted({*seen.found.redirected.found, *_of_firewalld(seen)}):
        ports.setdefault((each.protocol, each.ports), []).append(each)
    for (protocol, span), found in ports.items():
        rows = [
            row
            for row in seen.allowed_here.rows
            if row.protocol is protocol and in_common(row.ports, [span])
        ]
        for row in rows:
            yield _of_row(seen, row, span, found)
        if not rows:
            unnamed.append((f"{span}/{protocol.value}", found))
    if unnamed:
        yield _of_unnamed(seen, unnamed)
    elif not ports and not seen.found.redirected.unread:
        evidence = "no port of this node is redirected past its rules"
        yield seen.at.check(None, "redirections", Status.OK, evidence)


def _of_firewalld(seen: ZoneFacts) -> Iterator[Redirection]:
    """The ports that zones forward: firewalld's own redirections bypass the rows too."""
    for name, zone in seen.found.runtime.zones.items():
        if not seen.outer_in(name, "runtime"):
            continue
        for source, port, protocol, address in forward_ports(zone):
            if not address:
                families: tuple[int, ...] = FAMILIES
            else:
                families = (6,) if ":" in address else (4,)
            for family in families:
                by = f"a forward-port of zone {name}"
                yield Redirection(protocol, port, family, by, source=source)


def _of_row(seen: ZoneFacts, row: Row, span: PortRange, found: Iterable[Redirection]) -> Check:
    found = tuple(found)
    every = list(dict.fromkeys(map(str, found)))
    if all(_is_allowed(seen, row, each) for each in found):
        status, problem = Status.OK, messages.row_agrees_with_nat(row.name, every)
    else:
        strict = seen.found.strict_forward_ports
        status = Status.UNPROVEN if strict else Status.CONFLICT
        problem = messages.row_bypassed(row.name, every, strict)
    return Check(
        source=", ".join(map(str, row.sources)),
        to=seen.at.node.name,
        description=row.description or row.name,
        status=status,
        evidence=problem.text,
        protocol=row.protocol.value,
        port=str(span),
        expect="open" if status is Status.OK else "closed",
        by="" if status is Status.OK else " and ".join(every),
        see=problem.see,
    )


def _is_allowed(seen: ZoneFacts, row: Row, each: Redirection) -> bool:
    """Whether the rows allow every source whose packets are redirected at the row's ports."""
    low = min(span.low for span in in_common(row.ports, [each.ports]))
    rows = seen.allowed_here.rows_at(each.protocol, low)
    allowed = seen.allowed_here.networks(rows, each.family)
    if not each.source:
        return any(network.prefixlen == 0 for network in allowed)
    sources = [netaddr.IPNetwork(source) for source in each.source.split(",")]
    return all(any(source in network for network in allowed) for source in sources)


def _of_unnamed(seen: ZoneFacts, unnamed: list[tuple[str, list[Redirection]]]) -> Check:
    """One verdict on all ports that no row of this node names; NodePorts come last."""

    def is_node_port(each: tuple[str, list[Redirection]]) -> bool:
        return all(redirection.by == NODE_PORT for redirection in each[1])

    ports = [
        f"{port} ({', '.join(dict.fromkeys(map(str, found)))})"
        for port, found in sorted(unnamed, key=is_node_port)
    ]
    strict = seen.found.strict_forward_ports
    status = Status.UNPROVEN if strict else Status.CONFLICT
    problem = messages.ports_open_past_rows(ports, strict)
    return seen.at.check(None, "redirections", status, problem)
