"""Every sentence about a cause: who is at fault, at what, and what fixes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.checks.ports.messages import FREE_PORT
from k3sfw_engine.checks.report import join_some
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.fleet.answers import FREE
from k3sfw_engine.fleet.causes import Cause, CauseKind
from k3sfw_engine.fleet.trusted_fix import suggested_only

_CUT_OFF = (CauseKind.ISOLATED, CauseKind.PEERLESS, CauseKind.SPLIT, CauseKind.EGRESS)


def sentence(cause: Cause) -> Problem:
    """The sentence about a cause, with its fix or where to look."""
    text = f"{_what(cause)}{_because(cause)}"
    if cause.kind is CauseKind.ISOLATED and len(cause.nodes) > 1:
        return Problem(text, "start them and their network")
    if cause.hint.startswith("see "):
        return Problem(text, see=cause.hint[len("see ") :])
    if suggested_only(cause.hint, cause.hint_by):
        return Problem(text, see=f"{suggested_by(cause.hint_by).lower()}: {cause.hint}")
    return Problem(text, cause.hint)


def suggested_by(nodes: Iterable[str]) -> str:
    """The label of a command that nodes suggest for others, for an operator to read first."""
    return f"Suggested by {join_some(nodes)}, read it first"


def _what(cause: Cause) -> str:
    nodes, rows = join_some(cause.nodes), ports(cause.rows)
    several = len(cause.nodes) > 1
    if cause.kind is CauseKind.ISOLATED:
        why = "their links, or they are down" if several else "its link, or it is down"
        return f"{nodes} {'fail' if several else 'fails'} to everyone: {why}"
    if cause.kind is CauseKind.PEERLESS:
        why = "their links" if several else "its link"
        return (
            f"nothing passes between {nodes} and {'their' if several else 'its'} peers, though the "
            f"master is reached: {why}"
        )
    if cause.kind is CauseKind.SPLIT:
        others = join_some(cause.targets)
        return f"nothing passes between {nodes} and {others}: the network between them"
    if cause.kind is CauseKind.EGRESS:
        if several:
            return (
                f"{nodes} reach none of the peers that they asked, and peers reach them: their "
                "egress or their links"
            )
        asked = len(set(cause.targets).difference(cause.nodes))
        return f"{nodes} reaches none of {asked} peers, and peers reach it: its egress or its link"
    if cause.kind is CauseKind.OVERLAY:
        return f"nothing passes through the overlay of {nodes}"
    if cause.kind is CauseKind.TUNNELS:
        peers = join_some(sorted({*cause.sources, *cause.targets}.difference(cause.nodes)))
        return f"nothing passes through the overlay between {nodes} and {peers}"
    if cause.kind is CauseKind.TARGET:
        return f"{nodes} does not answer {rows}{_from(cause)}"
    if cause.kind is CauseKind.SOURCE:
        return f"{nodes} gets no answer at {rows} of {join_some(cause.targets)}"
    if cause.kind is CauseKind.PAIR:
        return f"{_arrow(cause)}: {rows}"
    return _at_nodes(cause, nodes, rows)


def _at_nodes(cause: Cause, nodes: str, rows: str) -> str:
    several = len(cause.nodes) > 1
    if cause.status is Status.NO_LISTENER:
        return f"nothing listens on {rows} of {nodes}"
    if cause.status is Status.EXPOSED:
        return f"{nodes} {'let' if several else 'lets'} {rows} in{_from(cause)}"
    if cause.status is Status.LOCAL_BLOCK:
        what = f"{nodes} {'keep' if several else 'keeps'} packets in"
        return f"{what}, {rows} to {join_some(cause.targets)}"
    if cause.status is Status.BLOCKED and cause.is_rejected:
        own = "their own firewalls" if several else "its own firewall"
        return f"{nodes} {'reject' if several else 'rejects'} {rows}{_from(cause)}: {own}"
    if cause.status is Status.BLOCKED and cause.sources:
        return f"{nodes} {'drop' if several else 'drops'} {rows}{_from(cause)}"
    if cause.status is Status.BLOCKED:
        return f"{nodes} {'do' if several else 'does'} not let {rows} in"
    peers = join_some(name for name in cause.targets if name not in cause.nodes)
    return f"{nodes}: {rows}{f' to {peers}' if peers else ''}"


def _because(cause: Cause) -> str:
    if not cause.evidence or cause.status is Status.NO_LISTENER:
        return ""
    rejected = cause.kind is CauseKind.NODE and cause.is_rejected
    if rejected or cause.kind in _CUT_OFF:
        return f" ({cause.evidence})"
    return f": {cause.evidence}"


def _from(cause: Cause) -> str:
    many = len(cause.sources)
    if not many:
        return ""
    if cause.status is Status.EXPOSED:
        # Those who may get in asked as well.
        return f" from {join_some(cause.sources)}"
    if many == cause.askers > 1:
        return f" from all {many} who asked"
    more = f" ({many} of {cause.askers} who asked)" if cause.askers > many else ""
    return f" from {join_some(cause.sources)}{more}"


def _arrow(cause: Cause) -> str:
    if len(cause.sources) == 1:
        return f"{cause.sources[0]} -> {join_some(cause.targets)}"
    return f"{cause.nodes[0]} <-> {cause.nodes[-1]}"


def other_version(of_node: str, of_master: str) -> str:
    """The notice about a node whose k3sfw is not the master's."""
    return f"k3sfw is {of_node} here, and {of_master} on the master, until saltutil.sync_all"


def ports(rows: Iterable[str]) -> str:
    """``tcp/80,443 udp/8472``, and the descriptions of what is not about a port."""
    by_protocol: dict[str, list[str]] = {}
    for row in rows:
        protocol, slash, port = row.partition("/")
        if slash and port == FREE:
            by_protocol.setdefault(FREE_PORT, [])
        elif slash:
            by_protocol.setdefault(protocol, []).append(port)
        else:
            by_protocol.setdefault(row, [])
    named = [
        f"{name}/{_listed(found)}" if found else name for name, found in sorted(by_protocol.items())
    ]
    return " and ".join(named)


def _listed(found: Iterable[str]) -> str:
    in_order: list[str] = sorted(found, key=_number)
    return join_some(in_order).replace(", ", ",")


def _number(port: str) -> tuple[int, str]:
    first = port.partition("-")[0].partition(",")[0]
    return int(first) if first.isdecimal() and len(first) < 6 else 0, port
