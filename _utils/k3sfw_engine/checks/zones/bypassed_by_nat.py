"""Which rows cannot keep anybody out, as the kernel redirects their ports before INPUT. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import netaddr

from k3sfw_engine.checks import zone_of_interface
from k3sfw_engine.checks.report import some
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.checks.zone_openings import forward_ports
from k3sfw_engine.checks.zones.zone_facts import LIMITS, ZoneFacts
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.nat import NODE_PORT, Redirection
from k3sfw_engine.model.port_ranges import in_common
from k3sfw_engine.model.rows import PortRange, Protocol, Row

_BEFORE = "it before any rule of this host is asked"
_STRICT = (
    "firewalld's rules of forwarding decide who is let in, and no row (StrictForwardPorts=yes)"
)


def redirected(seen: ZoneFacts) -> Iterator[Check]:
    """One answer for each row whose port is redirected, and one for all other ports."""
    for sentence in seen.found.redirected.unread:
        yield zone_of_interface.unproven(seen.at, "redirections", sentence)
    strangers = []
    ports: dict[tuple[Protocol, PortRange], list[Redirection]] = {}
    for each in sorted({*seen.found.redirected.found, *_of_firewalld(seen)}):
        ports.setdefault((each.protocol, each.ports), []).append(each)
    for (protocol, span), found in ports.items():
        rows = [
            row
            for row in seen.own.rows
            if row.protocol is protocol and in_common(row.ports, [span])
        ]
        for row in rows:
            yield _of_row(seen, row, span, found)
        if not rows:
            strangers.append((f"{span}/{protocol.value}", found))
    if strangers:
        yield _of_strangers(seen, strangers)
    elif not ports and not seen.found.redirected.unread:
        evidence = "no port of this node is redirected past its rules"
        yield seen.at.check(None, "redirections", Status.OK, evidence=evidence)


def _of_firewalld(seen: ZoneFacts) -> Iterator[Redirection]:
    """The ports that zones forward: firewalld's own, but past the rows as others' are."""
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
    by = " and ".join(every)
    redirects = f"{by} {'redirects' if len(every) == 1 else 'redirect'}"
    if all(_is_given(seen, row, each) for each in found):
        status, hint = Status.OK, ""
        evidence = f"row {row.name} lets the same in; {redirects} {_BEFORE}"
    elif seen.found.strict_forward_ports:
        status, hint = Status.UNPROVEN, LIMITS
        evidence = f"{redirects} what row {row.name} is about: {_STRICT}"
    else:
        status, hint = Status.CONFLICT, LIMITS
        evidence = f"row {row.name} cannot keep anybody out there: {redirects} {_BEFORE}"
    return Check(
        source=", ".join(map(str, row.sources)),
        to=seen.at.node.name,
        description=row.description or row.name,
        status=status,
        evidence=evidence,
        protocol=row.protocol.value,
        port=str(span),
        expect="open" if status is Status.OK else "closed",
        by="" if status is Status.OK else by,
        hint=hint,
    )


def _is_given(seen: ZoneFacts, row: Row, each: Redirection) -> bool:
    """Whether the rows let in all whose packets are redirected at the row's ports."""
    low = min(span.low for span in in_common(row.ports, [each.ports]))
    rows = seen.own.rows_at(each.protocol, low)
    given = seen.own.to(rows, each.family)
    if not each.source:
        return any(network.prefixlen == 0 for network in given)
    sources = [netaddr.IPNetwork(source) for source in each.source.split(",")]
    return all(any(source in network for network in given) for source in sources)


def _of_strangers(seen: ZoneFacts, strangers: list[tuple[str, list[Redirection]]]) -> Check:
    """The ports that no row of this node names, in one sentence; NodePorts come last."""

    def is_node_port(stranger: tuple[str, list[Redirection]]) -> bool:
        return all(each.by == NODE_PORT for each in stranger[1])

    named = [
        f"{port} ({', '.join(dict.fromkeys(map(str, found)))})"
        for port, found in sorted(strangers, key=is_node_port)
    ]
    verb = "is" if len(named) == 1 else "are"
    if seen.found.strict_forward_ports:
        status = Status.UNPROVEN
        evidence = f"{some(named)} {verb} redirected, and no row names that: {_STRICT}"
    else:
        status = Status.CONFLICT
        evidence = f"{some(named)} {verb} open to everybody past the rows: no row names that"
    return seen.at.check(None, "redirections", status, evidence=evidence, hint=LIMITS)
