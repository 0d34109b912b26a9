"""The ports that Kubernetes redirects past the rows, as nodes found it in their zones. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.role_matrix import RedirectedPort
from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.rows import Protocol, Role


def redirected_ports(cluster: CheckedCluster) -> tuple[RedirectedPort, ...]:
    """Return each port of a row that a node of some role reports as redirected."""
    return tuple(sorted(set(_reported(cluster))))


def _reported(cluster: CheckedCluster) -> Iterator[RedirectedPort]:
    for name, answer in cluster.answers.items():
        role = Role(cluster.nodes[name].role)
        for problem in answer.parts["zones"].problems:
            # Of the conflicts that zones have, this one alone is about a port.
            if problem.status is Status.CONFLICT and problem.protocol and problem.port:
                try:
                    ports = parse_span(problem.port)
                    yield RedirectedPort(role, Protocol(problem.protocol), ports)
                except ValueError:
                    continue  # It is text of a minion.
