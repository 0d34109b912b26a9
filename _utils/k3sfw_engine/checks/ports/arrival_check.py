"""Verdicts on packets that arrived at this node and that its own rules dropped. Pure."""

from __future__ import annotations

import netaddr

from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.questions_to_peers import Expect, Filter, describe_rows, row_admits
from k3sfw_engine.checks.verdicts import SEE, Check, Status
from k3sfw_engine.model.rows import Tables

# -- what a witness on this node has seen ---------------------------------------------------------


def judge_arrivals(tables: Tables, sight: ProbeContext, narrow: Filter) -> tuple[Check, ...]:
    """What this node should have let in of its peers, who were asking at the same time."""
    own = sight.own
    peers = {str(address): node for node in tables.nodes for address in node.addresses}
    found = []
    for each in sorted(sight.refused):
        peer = peers.get(each.source)
        if peer is None or peer.name == own.name or not narrow.wants(peer.name, own.name):
            continue
        rows = [
            row
            for row in tables.rows_of(own.role)
            if row.protocol is each.protocol
            and any(each.port in span for span in row.ports)
            and narrow.wants_row(row)
            and row_admits(row, peer, netaddr.IPAddress(each.source), tables)
        ]
        if rows:
            found.append(
                Check(
                    source=peer.name,
                    to=own.name,
                    address=each.source,
                    protocol=each.protocol.value,
                    port=str(each.port),
                    description=describe_rows(rows),
                    expect=Expect.OPEN.value,
                    status=Status.BLOCKED,
                    by=own.name,
                    evidence=f"its packets arrive at {own.name} and go no further: {own.name} "
                    "drops them, though its rows are in force",
                    hint=f"{SEE}salt {own.name} cmd.run 'nft list ruleset' for the rule that does",
                )
            )
    return tuple(found)
