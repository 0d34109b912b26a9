"""check_ports as a whole: the layers of this node, its listeners, and packets to its peers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from . import peers, probe
from .answers import Outcome
from .desired import desired
from .listeners import read_listeners
from .network import overlay_devices, overlay_peers, read_network
from .peers import Narrowing, Sight, Way
from .ports import check_locally
from .rows import FlannelBackend, Node, PortRange, Protocol, Role, Tables
from .transaction import compare
from .verdicts import Check, Status, worst_first
from .witness import Witness


@dataclass(frozen=True)
class Inspection:
    """What was found.

    scope
        How far the questions reached, as a phrase.
    notices
        What is to be told besides.
    """

    checks: tuple[Check, ...]
    scope: str
    notices: tuple[str, ...] = ()


def inspect_ports(
    tables: Tables,
    role: Role,
    node: str,
    *,
    count: int | None = peers.SAMPLE,
    narrow: Narrowing = peers.EVERYTHING,
    turn: int = 0,
) -> Inspection:
    """Check the rows of this node in every layer, and by packets to its peers.

    node
        This node's minion id.
    count
        How many peers to ask; ``None`` for all.
    narrow
        Only these sources, targets and ports; targets that are named are all asked.
    turn
        Chooses which peers are asked, and the port that no row names.

    Raises ``EngineError`` if firewalld or the kernel cannot be read.
    """
    others = [each for each in tables.nodes if each.name != node]
    checks: list[Check] = []
    notices: list[str] = []
    asked: tuple[Node, ...] = ()
    if not narrow.targets or node in narrow.targets:
        with ThreadPoolExecutor(max_workers=1) as beside:
            # While firewalld and nft are waited for.
            listeners = beside.submit(read_listeners)
            plan, observed = compare(tables, role)
        wanted = desired(tables, role)
        wanted = replace(wanted, rows=tuple(filter(narrow.wants_row, wanted.rows)))
        kernel_read = observed.kernel is not None
        checks += check_locally(
            node, wanted, plan.changes, listeners.result(), kernel_read=kernel_read
        )
        notices += plan.notices
    if others and (not narrow.sources or node in narrow.sources):
        own = next(each for each in tables.nodes if each.name == node)
        asked = peers.sample(tables.nodes, node, count, turn)
        if narrow.targets:
            asked = tuple(each for each in others if each.name in narrow.targets)
        in_force = not any(check.status is Status.BLOCKED for check in checks)
        checks += _ask(tables, own, asked, narrow, turn, judge_arrivals=in_force)
        notices += _untold(tables, own, asked)
    return Inspection(
        worst_first(checks), f"{len(asked)} of {len(others)} peers probed", tuple(notices)
    )


def _ask(
    tables: Tables,
    own: Node,
    asked_peers: tuple[Node, ...],
    narrow: Narrowing,
    turn: int,
    *,
    judge_arrivals: bool,
) -> Iterator[Check]:
    """The verdicts on all questions to these peers, and on what they sent here meanwhile."""
    overlay = _overlay(tables) if asked_peers else None
    asked = peers.questions(tables, own, asked_peers, overlay, narrow, turn)
    if not asked:
        return
    with Witness(_watched(tables)) as witness:
        answers = probe.ask([each.question for each in asked])
        doubtful = [
            each
            for each, answer in zip(asked, answers)
            if each.way is Way.OVERLAY and answer.outcome in _NOTHING_CAME_THROUGH
        ]
        datagrams = dict(
            zip(doubtful, probe.ask([peers.vxlan_datagram(each) for each in doubtful]))
        )
        sighting = witness.sighting()
    sight = Sight(
        own,
        peers.alive(asked, answers),
        left=sighting.left if sighting else None,
        refused=sighting.arrived - sighting.passed if sighting else (),
    )
    for each, answer in zip(asked, answers):
        if each.way is Way.OVERLAY:
            yield from peers.judge_overlay(each, answer, datagrams.get(each), sight)
        else:
            yield peers.judge(each, answer, sight)
    if judge_arrivals:
        yield from peers.judge_arrivals(tables, sight, narrow)


_NOTHING_CAME_THROUGH = (Outcome.SILENCE, Outcome.HOST_DOWN, Outcome.NO_ROUTE)


def _overlay(tables: Tables) -> Mapping[str, str] | None:
    """The overlay addresses of the peers; ``None`` if this node has no flannel device."""
    if tables.flannel_backend is not FlannelBackend.VXLAN:
        return None
    network = read_network(())
    return overlay_peers(network) if overlay_devices(network) else None


def _watched(tables: Tables) -> list[tuple[Protocol, PortRange]]:
    """The ports of this node's rows, whose arrivals the witness keeps; none of them twice."""
    found: list[tuple[Protocol, PortRange]] = []
    spans = {(row.protocol, span) for row in tables.rows for span in row.ports}
    for protocol, span in sorted(spans):
        if found and found[-1][0] is protocol and span.low <= found[-1][1].high:
            low, high = found[-1][1].low, max(span.high, found[-1][1].high)
            found[-1] = (protocol, PortRange(low, high))
        else:
            found.append((protocol, span))
    return found


def _untold(tables: Tables, own: Node, asked: Iterable[Node]) -> Iterator[str]:
    """A sentence if some peers could not be asked, as nobody told what opens them."""
    untold = [peer.name for peer in asked if peer.role is not own.role]
    if untold and tables.peer_rows is None:
        yield (
            f"{', '.join(untold)} were not asked: the rows of the other role are not in the "
            "pillar that the master compiled for this check (k3s:peer_ports). Mend: include "
            "k3s.ports in the pillar of this minion, and set pillar_cache: False on the master"
        )
