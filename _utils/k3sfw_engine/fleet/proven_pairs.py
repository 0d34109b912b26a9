"""What the saved answers prove of one port: which nodes were let in by packets, and when. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster
from k3sfw_engine.fleet.asked_of_tables import AskedPorts
from k3sfw_engine.model.port_ranges import common, parse_span


class ProvenPairs(NamedTuple):
    """Pairs of nodes of which one asked the other at these ports.

    asked, let_in, refused
        How many were asked, how many got in, and how many were refused as they must be.
    oldest
        When the oldest of the answers was given, in seconds since 1970; 0 without any.
    """

    asked: int = 0
    let_in: int = 0
    refused: int = 0
    oldest: int = 0


def proven_pairs(
    cluster: CheckedCluster, targets: Collection[str], asked: AskedPorts
) -> ProvenPairs:
    """Count the pairs; a pair that was asked at several ports counts once for each."""
    found, oldest = [], []
    for answer in cluster.answers.values():
        for name, cells in answer.asked.rows.items():
            if not _is_meant(name, asked):
                continue
            for peer, letter in zip(answer.asked.peers, cells):
                if peer in targets and letter != NOT_ASKED:
                    found.append(CELLS[letter])
                    oldest.append(answer.at)
    proven = [cell for cell in found if cell.status is Status.OK]
    return ProvenPairs(
        len(found),
        sum(cell.is_open for cell in proven),
        sum(not cell.is_open for cell in proven),
        min(oldest, default=0),
    )


def _is_meant(name: str, asked: AskedPorts) -> bool:
    """Whether ``tcp/6443``, as a row of cells is called, is a part of what was asked."""
    protocol, _slash, ports = name.partition("/")
    if protocol not in [each.value for each in asked.protocols]:
        return False
    if not ports or asked.ports is None:
        return not ports and asked.ports is None
    try:
        return common(parse_span(ports), asked.ports) is not None
    except ValueError:
        return False
