"""The verdict on packets of peers that arrived at this node and were dropped by it. Pure."""

from __future__ import annotations

import netaddr

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.questions_to_peers import Expect, Filter, describe_rows, row_admits
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.packet_question import Arrival
from k3sfw_engine.model.rows import Node, Row, Tables


def judge_arrivals(tables: Tables, context: ProbeContext, only: Filter) -> tuple[Check, ...]:
    """Judge the packets that peers sent here and this node dropped although a row allows them."""
    own = context.own
    peers = {str(address): node for node in tables.nodes for address in node.addresses}
    found = []
    for each in sorted(context.refused):
        peer = peers.get(each.source)
        if peer is None or peer.name == own.name or not only.wants(peer.name, own.name):
            continue
        rows = _rows_that_allow(each, peer, own, tables, only)
        if rows:
            problem = messages.arrival_dropped(own.name)
            found.append(
                Check(
                    source=peer.name,
                    to=own.name,
                    address=each.source,
                    protocol=each.protocol.value,
                    port=str(each.port) if each.protocol.has_ports else "",
                    description=describe_rows(rows),
                    expect=Expect.OPEN.value,
                    status=Status.BLOCKED,
                    by=own.name,
                    evidence=problem.text,
                    see=problem.see,
                )
            )
    return tuple(found)


def _rows_that_allow(
    each: Arrival, peer: Node, own: Node, tables: Tables, only: Filter
) -> list[Row]:
    return [
        row
        for row in tables.rows_of(own.role)
        if row.protocol is each.protocol
        and (not row.ports or any(each.port in span for span in row.ports))
        and only.wants_row(row)
        and row_admits(row, peer, netaddr.IPAddress(each.source), tables)
    ]
