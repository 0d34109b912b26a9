"""Who is at fault by one problem of one node: the nodes, the row, and the culprit. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import FREE, CheckedCluster, NodeProblem
from k3sfw_engine.fleet.causes import AskedOfNode
from k3sfw_engine.model.kubernetes_names import OVERLAY_PORTS

# Nothing in these says why, unless it is about the reporting node alone.
SYMPTOMS = frozenset((Status.NO_ANSWER, Status.HOST_DOWN, Status.UNPROVEN))
# What a packet may come to that never arrived, or whose answer did not.
UNREACHABLE = frozenset(
    (*SYMPTOMS, Status.NO_ROUTE, Status.NO_NEIGHBOUR, Status.LINK_DOWN, Status.ERROR)
)
# Its status also says that something came back.
CAME_BACK = frozenset(
    (Status.OK, Status.BLOCKED, Status.EXPOSED, Status.NO_LISTENER, Status.CONFLICT)
)
# The rows of the packets that carry the overlay.
TUNNELS = frozenset(f"udp/{port}" for ports in OVERLAY_PORTS.values() for port in ports.values())
# As check_routes calls what goes through the overlay.
_ROUTES_OF_PODS = frozenset(("pods", "overlay"))


@dataclass(frozen=True)
class BlamedProblem:
    """One problem, read.

    reporter, part
        The node that reports it, and which of its checks.
    source, to
        The nodes between which a packet was sent, else empty.
    row
        ``tcp/6443``, ``tcp/free``, or the description of what is not about a port.
    culprit
        The node at fault; empty if nothing says who is.
    is_overlay
        Whether it is about packets through the overlay.
    """

    reporter: str
    part: str
    source: str
    to: str
    row: str
    culprit: str
    is_overlay: bool
    problem: NodeProblem

    @property
    def status(self) -> Status:
        """The answer in one word."""
        return self.problem.status

    @property
    def pair(self) -> frozenset[str]:
        """Both nodes, in any order; empty for what concerns one node alone."""
        return frozenset((self.source, self.to)) if self.source else frozenset()

    @property
    def asked(self) -> AskedOfNode:
        """The question."""
        peer = self.to if self.reporter == self.source else self.source
        has_cell = (
            self.part == "ports" and self.reporter == self.source and bool(self.problem.protocol)
        )
        return AskedOfNode(self.reporter, self.part, peer, self.row, has_cell)


def blamed_problems(cluster: CheckedCluster) -> Iterator[BlamedProblem]:
    """Every problem of every node that answered, in a fixed order."""
    for name in sorted(cluster.answers):
        for part, found in cluster.answers[name].parts.items():
            for problem in found.problems:
                yield _blamed(name, part, problem, cluster.nodes)


def row_name(protocol: str, port: str, description: str) -> str:
    """The name of a row in sentences and in cells."""
    if description == messages.FREE_PORT:
        return f"{protocol}/{FREE}"
    return (f"{protocol}/{port}" if port else protocol) or description


def _blamed(reporter: str, part: str, problem: NodeProblem, known: Container[str]) -> BlamedProblem:
    is_pair = (
        problem.source in known
        and problem.to in known
        and problem.source != problem.to
        and reporter in (problem.source, problem.to)
    )
    row = row_name(problem.protocol, problem.port, problem.description)
    return BlamedProblem(
        reporter=reporter,
        part=part,
        source=problem.source if is_pair else "",
        to=problem.to if is_pair else "",
        row=row,
        culprit=_culprit(reporter, problem, known, is_pair=is_pair),
        is_overlay=is_pair
        and (
            row in TUNNELS
            or problem.description == messages.PODS_THROUGH_OVERLAY
            or (part == "routes" and problem.description in _ROUTES_OF_PODS)
        ),
        problem=problem,
    )


def _culprit(reporter: str, problem: NodeProblem, known: Container[str], *, is_pair: bool) -> str:
    if not is_pair or problem.status is Status.ERROR:
        return reporter
    if problem.status in SYMPTOMS:
        return ""
    # ``s1 (runtime)`` names a layer of the node as well; a router on the way is not a node.
    name = problem.by.partition(" ")[0]
    if name in (problem.source, problem.to):
        return name
    return "" if name else reporter
